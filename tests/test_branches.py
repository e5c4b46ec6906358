"""Tests of the branches: padding and batch neighbours change nothing, and any Keras backend runs them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf.branches.audio import audio_branch
from emotion_tf.branches.text import Positions, text_branch
from emotion_tf.config import MAX_POSITIONS, TEXT_MODELS, AudioConfig, TextConfig
from emotion_tf.fusion import make_inputs

ROOT = Path(__file__).parents[1]
MEL_BINS, VOCABULARY_SIZE = 8, 20


def randomise(model, seed=0):
    """Gives every weight, moving statistics among them, a value that is not the initial one."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" not in variable.name:
            scale = rng.uniform(0.5, 1.5, variable.shape)
            variable.assign(scale if "variance" in variable.name else 0.4 * rng.standard_normal(variable.shape))
    return model


@pytest.fixture(scope="module")
def audio_model():
    inputs = make_inputs(("audio",), MEL_BINS)
    embedding = audio_branch(inputs["log_mel"], inputs["num_frames"], AudioConfig((4, 4), 4, 6))
    return randomise(keras.Model(inputs, embedding))


def text_config(model, preset, **values):
    return TextConfig(4, (4, 4), 4, 6, model=model, layers=2, heads=2, preset=preset, **values)


def text_model_of(config):
    inputs = make_inputs(("text",), MEL_BINS)
    return randomise(keras.Model(inputs, text_branch(inputs["token_ids"], VOCABULARY_SIZE, config)))


@pytest.fixture(scope="module", params=TEXT_MODELS)
def text_model(request, tiny_preset):
    return text_model_of(text_config(request.param, tiny_preset))


@pytest.fixture(scope="module", params=[False, True], ids=["tuned", "frozen"])
def distil_bert(request, tiny_preset):
    return text_model_of(text_config("distilbert", tiny_preset, freeze=request.param)), request.param


def clip(num_frames, seed=0):
    return np.random.default_rng([num_frames, seed]).standard_normal((num_frames, MEL_BINS)).astype(np.float32)


def sound(clips, length):
    """A batch padded to a length with what is no zero: the silence value of normalised clips is none."""
    batch = np.full((len(clips), length, MEL_BINS), -1.7, np.float32)
    for row, frames in zip(batch, clips, strict=True):
        row[: len(frames)] = frames
    return {"log_mel": batch, "num_frames": np.array([len(frames) for frames in clips], np.int32)}


def words(rows, length):
    batch = np.zeros((len(rows), length), np.int32)
    for row, ids in zip(batch, rows, strict=True):
        row[: len(ids)] = ids
    return {"token_ids": batch}


@pytest.mark.parametrize("num_frames", [1, 2, 13, 16, 31])
def test_padding_and_neighbours_change_no_audio_embedding(audio_model, num_frames):
    alone = audio_model(sound([clip(num_frames)], num_frames)).numpy()[0]
    for length in (2 * num_frames, 2 * num_frames + 1, 40):
        beside = audio_model(sound([clip(length, 1), clip(num_frames), clip(1, 2)], length)).numpy()[1]
        np.testing.assert_allclose(beside, alone, atol=1e-5)
    assert np.abs(alone).max() > 0.01


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis 3")
@pytest.mark.parametrize("num_tokens", [1, 2, 5])
def test_padding_and_neighbours_change_no_text_embedding(text_model, num_tokens):
    ids = [2, 7, 4, 9, 3][:num_tokens]
    alone = text_model(words([ids], num_tokens)).numpy()[0]
    beside = text_model(words([[2, *range(4, 14)], ids, [2]], 11)).numpy()[1]
    np.testing.assert_allclose(beside, alone, atol=1e-5)
    assert np.abs(alone).max() > 0.01


def test_a_clip_of_no_frames_has_a_finite_embedding(audio_model):
    assert np.isfinite(audio_model(sound([clip(0), clip(9)], 9))).all()


def test_the_order_of_words_matters(text_model):
    there, back = text_model(words([[2, 7, 4, 9], [2, 9, 4, 7]], 4)).numpy()
    assert np.abs(there - back).max() > 1e-3


def test_the_order_of_frames_matters(audio_model):
    there, back = audio_model(sound([clip(20), clip(20)[::-1]], 20)).numpy()
    assert np.abs(there - back).max() > 1e-3


def test_the_audio_branch_halves_time_and_bands_once_a_stage(audio_model):
    assert audio_model.get_layer("audio_stem_relu").output.shape[2] == MEL_BINS // 2
    assert audio_model.get_layer("audio_1_pool").output.shape[2] == MEL_BINS // 4


