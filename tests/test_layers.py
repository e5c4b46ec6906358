"""Tests of emotion_tf.models.branches.layers: padding counts for nothing, and nothing at all gives zeros."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf.models.branches.layers import (
    AttentionPooling,
    AttentiveStatisticsPooling,
    CutWindows,
    FrameNormalization,
    JoinWindows,
    MaskFrames,
    MeanPooling,
    PadFrames,
    StepMask,
)


def randoms(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("num_frames", "padded"), [(1, 8), (7, 8), (8, 8), (9, 16)])
def test_time_is_padded_with_zeros_to_the_next_multiple(num_frames, padded):
    inputs = randoms(2, num_frames, 3)
    outputs = PadFrames(8)(inputs).numpy()
    np.testing.assert_array_equal(outputs[:, :num_frames], inputs)
    assert outputs.shape == PadFrames(8).compute_output_shape(inputs.shape) == (2, padded, 3)
    assert not outputs[:, num_frames:].any()


def test_a_step_is_one_when_any_of_its_frames_is():
    steps = StepMask(4)(np.zeros((4, 3, 2), np.float32), np.array([0, 1, 4, 5], np.int32))
    np.testing.assert_array_equal(steps, [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]])


def test_frames_behind_the_end_become_zeros_and_the_others_stay():
    inputs = randoms(2, 4, 3, 5)
    outputs = MaskFrames(2)(inputs, np.array([3, 8], np.int32)).numpy()
    np.testing.assert_array_equal(outputs[0, :2], inputs[0, :2])
    np.testing.assert_array_equal(outputs[1], inputs[1])
    assert not outputs[0, 2:].any()


def pooling():
    layer = AttentionPooling(5)
    layer.build((None, None, 3), (None, None))
    return layer


def test_pooling_is_the_attention_weighted_mean_beside_the_maximum():
    layer, inputs = pooling(), randoms(1, 4, 3)
    hidden_kernel, hidden_bias, score_kernel = layer.get_weights()
    steps = inputs[0, :3]
    scores = np.tanh(steps @ hidden_kernel + hidden_bias) @ score_kernel
    weights = np.exp(scores) / np.exp(scores).sum()
    expected = np.concatenate([(weights * steps).sum(axis=0), steps.max(axis=0)])
    found = layer(inputs, np.array([[True, True, True, False]]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_pooling_over_nothing_gives_zeros():
    found = pooling()(randoms(2, 4, 3), np.zeros((2, 4), bool)).numpy()
    np.testing.assert_array_equal(found, np.zeros((2, 6)))


def test_pooling_over_negative_steps_keeps_their_maximum():
    inputs = -np.abs(randoms(1, 2, 3))
    found = pooling()(inputs, np.array([[True, False]])).numpy()
    np.testing.assert_allclose(found[0], np.tile(inputs[0, 0], 2), rtol=1e-5)


def test_the_mean_counts_steps_alone_and_is_zero_over_nothing():
    inputs = randoms(2, 4, 3)
    found = MeanPooling()(inputs, np.array([[True, True, True, False], [False] * 4]))
    np.testing.assert_allclose(found, [inputs[0, :3].mean(axis=0), np.zeros(3)], rtol=1e-5)


def test_windows_are_cut_clip_by_clip_and_joined_again():
    inputs, num_frames = randoms(2, 6, 3), np.array([6, 1], np.int32)
    windows = CutWindows(2)(inputs)
    np.testing.assert_array_equal(windows[2:4], [inputs[0, 4:], inputs[1, :2]])
    assert windows.shape[1:] == CutWindows(2).compute_output_shape(inputs.shape)[1:] == (2, 3)
    np.testing.assert_array_equal(JoinWindows()(windows, num_frames), inputs)


@pytest.mark.parametrize("is_graph", [False, True])
def test_pictures_alone_move_the_statistics_and_a_batch_without_any_moves_none(is_graph):
    layer = FrameNormalization(momentum=0.5)
    layer.build((None, 2, 2, 3), (None,))
    train = lambda *inputs: layer(*inputs, training=True)  # noqa: E731
    train = tf.function(train) if is_graph else train
    pictures = randoms(4, 2, 2, 3) + 5
    train(pictures, np.array([True, True, False, False]))
    mean, variance = pictures[:2].mean(axis=(0, 1, 2)), pictures[:2].var(axis=(0, 1, 2))
    for _ in range(2):
        np.testing.assert_allclose(layer.moving_mean, mean / 2, rtol=1e-4)
        np.testing.assert_allclose(layer.moving_variance, (1 + variance) / 2, rtol=1e-4)
        assert np.isfinite(train(np.zeros_like(pictures), np.zeros(4, bool))).all()


def statistics_pooling(num_heads=2):
    layer = AttentiveStatisticsPooling(5, num_heads)
    layer.build((None, None, 3), (None, None))
    return layer


def test_attentive_statistics_are_means_and_deviations_of_all_steps_and_of_each_head():
    layer, inputs = statistics_pooling(), randoms(1, 4, 3)
    hidden_kernel, hidden_bias, score_kernel = layer.get_weights()
    steps = inputs[0, :3]
    scores = np.tanh(steps @ hidden_kernel + hidden_bias) @ score_kernel  # [3, num_heads]
    weights = np.concatenate([np.ones((3, 1)), np.exp(scores)], axis=1).T
    means = [np.average(steps, axis=0, weights=each) for each in weights]
    pairs = zip(weights, means, strict=True)
    deviations = [np.sqrt(np.average(np.square(steps - mean), axis=0, weights=each)) for each, mean in pairs]
    found = layer(inputs, np.array([[True, True, True, False]])).numpy()
    np.testing.assert_allclose(found[0], np.concatenate([*means, *deviations]), rtol=1e-4)
    assert found.shape == layer.compute_output_shape(inputs.shape, (1, 4)) == (1, 18)


def test_attentive_statistics_of_nothing_are_zeros_and_of_one_step_have_a_gradient():
    layer, inputs = statistics_pooling(), tf.constant(randoms(2, 4, 3))
    is_step = np.array([[False] * 4, [True] + [False] * 3])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        found = layer(inputs, is_step)
    assert not found[0].numpy().any()
    np.testing.assert_allclose(found[1, :9], np.tile(inputs[1, 0], 3), rtol=1e-5)
    assert np.isfinite(tape.gradient(found, inputs)).all()


LAYERS = [
    PadFrames(8),
    MaskFrames(4),
    AttentionPooling(5),
    AttentiveStatisticsPooling(5, 3),
    StepMask(2),
    MeanPooling(),
    CutWindows(3),
    JoinWindows(),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_rebuilt_from_its_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    registered = keras.saving.get_registered_name(type(layer))
    assert registered == f"emotion_tf>{type(layer).__name__}"
