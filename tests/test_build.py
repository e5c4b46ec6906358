"""Tests of emotion_tf.models.build: single branches and joined ones, trained, saved and of several emotions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_branches import MEL_BINS, VOCABULARY_SIZE, audio_batch, clip, randomise, text_batch

from emotion_tf.config import AudioConfig, Config, TextConfig
from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.models.build import build_model
from emotion_tf.models.early_fusion import JOINS
from emotion_tf.models.late_fusion import late_fusion

PRIOR = (0.2, 0.5, 0.3)
WIDTHS = {"log_mel": MEL_BINS}


def build(branch, fusion="", seed=0, is_multi_label=False, **values):
    parts = {"audio": AudioConfig((4, 4), 4, 6), "text": TextConfig(4, (4,), 4, 6)}
    config = Config(branch, "x", fusion=fusion, **(parts | values))
    model = randomise(build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR, is_multi_label), seed)
    set_temperature(model, 1.0)
    return model


def build_early(join="concat", **values):
    return build("fusion", "early", join=join, **values)


def build_multi_label(seed):
    return build("text", seed=seed, is_multi_label=True)


@pytest.fixture(scope="module")
def models():
    return {branch: build(branch) for branch in ("audio", "text")} | {join: build_early(join) for join in JOINS}


def probabilities(model, features):
    return keras.ops.softmax(model({key: features[key] for key in model.input})).numpy()


def sigmoids(model, features):
    return keras.ops.sigmoid(model({key: features[key] for key in model.input})).numpy()


def batch(*pairs, length=20):
    """Features of pairs (num_frames, ids)."""
    return audio_batch([clip(frames) for frames, _ in pairs], length) | text_batch([ids for _, ids in pairs], 8)


BOTH, AUDIO_ALONE, TEXT_ALONE, NOTHING = (13, [2, 7, 4]), (13, [2]), (0, [2, 7, 4]), (0, [2])


@pytest.mark.parametrize("name", ["audio", "text", *JOINS])
def test_padding_and_neighbours_change_no_probability(models, name):
    alone = probabilities(models[name], audio_batch([clip(13)], 13) | text_batch([[2, 7, 4]], 3))[0]
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


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_early_fusion_of_one_modality_is_that_branch(models, modality):
    alone = build("fusion", "early", modalities=(modality,))
    assert set(alone.input) == set(models[modality].input)
    np.testing.assert_array_equal(
        probabilities(alone, batch(BOTH, NOTHING)), probabilities(models[modality], batch(BOTH, NOTHING))
    )


@pytest.mark.parametrize("join", JOINS)
def test_every_join_gives_several_emotions_a_sigmoid_each(join):
    model = build_early(join, is_multi_label=True)
    np.testing.assert_allclose(sigmoids(model, batch(NOTHING)), [PRIOR], atol=1e-6)
    assert sigmoids(model, batch(BOTH)).shape == (1, 3)


@pytest.mark.parametrize("name", ["audio", "text", *JOINS, "late"])
def test_a_saved_model_gives_the_same_when_loaded_in_safe_mode(models, name, tmp_path):
    fused = late_fusion({"audio": models["audio"], "text": models["text"]}, PRIOR)
    model = fused if name == "late" else models[name]
    set_temperature(model, 1.7)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    features = batch(BOTH, AUDIO_ALONE, TEXT_ALONE, NOTHING)
    np.testing.assert_array_equal(probabilities(loaded, features), probabilities(model, features))
