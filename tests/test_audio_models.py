"""Tests of audio models: squeeze-and-excitation, windows of EfficientNet, several features, fusion, and a whole run."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from test_branches import VOCABULARY_SIZE, audio_config, audio_model_of, clip, randomise, text_batch

from emotion_tf.config import AUDIO_MODELS, AudioConfig, Config, TextConfig
from emotion_tf.export import export
from emotion_tf.fit import fit
from emotion_tf.models.branches.audio import recurrent
from emotion_tf.models.branches.audio.convolutional import excite
from emotion_tf.models.branches.audio.efficientnet import WINDOW
from emotion_tf.models.build import build_model
from emotion_tf.models.inputs import audio_features_of, modalities_of
from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.runs.folder import Run
from emotion_tf.training import optimizer, transfer

pytestmark = pytest.mark.usefixtures("compared_here")

PRIOR = [0.25, 0.75]
WIDTHS = {"log_mel": 32, "mfcc": 3, "acoustic": 5, "encoder": (3, 6)}


def audio_batch(*num_frames, length, features=("log_mel",), num_steps=None, seed=0):
    """A batch of clips with any features, padded with what is no zero; a clip is the same whatever is beside it."""
    batch = {}
    for name in features:
        sizes = num_steps if name == "encoder" else num_frames
        padded = max(sizes, default=0) + 2 if name == "encoder" else length
        columns = np.atleast_1d(WIDTHS[name]).tolist()
        batch[name] = np.full((len(sizes), padded, *columns), -1.7, np.float32)
        for row, size in zip(batch[name], sizes, strict=True):
            row[:size] = np.random.default_rng([size, *columns, seed]).standard_normal((size, *columns))
        batch["num_steps" if name == "encoder" else "num_frames"] = np.array(sizes, np.int32)
    return batch


def build(config, seed=0):
    return randomise(build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR), seed)


def audio_of(model, **values):
    return Config("audio", "x", audio=audio_config(model, **values))


@pytest.mark.parametrize("training", [False, True])
def test_stacked_gru_layers_are_those_of_keras_one_above_the_other(monkeypatch, training):
    x = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
    together = recurrent.StackedGRU((4, 3, 2), 0.0)
    expected = x
    assert together(x).shape == together.compute_output_shape(x.shape) == (2, 7, 2)
    for layer, width in zip(together.stack, (5, 4, 3), strict=True):
        alone = keras.layers.GRU(layer.units, return_sequences=True)
        alone.build((None, None, width))
        alone.set_weights(layer.get_weights())
        expected = alone(expected)
    np.testing.assert_allclose(together(x, training=training), expected, atol=1e-6)
    # As on a GPU.
    monkeypatch.setattr(recurrent, "_has_gpu", lambda: True)
    np.testing.assert_allclose(together(x, training=training), expected, atol=1e-6)


def test_stacked_gru_layers_drop_in_training_alone():
    layer = recurrent.StackedGRU((16, 16), 0.5)
    x = np.ones((1, 4, 3), np.float32)
    zeros = [(np.asarray(layer(x, training=training)) == 0).mean() for training in (True, False)]
    assert 0.2 < zeros[0] < 0.8
    assert zeros[1] == 0


def test_squeeze_and_excitation_weighs_channels_by_the_mean_over_the_clip():
    x, num_frames = keras.Input((None, 2, 8)), keras.Input((), dtype="int32")
    model = randomise(keras.Model([x, num_frames], excite(x, num_frames, 2, "audio")))
    image = np.random.default_rng(0).standard_normal((1, 4, 2, 8)).astype(np.float32)
    (kernel, bias), (out, out_bias) = (model.get_layer(f"audio_{x}").get_weights() for x in ("hidden", "weights"))
    mean = image[0, :3].mean(axis=(0, 1))  # Five frames are three steps of two.
    weights = scipy.special.expit(np.maximum(mean @ kernel + bias, 0) @ out + out_bias)
    np.testing.assert_allclose(model([image, np.array([5])])[0], image[0] * weights, rtol=1e-5)


def test_cnn_takes_the_mean_over_the_steps_of_the_clip():
    model = audio_model_of(audio_config("cnn"))
    layers = keras.Model(model.input, [model.get_layer(f"audio_{x}").output for x in ("1_dropout", "pooling")])
    batch = {"log_mel": np.stack([clip(9)]), "num_frames": np.array([9], np.int32)}
    blocks, pooled = layers(batch)  # Nine frames are three steps of four.
    np.testing.assert_allclose(pooled[0], blocks.numpy()[0, :3].mean(axis=(0, 1)), rtol=1e-4)


@pytest.mark.parametrize("mel_bins", [1, 40, 64, 128])
def test_five_blocks_see_any_number_of_bands(mel_bins):
    config = Config("audio", "x", audio=AudioConfig((2, 2, 2, 2, 2), 4, 6, model="cnn"))
    model = build_model(config, {"log_mel": mel_bins}, 0, PRIOR)
    assert model.get_layer("audio_4_pool").output.shape[2:] == (-(-mel_bins // 32), 2)


@pytest.mark.parametrize(("model", "least"), [("cnn_attention", 7), ("efficientnet", 32)])
def test_no_network_is_built_on_fewer_columns_than_it_needs(model, least):
    config = Config("audio", "x", audio=AudioConfig((2, 2, 2), 4, 6, model=model))
    assert config.audio.least_columns == least
    with pytest.raises(ValueError, match=r"[Ii]nput"):
        build_model(config, {"log_mel": least - 1}, 0, PRIOR)


def test_cnn_attention_is_built_on_as_few_columns_as_it_needs():
    config = Config("audio", "x", audio=AudioConfig((2, 2, 2), 4, 6))
    assert build_model(config, {"log_mel": 7}, 0, PRIOR).get_layer("audio_2_relu").output.shape[2] == 1


@pytest.fixture(scope="module")
def efficientnet():
    """As it is drawn: weights of any size explode over so many layers."""
    keras.utils.set_random_seed(0)
    return build_model(audio_of("efficientnet"), WIDTHS, VOCABULARY_SIZE, PRIOR)


def test_padding_and_neighbours_change_no_logits_of_efficientnet(efficientnet):
    alone = efficientnet(audio_batch(150, length=150)).numpy()[0]
    beside = efficientnet(audio_batch(1, 150, 0, 300, length=300)).numpy()
    assert np.isfinite(beside).all()
    np.testing.assert_allclose(beside[1], alone, atol=1e-5)


def test_efficientnet_reads_every_window(efficientnet):
    frames = np.repeat(audio_batch(2 * WINDOW, length=2 * WINDOW)["log_mel"], 3, axis=0)
    frames[1, 5:60] += 3
    frames[2, WINDOW + 5 : WINDOW + 60] += 3
    found = efficientnet({"log_mel": frames, "num_frames": np.full(3, 2 * WINDOW, np.int32)}).numpy()
    assert np.abs(found[1:] - found[0]).max(axis=1).min() > 1e-6


def test_normalisation_inside_of_efficientnet_looks_back_as_far_as_the_others(efficientnet):
    optimizer.compile_model(efficientnet, audio_of("efficientnet"), 100, keras.losses.CategoricalCrossentropy())
    inner = efficientnet.get_layer("audio_backbone").layers
    momenta = [layer.momentum for layer in inner if isinstance(layer, keras.layers.BatchNormalization)]
    assert momenta == pytest.approx([1 - 1 / (0.05 * 6000)] * len(momenta))
    assert momenta


def test_frame_features_are_joined_column_by_column_and_an_encoder_has_its_own_head():
    features = ("log_mel", "acoustic", "encoder")
    model = build(audio_of("gru", features=features))
    batch = audio_batch(9, length=9, features=features, num_steps=[4])
    assert set(model.input) == {*features, "num_frames", "num_steps"} == set(batch)
    joined = keras.Model(model.input, model.get_layer("audio_features").output)(batch)
    np.testing.assert_array_equal(joined, np.concatenate([batch["log_mel"], batch["acoustic"]], axis=2))
    assert model.get_layer("audio_join").output.shape == (None, 12)


@pytest.mark.parametrize("features", [("acoustic",), ("encoder",), ("log_mel", "mfcc", "encoder")])
def test_padding_and_neighbours_change_no_logits_whatever_features_are_read(features):
    built = build(audio_of("cnn_attention", features=features))
    alone = built(audio_batch(13, length=13, features=features, num_steps=[4])).numpy()[0]
    beside = built(audio_batch(20, 13, 1, length=26, features=features, num_steps=[7, 4, 1])).numpy()[1]
    np.testing.assert_allclose(beside, alone, atol=1e-5)


def test_every_feature_changes_the_logits():
    features = ("log_mel", "acoustic", "encoder")
    model = build(audio_of("crnn", features=features))
    batch = audio_batch(*range(5, 13), length=12, features=features, num_steps=range(3, 11))
    for name in features:
        changed = batch | {name: batch[name] + np.random.default_rng(1).standard_normal(batch[name].shape)}
        assert np.abs(model(batch).numpy() - model(changed).numpy()).max() > 1e-4


def test_a_recording_that_is_absent_from_an_encoder_alone_gets_the_prior():
    model = build(audio_of("cnn", features=("encoder",)))
    assert set(model.input) == {"encoder", "num_steps"}
    assert (modalities_of(model), audio_features_of(model)) == (("audio",), ("encoder",))
    found = tf.nn.softmax(model(audio_batch(0, 9, length=9, features=("encoder",), num_steps=[0, 4])))
    np.testing.assert_allclose(found[0], PRIOR, atol=1e-6)
    assert np.abs(found[1] - PRIOR).max() > 1e-3


def test_late_fusion_joins_models_of_several_features_and_shares_what_they_share():
    features = {"one": ("log_mel",), "two": ("log_mel", "acoustic"), "three": ("encoder",)}
    models = {name: build(audio_of("cnn", features=f), seed) for seed, (name, f) in enumerate(features.items())}
    fused = late_fusion(models, PRIOR)
    assert set(fused.input) == {"log_mel", "acoustic", "encoder", "num_frames", "num_steps"}
    assert audio_features_of(fused) == ("log_mel", "acoustic", "encoder")
    batch = audio_batch(9, 13, length=13, features=("log_mel", "acoustic", "encoder"), num_steps=[4, 0])
    expected = [tf.nn.softmax(model({key: batch[key] for key in model.input})).numpy() for model in models.values()]
    found = tf.nn.softmax(fused(batch))
    np.testing.assert_allclose(found[0], np.mean(expected, axis=0)[0], atol=1e-5)
    np.testing.assert_allclose(found[1], np.mean(expected[:2], axis=0)[1], atol=1e-5)  # No encoder states: left out.


@pytest.mark.parametrize("model", AUDIO_MODELS)
def test_every_audio_model_starts_early_fusion_and_joins_late_fusion(model, monkeypatch, request):
    audio = audio_of(model)
    trained = request.getfixturevalue(model) if model == "efficientnet" else build(audio)
    text = build(Config("text", "x", text=TextConfig(4, (4,), 4, 6)))
    monkeypatch.setattr(Run, "model", lambda run: trained)
    monkeypatch.setattr(Run, "metadata", lambda run: SimpleNamespace(emotions=["of", "another", "corpus"]))
    early = Config("fusion", "x", fusion="early", init_audio="x", join="cross_attention", audio=audio.audio)
    early = dataclasses.replace(early, text=TextConfig(4, (4,), 4, 6))
    joined = build_model(early, WIDTHS, VOCABULARY_SIZE, PRIOR)
    transfer.load_branches(joined, early, ["a", "b", "c"])
    for layer in (layer for layer in trained.layers if layer.name.startswith("audio_")):
        for one, other in zip(joined.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    batch = audio_batch(9, 13, length=13) | text_batch([[2, 7, 4], [2, 8]], 3)
    assert np.isfinite(joined(batch)).all()
    fused = late_fusion({"audio": trained, "text": text}, PRIOR)
    assert set(fused.input) == {"log_mel", "num_frames", "token_ids"}


@pytest.mark.slow
def test_a_run_of_another_model_and_other_features_is_trained_scored_and_exported_like_any(
    make_config, acoustic_records, tmp_path
):
    run = Run(tmp_path / "run")
    small = AudioConfig((), 4, 4, model="transformer", features=("mfcc",), width=8, layers=1, heads=2)
    config = make_config("audio", epochs=1, records=str(acoustic_records), normalise="training")
    fit(dataclasses.replace(config, audio=small), run)
    assert set(run.model().input) == {"mfcc", "num_frames"}
    assert set(run.normalisation().mean) == {"log_mel", "mfcc"}  # Pictures show log_mel.
    assert "agrees with the run on 50 examples of stored clips" in export(run, tmp_path / "export")
