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

from emotion_tf.config import AUDIO_MODELS, MAX_POSITIONS, TEXT_MODELS, AudioConfig, TextConfig
from emotion_tf.models.branches.audio import audio_branch
from emotion_tf.models.branches.layers import WeightedLayerSum
from emotion_tf.models.branches.text import text_branch
from emotion_tf.models.branches.transformer import Positions
from emotion_tf.models.inputs import make_inputs

ROOT = Path(__file__).parents[1]
MEL_BINS, VOCABULARY_SIZE = 8, 20
SMALL_AUDIO_MODELS = [model for model in AUDIO_MODELS if model != "efficientnet"]
ONE_STEP = pytest.mark.filterwarnings("ignore:You are using a softmax over axis 3")


def randomise(model, seed=0):
    """Gives every weight, moving statistics among them, a value that is not the initial one."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" not in variable.name:
            scale = rng.uniform(0.5, 1.5, variable.shape)
            variable.assign(scale if "variance" in variable.name else 0.4 * rng.standard_normal(variable.shape))
    return model


def audio_config(model, **values):
    units = (4,) * {"crnn": 1, "gru": 2}.get(model, 0)
    return AudioConfig((4, 4), 4, 6, model=model, units=units, width=4, layers=2, heads=2, **values)


def audio_model_of(config, **widths):
    inputs = make_inputs(("audio",), widths or {"log_mel": MEL_BINS})
    return randomise(keras.Model(inputs, audio_branch(inputs, config).embedding))


@pytest.fixture(scope="module", params=SMALL_AUDIO_MODELS)
def audio_model(request):
    return audio_model_of(audio_config(request.param))


def text_config(model, preset, **values):
    return TextConfig(4, (4, 4), 4, 6, model=model, layers=2, heads=2, preset=preset, **values)


def text_model_of(config):
    inputs = make_inputs(("text",), {})
    return randomise(keras.Model(inputs, text_branch(inputs["token_ids"], VOCABULARY_SIZE, config).embedding))


@pytest.fixture(scope="module", params=TEXT_MODELS)
def text_model(request, tiny_preset):
    return text_model_of(text_config(request.param, tiny_preset))


@pytest.fixture(scope="module", params=[False, True], ids=["tuned", "frozen"])
def distil_bert(request, tiny_preset):
    return text_model_of(text_config("distilbert", tiny_preset, freeze=request.param)), request.param


def clip(num_frames, seed=0):
    return np.random.default_rng([num_frames, seed]).standard_normal((num_frames, MEL_BINS)).astype(np.float32)


def audio_batch(clips, length):
    """A batch padded to a length with what is no zero: the silence value of normalised clips is none."""
    batch = np.full((len(clips), length, MEL_BINS), -1.7, np.float32)
    for row, frames in zip(batch, clips, strict=True):
        row[: len(frames)] = frames
    return {"log_mel": batch, "num_frames": np.array([len(frames) for frames in clips], np.int32)}


def text_batch(rows, length):
    batch = np.zeros((len(rows), length), np.int32)
    for row, ids in zip(batch, rows, strict=True):
        row[: len(ids)] = ids
    return {"token_ids": batch}


@ONE_STEP
def test_padding_and_neighbours_change_no_audio_embedding(audio_model):
    sizes = (1, 2, 13, 16, 31)
    alone = np.concatenate([audio_model(audio_batch([clip(size)], size)) for size in sizes])
    for length in (31, 40):
        beside = audio_model(audio_batch([clip(size) for size in (0, *sizes)], length)).numpy()[1:]
        np.testing.assert_allclose(beside, alone, atol=1e-5)
    assert np.abs(alone).max(axis=1).min() > 0.01


@ONE_STEP
@pytest.mark.parametrize("num_tokens", [1, 2, 5])
def test_padding_and_neighbours_change_no_text_embedding(text_model, num_tokens):
    ids = [2, 7, 4, 9, 3][:num_tokens]
    alone = text_model(text_batch([ids], num_tokens)).numpy()[0]
    beside = text_model(text_batch([[2, *range(4, 14)], ids, [2]], 11)).numpy()[1]
    np.testing.assert_allclose(beside, alone, atol=1e-5)
    assert np.abs(alone).max() > 0.01


def test_a_clip_of_no_frames_has_a_finite_embedding(audio_model):
    assert np.isfinite(audio_model(audio_batch([clip(0), clip(9)], 9))).all()


def test_the_order_of_words_matters(text_model):
    there, back = text_model(text_batch([[2, 7, 4, 9], [2, 9, 4, 7]], 4)).numpy()
    assert np.abs(there - back).max() > 1e-3


def test_the_order_of_frames_matters(audio_model):
    there, back = audio_model(audio_batch([clip(20), clip(20)[::-1]], 20)).numpy()
    assert np.abs(there - back).max() > 1e-3


def test_the_audio_branch_halves_time_and_bands_once_a_stage():
    audio_model = audio_model_of(audio_config("cnn_attention"))
    assert audio_model.get_layer("audio_stem_relu").output.shape[2] == MEL_BINS // 2
    assert audio_model.get_layer("audio_1_pool").output.shape[2] == MEL_BINS // 4


@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_a_recurrent_branch_has_a_layer_of_its_kind_for_each_of_its_units(model):
    layers = [x for x in text_model_of(text_config(model, "")).layers if isinstance(x, keras.layers.Bidirectional)]
    assert [layer.name for layer in layers] == ["text_bidirectional_0", "text_bidirectional_1"]
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[model]
    assert all(isinstance(layer.forward_layer, kind) and layer.forward_layer.units == 4 for layer in layers)


def names_of_weights(model):
    names = [layer.name for layer in model.layers if layer.weights]
    assert names
    return names


def test_every_layer_with_weights_is_named_after_the_branch_of_words(text_model):
    assert all(name.startswith("text_") for name in names_of_weights(text_model))


def test_every_layer_with_weights_is_named_after_the_branch_of_sound(audio_model):
    assert all(name.startswith("audio_") for name in names_of_weights(audio_model))


def unreached(model, batch):
    """Paths of the weights that a loss does not reach."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(batch, training=False) ** 2)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]


