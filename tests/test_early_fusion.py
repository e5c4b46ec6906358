"""Tests of emotion_tf.models.early_fusion: what is dropped, what is weighed, and what attention finds."""

import keras
import numpy as np
import pytest
import scipy.special

from emotion_tf.models.early_fusion import CrossAttention, ModalityDropout, Shares

THREE = np.tile(np.float32([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]), (500, 1))


def test_nothing_is_dropped_at_inference():
    np.testing.assert_array_equal(ModalityDropout(0.9)(THREE), THREE)


def test_one_of_those_that_are_there_always_stays():
    found = ModalityDropout(0.9, seed=0)(THREE, training=True).numpy()
    assert set(np.unique(found)) == {0, 1}
    assert (found <= THREE).all()
    np.testing.assert_array_equal(found.any(axis=1), THREE.any(axis=1))


def test_the_share_dropped_is_the_rate_but_for_the_one_that_stays():
    found = ModalityDropout(0.4, seed=0)(np.ones((20000, 2), np.float32), training=True).numpy()
    # Both would go in 0.4 ** 2 of the cases, and half of them is each one's.
    np.testing.assert_allclose(1 - found.mean(axis=0), 0.4 - 0.4**2 / 2, atol=0.01)


def test_what_is_dropped_differs_from_step_to_step_and_is_the_same_for_the_same_seed():
    one, other = ModalityDropout(0.5, seed=3), ModalityDropout(0.5, seed=3)
    found = [layer(THREE, training=True).numpy() for layer in (one, other, one, other)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert (found[0] != found[2]).any()


def test_shares_are_a_softmax_over_what_is_present():
    scores = np.float32([[1, -2, 0.5], [300, 5, -300], [1, 2, 3], [1, 2, 3]])
    is_present = np.float32([[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 0]])
    found = Shares()(scores, is_present).numpy()
    np.testing.assert_allclose(found[:2], scipy.special.softmax(scores[:2], axis=1), atol=1e-6)
    np.testing.assert_allclose(found[2], [1 / (1 + np.e**2), 0, 1 / (1 + np.e**-2)], atol=1e-6)
    np.testing.assert_array_equal(found[3], 0)


def attention():
    layer = CrossAttention(2)
    layer.build((None, None, 4), (None, None), (None, None, 4), (None, None))
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(rng.standard_normal(variable.shape))
    return layer


def steps(length, seed):
    return np.random.default_rng(seed).standard_normal((1, length, 4)).astype(np.float32)


def normed(x, norm):
    centred = x - x.mean(axis=-1, keepdims=True)
    return norm.gamma.numpy() * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3) + norm.beta.numpy()


def test_attention_is_that_of_numpy():
    layer, queries, keys = attention(), steps(3, 1), steps(5, 2)
    found = layer(queries, np.ones((1, 3), bool), keys, np.ones((1, 5), bool)).numpy()[0]
    weights = [weight.numpy() for weight in layer.attend.weights]
    q, k, v = (
        np.einsum("td,dhk->htk", x, weights[2 * index]) + weights[2 * index + 1][:, None]
        for index, x in enumerate(
            (normed(queries[0], layer.norm), normed(keys[0], layer.key_norm), normed(keys[0], layer.key_norm))
        )
    )
    scores = scipy.special.softmax(q @ k.transpose(0, 2, 1) / np.sqrt(2), axis=-1)
    attended = np.einsum("htk,hkd->td", scores @ v, weights[6]) + weights[7]
    np.testing.assert_allclose(found, attended.mean(axis=0), rtol=1e-4, atol=1e-4)


def test_padding_of_either_side_changes_nothing_and_nothing_at_all_is_finite():
    layer, queries, keys = attention(), steps(6, 1), steps(5, 2)
    is_query, is_key = np.arange(6)[None] < 3, np.arange(5)[None] < 2
    found = layer(queries, is_query, keys, is_key).numpy()
    expected = layer(queries[:, :3], is_query[:, :3], keys[:, :2], is_key[:, :2]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    nothing = np.zeros((1, 6), bool)
    np.testing.assert_array_equal(layer(queries, nothing, keys, is_key), 0)
    assert np.isfinite(layer(queries, is_query, keys, nothing[:, :5])).all()


@pytest.mark.parametrize("layer", [ModalityDropout(0.3, seed=4), CrossAttention(2), Shares()])
def test_a_layer_comes_back_from_its_config(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
