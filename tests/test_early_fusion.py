"""Tests of emotion_tf.models.early_fusion: what is dropped, what is weighed, and what attention gives."""

import keras
import numpy as np
import pytest
import scipy.special
from test_branches import (
    SMALL_AUDIO_MODELS,
    VOCABULARY_SIZE,
    audio_batch,
    audio_config,
    clip,
    randomise,
    text_batch,
    text_config,
)
from test_build import AUDIO_ALONE, BOTH, NOTHING, TEXT_ALONE, WIDTHS, batch, build_early

from emotion_tf.config import PRETRAINED, TEXT_MODELS, AudioConfig, TextConfig, TrainingConfig
from emotion_tf.models.branches.audio import audio_branch
from emotion_tf.models.branches.text import text_branch
from emotion_tf.models.early_fusion import JOINS, CrossAttention, ModalityDropout, Shares
from emotion_tf.models.inputs import make_inputs

THREE = np.tile(np.float32([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]), (500, 1))


def test_nothing_is_dropped_at_inference():
    np.testing.assert_array_equal(ModalityDropout(0.9)(THREE), THREE)


def test_one_of_those_that_are_present_always_stays():
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


@pytest.fixture(scope="module")
def models():
    return {join: build_early(join) for join in JOINS}


@pytest.mark.parametrize(("present", "zeros"), [(AUDIO_ALONE, slice(6, 12)), (TEXT_ALONE, slice(0, 6))])
@pytest.mark.parametrize("join", JOINS)
def test_early_fusion_puts_zeros_for_the_embedding_of_an_absent_modality(models, join, present, zeros):
    joined = keras.Model(models[join].input, models[join].get_layer("fusion_join").output)
    found = joined(batch(present)).numpy()[0]
    assert not found[zeros].any()
    assert found.any()


@pytest.mark.parametrize("join", JOINS)
def test_the_weights_of_an_absent_branch_change_no_logits(join):
    model, features = build_early(join), batch(AUDIO_ALONE, TEXT_ALONE, NOTHING, BOTH)
    for row, absent in enumerate(("text_", "audio_")):
        before = model(features).numpy()
        for layer in model.layers:
            if layer.name.startswith(absent):
                layer.set_weights([3 * weight + 0.5 for weight in layer.get_weights()])
        after = model(features).numpy()
        np.testing.assert_array_equal(after[[row, 2]], before[[row, 2]])
        assert np.abs(after[[1 - row, 3]] - before[[1 - row, 3]]).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("join", ["gated", "cross_attention"])
def test_shares_sum_to_one_over_what_is_present(models, join):
    shares = keras.Model(models[join].input, models[join].get_layer("fusion_shares").output)
    found = shares(batch(BOTH, AUDIO_ALONE, TEXT_ALONE, NOTHING)).numpy()
    assert found[0].min() > 0
    assert found[0].sum() == pytest.approx(1)
    np.testing.assert_array_equal(found[1:], [[1, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize("join", JOINS)
def test_a_modality_that_training_drops_is_one_that_is_absent(join):
    """A rate of nearly one leaves one modality to each utterance; nothing else is random here."""
    audio, text = AudioConfig(model="gru", units=(4,), dropout=0.0), TextConfig(4, (4,), 4, 6, dropout=0.0)
    training = TrainingConfig(modality_dropout=0.9999)
    model = build_early(join, audio=audio, text=text, training=training)
    found = model(batch(*[BOTH] * 20), training=True).numpy()
    is_audio, is_text = (
        np.abs(found - alone).max(axis=1) < 1e-5 for alone in model(batch(AUDIO_ALONE, TEXT_ALONE)).numpy()
    )
    assert (is_audio ^ is_text).all()
    assert 0 < is_audio.sum() < 20
    assert np.abs(found - model(batch(BOTH)).numpy()).max(axis=1).min() > 1e-4


def test_a_branch_of_absent_input_still_has_an_embedding_to_put_to_zero(models):
    embedding = keras.Model(models["concat"].input, models["concat"].get_layer("text_embedding").output)
    assert embedding(batch(AUDIO_ALONE)).numpy().any()


TEXTS = [model for model in TEXT_MODELS if model not in PRETRAINED]


@pytest.fixture(scope="module")
def text_outputs():
    token_ids = make_inputs(("text",), {})["token_ids"]
    return token_ids, {model: text_branch(token_ids, VOCABULARY_SIZE, text_config(model, "")) for model in TEXTS}


def attending(inputs, audio, text):
    """The vector that attention between branches gives, with presence as an input."""
    is_present = keras.Input((2,), name="is_present")
    vector = JOINS["cross_attention"]({"audio": audio, "text": text}, is_present, 6).vector
    return randomise(keras.Model(inputs | {"is_present": is_present}, vector))


ALONE = audio_batch([clip(13)], 13) | text_batch([[2, 7, 4]], 3) | {"is_present": np.ones((1, 2), np.float32)}


BESIDE = batch((20, [2, 9, 9, 9]), BOTH, NOTHING, length=26) | {"is_present": np.float32([[1, 1], [1, 1], [0, 0]])}


@pytest.mark.parametrize("audio_model", SMALL_AUDIO_MODELS)
def test_every_audio_model_attends_to_every_text_model_and_padding_changes_nothing(text_outputs, audio_model):
    """Other joins read embeddings alone, the same for all. Padding is tried with one text model each."""
    token_ids, texts = text_outputs
    inputs = make_inputs(("audio",), WIDTHS) | {"token_ids": token_ids}
    audio = audio_branch(inputs, audio_config(audio_model))
    models = [attending(inputs, audio, text) for text in texts.values()]
    alone = [model(ALONE).numpy()[0] for model in models]
    assert np.abs(alone).max(axis=1).min() > 0.01
    chosen = SMALL_AUDIO_MODELS.index(audio_model) % len(models)
    np.testing.assert_allclose(models[chosen](BESIDE)[1], alone[chosen], atol=1e-5)


def test_text_attends_to_frames_and_to_the_states_of_an_encoder(text_outputs):
    token_ids, texts = text_outputs
    inputs = make_inputs(("audio",), WIDTHS | {"encoder": (2, 5)})
    audio = audio_branch(inputs, audio_config("gru", features=("log_mel", "encoder")))
    model = attending(inputs | {"token_ids": token_ids}, audio, texts["gru"])
    states = np.random.default_rng(0).standard_normal((3, 9, 2, 5)).astype(np.float32)
    steps = np.array([9, 4, 1], np.int32)
    alone = model(ALONE | {"encoder": states[1:2, :4], "num_steps": steps[1:2]}).numpy()[0]
    np.testing.assert_allclose(model(BESIDE | {"encoder": states, "num_steps": steps})[1], alone, atol=1e-5)