def test_a_loss_reaches_every_weight_of_a_text_branch(text_model):
    # A position or piece that no transcript holds has none, and the key's bias moves all scores alike.
    assert unreached(text_model, text_batch([[2, 7, 4, 9], [2, 9, 4, 7]], 5)) == []


def test_a_loss_reaches_every_weight_of_an_audio_branch(audio_model):
    assert unreached(audio_model, audio_batch([clip(20), clip(13)], 20)) == []


def test_a_text_model_comes_back_from_its_file_in_safe_mode(text_model, tmp_path):
    text_model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    batch = text_batch([[2, 7, 4, 9], [2, 9]], 6)
    np.testing.assert_array_equal(loaded(batch), text_model(batch))


def test_an_audio_model_comes_back_from_its_file_in_safe_mode(audio_model, tmp_path):
    audio_model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    batch = audio_batch([clip(20), clip(0), clip(13)], 20)
    np.testing.assert_array_equal(loaded(batch), audio_model(batch))


def test_states_of_blocks_are_summed_with_learned_weights_of_1_together():
    states = np.random.default_rng(0).standard_normal((2, 5, 3, 4)).astype(np.float32)
    layer = WeightedLayerSum()
    np.testing.assert_allclose(layer(states), states.mean(axis=2), rtol=1e-5, atol=1e-6)
    layer.set_weights([np.log([1.0, 2.0, 5.0])])
    np.testing.assert_allclose(layer(states), np.tensordot(states, [0.125, 0.25, 0.625], (2, 0)), rtol=1e-5, atol=1e-6)