@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_a_recurrent_branch_has_a_layer_of_its_kind_for_each_of_its_units(model):
    layers = [x for x in text_model_of(text_config(model, "")).layers if isinstance(x, keras.layers.Bidirectional)]
    assert [layer.name for layer in layers] == ["text_bidirectional_0", "text_bidirectional_1"]
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[model]
    assert all(isinstance(layer.forward_layer, kind) and layer.forward_layer.units == 4 for layer in layers)


def test_every_layer_with_weights_is_named_after_the_branch(text_model):
    names = [layer.name for layer in text_model.layers if layer.weights]
    assert names
    assert all(name.startswith("text_") for name in names)


def test_a_loss_reaches_every_weight_of_a_text_branch(text_model):
    batch = words([[2, 7, 4, 9], [2, 9, 4, 7]], 5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(text_model(batch, training=False) ** 2)
    gradients = tape.gradient(loss, [variable.value for variable in text_model.trainable_variables])
    # A position or piece that no transcript holds has none, and the key's bias moves all scores alike.
    absent = [v.path for v, g in zip(text_model.trainable_variables, gradients, strict=True) if g is None]
    assert absent == []


def test_a_text_model_comes_back_from_its_file_in_safe_mode(text_model, tmp_path):
    text_model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    batch = words([[2, 7, 4, 9], [2, 9]], 6)
    np.testing.assert_array_equal(loaded(batch), text_model(batch))


def test_positions_add_one_vector_a_place_and_the_last_serves_all_behind_it():
    layer = Positions(3)
    layer.build((None, None, 2))
    layer.positions.assign([[1.0, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(layer(np.zeros((1, 4, 2), np.float32))[0], [[1, 2], [3, 4], [5, 6], [5, 6]])


def test_the_transformer_takes_more_words_than_it_has_places_for():
    model = text_model_of(text_config("transformer", ""))
    assert np.isfinite(model(words([[2] * (MAX_POSITIONS + 9)], MAX_POSITIONS + 9))).all()


def test_a_frozen_preset_has_no_weights_to_train_and_no_noise(distil_bert):
    model, is_frozen = distil_bert
    backbone = model.get_layer("text_backbone")
    inputs = {"token_ids": np.array([[2, 7, 9, 3]]), "padding_mask": np.ones((1, 4))}
    noisy = np.abs(backbone(inputs, training=True) - backbone(inputs, training=False)).max()
    assert (noisy == 0) == is_frozen
    assert (backbone.trainable_variables == []) == is_frozen


def test_a_preset_folder_and_a_hugging_face_folder_give_the_same_features(tiny_preset, hugging_face_folder):
    ids, configs = (
        words([[2, 7, 9, 3], [2]], 4),
        (text_config("distilbert", x) for x in (tiny_preset, hugging_face_folder)),
    )
    inputs = [make_inputs(("text",), MEL_BINS) for _ in range(2)]
    models = [keras.Model(x, text_branch(x["token_ids"], 0, c)) for x, c in zip(inputs, configs, strict=True)]
    one, other = (model.get_layer("text_backbone") for model in models)
    features = [x({"token_ids": ids["token_ids"], "padding_mask": ids["token_ids"] > 0}) for x in (one, other)]
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)
    assert np.ptp(features[0]) > 0.1


SCRIPT = """
import keras, numpy as np, sys
from emotion_tf.config import AudioConfig, Config, TextConfig
from emotion_tf.fusion import build_model
config = Config("fusion", "x", fusion="early", audio=AudioConfig((4, 4), 4, 4), text=TextConfig(4, (4,), 4, 4))
model = build_model(config, 8, 20, [0.25, 0.75])
rng = np.random.default_rng(0)
for variable in model.weights:
    variable.assign(np.abs(rng.standard_normal(variable.shape)) * 0.3)
frames = rng.standard_normal((3, 11, 8)).astype("float32")
ids = np.array([[2, 4, 7], [2, 5, 0], [2, 0, 0]], "int32")
logits = model({"log_mel": frames, "num_frames": np.array([11, 0, 0], "int32"), "token_ids": ids})
np.save(sys.argv[1], keras.ops.convert_to_numpy(logits))
print(keras.backend.backend())
"""


@pytest.fixture(scope="module")
def logits_of(tmp_path_factory):
    def run(backend):
        path = tmp_path_factory.mktemp(backend) / "logits.npy"
        environment = os.environ | {"KERAS_BACKEND": backend}
        command = [sys.executable, "-c", SCRIPT, str(path)]
        finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.split() == [backend]
        return np.load(path)

    return run


@pytest.fixture(scope="module")
def tensorflow_logits(logits_of):
    return logits_of("tensorflow")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_both_branches_give_the_same_on_another_backend(backend, logits_of, request):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    np.testing.assert_allclose(logits_of(backend), request.getfixturevalue("tensorflow_logits"), atol=1e-4)
