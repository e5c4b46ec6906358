"""Tests of emotion_tf.models.build: joined graphs and absent modalities."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from test_branches import (
    MEL_BINS,
    SMALL_AUDIO_MODELS,
    VOCABULARY_SIZE,
    audio_config,
    clip,
    randomise,
    sound,
    text_config,
    words,
)

from emotion_tf.config import TEXT_MODELS, AudioConfig, Config, TextConfig, TrainingConfig
from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.models.branches.audio import audio_branch
from emotion_tf.models.branches.text import text_branch
from emotion_tf.models.build import build_model
from emotion_tf.models.early_fusion import JOINS
from emotion_tf.models.inputs import make_inputs
from emotion_tf.models.late_fusion import late_fusion

PRIOR = (0.2, 0.5, 0.3)
WIDTHS = {"log_mel": MEL_BINS}


def build(branch, fusion="", seed=0, is_multi_label=False, **values):
    parts = {"audio": AudioConfig((4, 4), 4, 6), "text": TextConfig(4, (4,), 4, 6)}
    config = Config(branch, "x", fusion=fusion, **(parts | values))
    model = randomise(build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR, is_multi_label), seed)
    set_temperature(model, 1.0)
    return model


@pytest.fixture(scope="module")
def models():
    audio, text, second = build("audio"), build("text"), build("text", seed=1)
    joined = {join: build("fusion", "early", join=join) for join in JOINS}
    return {"audio": audio, "text": text, "second": second, "early": joined["concat"], **joined}


def probabilities(model, features):
    return keras.ops.softmax(model({key: features[key] for key in model.input})).numpy()


def batch(*pairs, length=20):
    """Features of pairs (num_frames, ids)."""
    return sound([clip(frames) for frames, _ in pairs], length) | words([ids for _, ids in pairs], 8)


BOTH, SOUND_ALONE, WORDS_ALONE, NOTHING = (13, [2, 7, 4]), (13, [2]), (0, [2, 7, 4]), (0, [2])


@pytest.mark.parametrize("name", ["audio", "text", *JOINS])
def test_padding_and_neighbours_change_no_probability(models, name):
    alone = probabilities(models[name], sound([clip(13)], 13) | words([[2, 7, 4]], 3))[0]
    beside = probabilities(models[name], batch((20, [2, 9, 9, 9]), BOTH, NOTHING, length=26))[1]
    np.testing.assert_allclose(beside, alone, atol=1e-5)


@pytest.mark.parametrize("join", JOINS)
def test_a_gradient_reaches_every_weight_of_both_branches(models, join):
    model = models[join]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.log_softmax(model(batch(BOTH, (20, [2, 9, 5]))))[:, 0])
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    reached = {
        prefix: np.mean(
            [
                np.abs(tf.convert_to_tensor(gradient)).max() > 0
                for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
                if variable.path.startswith(prefix)
            ]
        )
        for prefix in ("audio_", "text_", "fusion_")
    }
    assert min(reached.values()) > 0.8


@pytest.mark.parametrize("name", ["audio", "text", *JOINS])
def test_with_everything_absent_the_answer_is_the_training_prior(models, name):
    np.testing.assert_allclose(probabilities(models[name], batch(NOTHING)), [PRIOR], atol=1e-6)


@pytest.mark.parametrize("name", ["audio", "text", "early", "late"])
def test_a_temperature_divides_the_logits_and_leaves_the_prior_of_absent_input(name):
    texts = {str(seed): build("text", seed=seed) for seed in (0, 1)}
    model = late_fusion(texts, PRIOR) if name == "late" else build(*{"early": ("fusion", "early")}.get(name, (name,)))
    features = {key: value for key, value in batch(BOTH, BOTH, NOTHING).items() if key in model.input}
    before = model(features).numpy()
    set_temperature(model, 2.5)
    after = model(features).numpy()
    np.testing.assert_allclose(after[:2], before[:2] / 2.5, rtol=1e-6)
    np.testing.assert_allclose(keras.ops.softmax(after)[2], PRIOR, atol=1e-6)
    assert np.abs(after[0] - before[0]).max() > 0.01


def test_training_leaves_the_temperature_alone():
    model = build("text")
    assert "temperature" not in {variable.name for variable in model.trainable_variables}
    assert float(build_model(Config("text", "x"), WIDTHS, 20, PRIOR).get_layer("logits").temperature) == 1


@pytest.mark.parametrize(("present", "zeros"), [(SOUND_ALONE, slice(6, 12)), (WORDS_ALONE, slice(0, 6))])
@pytest.mark.parametrize("join", JOINS)
def test_early_fusion_puts_zeros_for_the_embedding_of_an_absent_modality(models, join, present, zeros):
    joined = keras.Model(models[join].input, models[join].get_layer("fusion_join").output)
    found = joined(batch(present)).numpy()[0]
    assert not found[zeros].any()
    assert found.any()


@pytest.mark.parametrize("join", JOINS)
def test_an_absent_modality_has_no_say_whatever_its_branch_is(join):
    model, features = build("fusion", "early", join=join), batch(SOUND_ALONE, WORDS_ALONE, NOTHING, BOTH)
    for row, absent in enumerate(("text_", "audio_")):
        before = model(features).numpy()
        for layer in model.layers:
            if layer.name.startswith(absent):
                layer.set_weights([3 * weight + 0.5 for weight in layer.get_weights()])
        after = model(features).numpy()
        np.testing.assert_array_equal(after[[row, 2]], before[[row, 2]])
        assert np.abs(after[[1 - row, 3]] - before[[1 - row, 3]]).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("join", ["gated", "cross_attention"])
def test_shares_sum_to_one_over_what_is_there(models, join):
    shares = keras.Model(models[join].input, models[join].get_layer("fusion_shares").output)
    found = shares(batch(BOTH, SOUND_ALONE, WORDS_ALONE, NOTHING)).numpy()
    assert found[0].min() > 0
    assert found[0].sum() == pytest.approx(1)
    np.testing.assert_array_equal(found[1:], [[1, 0], [0, 1], [0, 0]])


@pytest.mark.parametrize("join", JOINS)
def test_a_modality_that_training_drops_is_one_that_is_not_there(join):
    """A rate of nearly one leaves one modality to each utterance; nothing else is random here."""
    audio, text = AudioConfig(model="gru", units=(4,), dropout=0.0), TextConfig(4, (4,), 4, 6, dropout=0.0)
    training = TrainingConfig(modality_dropout=0.9999)
    model = build("fusion", "early", join=join, audio=audio, text=text, training=training)
    found = model(batch(*[BOTH] * 20), training=True).numpy()
    audio_only, words_alone = model(batch(SOUND_ALONE, WORDS_ALONE)).numpy()
    is_sound, is_words = (np.abs(found - alone).max(axis=1) < 1e-5 for alone in (audio_only, words_alone))
    assert (is_sound ^ is_words).all()
    assert 0 < is_sound.sum() < 20
    assert np.abs(found - model(batch(BOTH)).numpy()).max(axis=1).min() > 1e-4


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_early_fusion_of_one_modality_is_that_branch(models, modality):
    alone = build("fusion", "early", modalities=(modality,))
    assert set(alone.input) == set(models[modality].input)
    np.testing.assert_array_equal(
        probabilities(alone, batch(BOTH, NOTHING)), probabilities(models[modality], batch(BOTH, NOTHING))
    )


@pytest.mark.parametrize("join", JOINS)
def test_every_join_answers_with_several_emotions(join):
    model = build("fusion", "early", join=join, is_multi_label=True)
    np.testing.assert_allclose(sigmoids(model, batch(NOTHING)), [PRIOR], atol=1e-6)
    assert sigmoids(model, batch(BOTH)).shape == (1, 3)


TEXTS = [model for model in TEXT_MODELS if model != "distilbert"]


@pytest.fixture(scope="module")
def text_outputs():
    token_ids = make_inputs(("text",), {})["token_ids"]
    return token_ids, {model: text_branch(token_ids, VOCABULARY_SIZE, text_config(model, "")) for model in TEXTS}


def attending(inputs, audio, text):
    """The vector that attention between branches gives, with presence as an input."""
    is_present = keras.Input((2,), name="is_present")
    vector = JOINS["cross_attention"]({"audio": audio, "text": text}, is_present, 6).vector
    return randomise(keras.Model(inputs | {"is_present": is_present}, vector))


ALONE = sound([clip(13)], 13) | words([[2, 7, 4]], 3) | {"is_present": np.ones((1, 2), np.float32)}
BESIDE = batch((20, [2, 9, 9, 9]), BOTH, NOTHING, length=26) | {"is_present": np.float32([[1, 1], [1, 1], [0, 0]])}


@pytest.mark.parametrize("audio_model", SMALL_AUDIO_MODELS)
def test_every_audio_model_attends_to_every_text_model_and_padding_changes_nothing(text_outputs, audio_model):
    """Other joins see embeddings alone, the same for all. Padding is tried with one model of words each."""
    token_ids, texts = text_outputs
    inputs = make_inputs(("audio",), WIDTHS) | {"token_ids": token_ids}
    audio = audio_branch(inputs, audio_config(audio_model))
    models = [attending(inputs, audio, text) for text in texts.values()]
    alone = [model(ALONE).numpy()[0] for model in models]
    assert np.abs(alone).max(axis=1).min() > 0.01
    chosen = SMALL_AUDIO_MODELS.index(audio_model) % len(models)
    np.testing.assert_allclose(models[chosen](BESIDE)[1], alone[chosen], atol=1e-5)


def test_words_attend_to_frames_and_to_the_states_of_an_encoder(text_outputs):
    token_ids, texts = text_outputs
    inputs = make_inputs(("audio",), WIDTHS | {"encoder": 5})
    audio = audio_branch(inputs, audio_config("gru", features=("log_mel", "encoder")))
    model = attending(inputs | {"token_ids": token_ids}, audio, texts["gru"])
    states = np.random.default_rng(0).standard_normal((3, 9, 5)).astype(np.float32)
    steps = np.array([9, 4, 1], np.int32)
    alone = model(ALONE | {"encoder": states[1:2, :4], "num_steps": steps[1:2]}).numpy()[0]
    np.testing.assert_allclose(model(BESIDE | {"encoder": states, "num_steps": steps})[1], alone, atol=1e-5)


def test_a_branch_that_hears_nothing_still_has_an_embedding_to_put_to_zero(models):
    embedding = keras.Model(models["early"].input, models["early"].get_layer("text_embedding").output)
    assert embedding(batch(SOUND_ALONE)).numpy().any()


@pytest.mark.parametrize("name", ["audio", "text", *JOINS, "late"])
def test_a_saved_model_gives_the_same_when_loaded_in_safe_mode(models, name, tmp_path):
    fused = late_fusion({"audio": models["audio"], "text": models["text"]}, PRIOR)
    model = fused if name == "late" else models[name]
    set_temperature(model, 1.7)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    features = batch(BOTH, SOUND_ALONE, WORDS_ALONE, NOTHING)
    np.testing.assert_array_equal(probabilities(loaded, features), probabilities(model, features))


def test_inputs_are_named_like_the_features_of_the_dataset(models):
    assert set(models["early"].input) == {"log_mel", "num_frames", "token_ids"}


def build_multi_label(seed):
    config = Config("text", "x", text=TextConfig(4, (4,), 4, 6))
    model = randomise(build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR, is_multi_label=True), seed)
    set_temperature(model, 1.0)
    return model


def sigmoids(model, features):
    return keras.ops.sigmoid(model({key: features[key] for key in model.input})).numpy()


def test_with_several_emotions_the_prior_and_the_start_are_a_sigmoid_each():
    config = Config("text", "x", text=TextConfig(4, (4,), 4, 6))
    model = build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR, is_multi_label=True)
    np.testing.assert_allclose(sigmoids(model, batch(NOTHING)), [PRIOR], atol=1e-6)
    np.testing.assert_allclose(scipy.special.expit(model.get_layer("emotions").bias), PRIOR, atol=1e-6)