def test_positions_add_one_vector_a_place_and_the_last_serves_all_behind_it():
    layer = Positions(3)
    layer.build((None, None, 2))
    layer.positions.assign([[1.0, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(layer(np.zeros((1, 4, 2), np.float32))[0], [[1, 2], [3, 4], [5, 6], [5, 6]])


def test_the_transformer_takes_more_words_than_it_has_places_for():
    model = text_model_of(text_config("transformer", ""))
    assert np.isfinite(model(text_batch([[2] * (MAX_POSITIONS + 9)], MAX_POSITIONS + 9))).all()


def test_a_frozen_preset_has_no_weights_to_train_and_no_noise(distil_bert):
    model, is_frozen = distil_bert
    backbone = model.get_layer("text_backbone")
    token_ids = np.array([[2, 7, 9, 3]])
    noisy = np.abs(backbone(token_ids, training=True) - backbone(token_ids, training=False)).max()
    assert (noisy == 0) == is_frozen
    assert (backbone.trainable_variables == []) == is_frozen


def test_a_preset_folder_and_a_hugging_face_folder_give_the_same_features(tiny_preset, hugging_face_folder):
    ids, configs = (
        text_batch([[2, 7, 9, 3], [2]], 4),
        (text_config("distilbert", x) for x in (tiny_preset, hugging_face_folder)),
    )
    inputs = [make_inputs(("text",), {}) for _ in range(2)]
    models = [keras.Model(x, text_branch(x["token_ids"], 0, c).embedding) for x, c in zip(inputs, configs, strict=True)]
    one, other = (model.get_layer("text_backbone") for model in models)
    features = [x(ids["token_ids"]) for x in (one, other)]
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)
    assert np.ptp(features[0]) > 0.1


SCRIPT = """
import keras, numpy as np
from emotion_tf.config import AudioConfig, Config, TextConfig, VideoConfig
from emotion_tf.models.build import build_model
rng = np.random.default_rng(0)
widths = {"log_mel": 8, "acoustic": 5, "encoder": (3, 6)}
batch = {name: rng.standard_normal((3, 11, *np.atleast_1d(width))).astype("float32") for name, width in widths.items()}
batch |= {"num_frames": np.array([11, 0, 0], "int32"), "num_steps": np.array([7, 0, 0], "int32")}
batch["token_ids"] = np.array([[2, 4, 7], [2, 5, 0], [2, 0, 0]], "int32")
widths["video_frames"] = (32, 32, 1)
batch["video_frames"] = rng.uniform(0, 1, (3, 4, 32, 32, 1)).astype("float32")
batch["video_frames"][2] = 0
modalities = ("audio", "text", "video")
logits = []
for name in models:
    branch, features = ("fusion", ("log_mel", "acoustic", "encoder")) if name == "cnn" else ("audio", ("log_mel",))
    sizes = {"units": (4,), "width": 4, "layers": 1, "heads": 2, "dropout": 0.0}
    audio = AudioConfig((4, 4), 4, 4, model=name, features=features, **sizes)
    own = {"text": TextConfig(4, (4,), 4, 4), "video": VideoConfig((2, 2), 4, 4, 0.0, "gru")}
    own |= {"fusion": "early", "join": "cross_attention", "modalities": modalities} if branch == "fusion" else {}
    config = Config(branch, "x", audio=audio, **own)
    model = build_model(config, widths, 20, [0.25, 0.75])
    for variable in model.weights:
        if "seed" not in variable.path:
            variable.assign(np.abs(rng.standard_normal(variable.shape)) * 0.3)
    own = {key: batch[key] for key in model.input}
    logits.append(keras.ops.convert_to_numpy(model(own)))
model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
losses = [float(model.train_on_batch(own, np.eye(2, dtype="float32")[[0, 1, 1]])) for _ in range(2)]
"""

RUN = f"import sys; path, *models = sys.argv[1:]{SCRIPT}np.savez(path, logits=logits, losses=losses)"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_audio_model_text_and_video_give_the_same_on_another_backend_and_learn(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    # EfficientNet is keras.applications' own, and takes half a minute to build.
    expected = {"models": SMALL_AUDIO_MODELS}
    exec(SCRIPT, expected)
    command = [sys.executable, "-c", RUN, str(tmp_path / "found.npz"), *SMALL_AUDIO_MODELS]
    environment = os.environ | {"KERAS_BACKEND": backend}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4)
    assert found["losses"][1] < found["losses"][0]
