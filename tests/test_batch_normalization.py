"""Tests of emotion_tf.models.branches.batch_normalization: what Keras makes, in one operation."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf.models.branches.batch_normalization import BatchNormalization


def randoms(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def normalised(layer_class, inputs, policy, **options):
    """Takes a training step's normalisation: outputs, gradients of inputs, scale and offset, and both statistics."""
    layer = layer_class(momentum=0.9, dtype=policy, **options)
    layer.build(inputs.shape)
    layer.gamma.assign(np.linspace(0.5, 2, inputs.shape[-1]))
    layer.beta.assign(np.linspace(-1, 1, inputs.shape[-1]))
    inputs = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        cubes = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
    gradients = tape.gradient(cubes, [inputs, layer.gamma.value, layer.beta.value])
    return outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 1e-2)])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (2, 30, 40, 16), (1, 1, 1, 3)])
def test_a_picture_is_normalised_as_keras_does(shape, policy, tolerance):
    inputs = 5 + 3 * randoms(*shape)
    ours = normalised(BatchNormalization, inputs, policy)
    theirs = normalised(keras.layers.BatchNormalization, inputs, policy)
    assert ours[0].dtype == theirs[0].dtype
    for found, expected in zip(ours, theirs, strict=True):
        expected = tf.cast(expected, "float32").numpy()
        largest = np.abs(expected).max() + 1e-6
        np.testing.assert_allclose(tf.cast(found, "float32").numpy(), expected, rtol=0, atol=tolerance * largest)


def operations(layer, **given):
    """Names the operations of a training step's normalisation."""
    traced = tf.function(lambda inputs: layer(inputs, training=True, **given))
    graph = traced.get_concrete_function(tf.TensorSpec([2, 4, 4, 3])).graph
    return {operation.type for operation in graph.get_operations()}


def test_a_picture_is_normalised_by_one_operation_unless_copies_or_masks_need_more():
    assert "FusedBatchNormV3" in operations(BatchNormalization())
    assert "FusedBatchNormV3" not in operations(BatchNormalization(synchronized=True))
    assert "FusedBatchNormV3" not in operations(BatchNormalization(), mask=tf.ones([2, 4, 4], "bool"))


def test_a_frozen_norm_of_pictures_uses_and_keeps_its_statistics():
    layer = BatchNormalization(trainable=False)
    inputs = 5 + randoms(2, 4, 4, 3)
    np.testing.assert_allclose(layer(inputs, training=True), layer(inputs, training=False))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_weights_lie_in_files_where_those_of_keras_lie(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), BatchNormalization(name="audio_norm")])
    model.save_weights(tmp_path / "ours.weights.h5")
    theirs = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.BatchNormalization(name="audio_norm")])
    theirs.load_weights(tmp_path / "ours.weights.h5")
    with h5py.File(tmp_path / "ours.weights.h5") as file:
        assert list(file["layers"]) == ["batch_normalization"]
