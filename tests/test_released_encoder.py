"""Tests of a released encoder in whole runs: what learns, where it starts, fusion, export."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf.evaluate import evaluate
from emotion_tf.evaluation.split import split_of
from emotion_tf.export import export
from emotion_tf.fit import fit
from emotion_tf.models.branches.audio import ENCODER
from emotion_tf.runs.compatibility import inputs_of
from emotion_tf.runs.folder import Run
from emotion_tf.serving.predictor import Predictor
from emotion_tf.training import train
from emotion_tf.training.checks import check, with_branches
from pipelines import audio, records
from pipelines.audio import whisper_checkpoint
from pipelines.records import read_examples

pytestmark = pytest.mark.usefixtures("compared_here")


def released_model(config, count):
    config = dataclasses.replace(config, audio=dataclasses.replace(config.audio, encoder_release=count))
    checked = check(config)
    return train.make_model(config, checked.metadata, checked.inputs, 2)


def probabilities_of(run):
    emotions = run.metadata().emotions
    return run.predictions().set_index("utterance_id")[[f"probability_{emotion}" for emotion in emotions]]


@pytest.mark.parametrize(("count", "blocks"), [(1, {"block_3"}), (2, {"block_2", "block_3"})])
def test_gradients_flow_into_exactly_the_released_blocks(released_config, count, blocks):
    model = released_model(released_config, count)
    encoder = model.get_layer(ENCODER)
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 8000)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model({"waveform": waveform}, training=True)))
    gradients = tape.gradient(loss, [weight.value for weight in encoder.weights])
    reached = {
        weight.path.split("/")[0] for weight, one in zip(encoder.weights, gradients, strict=True) if one is not None
    }
    assert reached == blocks
    learning = [one for one in gradients if one is not None]
    assert len(learning) == len(encoder.trainable_weights) == 12 * count
    assert all(np.abs(one).max() > 0 for one in learning)


def test_released_blocks_learn_at_a_rate_of_their_own_and_without_decay(released_config):
    audio_config = dataclasses.replace(released_config.audio, encoder_rate=2e-5)
    model = released_model(dataclasses.replace(released_config, audio=audio_config), 1)
    multipliers = model.optimizer.multipliers
    assert set(multipliers) == {weight.path for weight in model.get_layer(ENCODER).trainable_weights}
    assert list(multipliers.values()) == pytest.approx([1e-2] * 12)


def test_a_training_moves_the_released_block_and_nothing_below(released_run, states_and_waveforms):
    found = released_run.model().get_layer(ENCODER)
    before = whisper_checkpoint.find(str(records.kept_encoder(states_and_waveforms))).load()
    assert found.blocks == (2, 3)
    pairs = [(found.first_convolution, before.first_convolution), (found.second_convolution, before.second_convolution)]
    pairs += list(zip(found.transformer_blocks[:2], before.transformer_blocks[:2], strict=True))
    for one, other in pairs:
        for weights, expected in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, expected)
    np.testing.assert_array_equal(found.positions, before.positions)
    last = zip(found.transformer_blocks[2].get_weights(), before.transformer_blocks[2].get_weights(), strict=True)
    assert all(np.abs(one - other).max() > 0 for one, other in last)


@pytest.mark.slow
def test_it_starts_as_the_run_of_the_frozen_encoder(make_config, released_config, tmp_path):
    config = dataclasses.replace(released_config, audio=dataclasses.replace(released_config.audio, encoder_release=0))
    frozen = dataclasses.replace(config, training=make_config("audio", epochs=1).training)
    run = Run(tmp_path / "frozen")
    fit(frozen, run)
    config = with_branches(dataclasses.replace(released_config, init_audio=str(run.folder)))
    assert config.audio == released_config.audio
    checked = check(config)
    model = train.make_model(config, checked.metadata, checked.inputs, 2)
    split = split_of(run, "validation", ("audio",), ("waveform",))
    found = keras.ops.softmax(split.logits(model))
    expected = probabilities_of(run).loc[split.utterances["utterance_id"]]
    # Records round states to float16.
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_waveforms_of_any_level_get_the_probabilities_of_the_run(released_run, tmp_path):
    assert "agrees with the run on 50 examples of stored clips to" in export(released_run, tmp_path / "export")
    metadata = json.loads((tmp_path / "export" / "1" / "metadata.json").read_text())
    assert (metadata["audio_features"], metadata["encoder"]["blocks"]) == (["waveform"], [2, 3])
    loaded = tf.saved_model.load(str(tmp_path / "export" / "1"))
    assert set(loaded.signatures["features"].structured_input_signature[1]) == {"waveform", "token_ids"}
    fold = released_run.metadata().fold
    examples = read_examples(Path(released_run.config().records), fold.validation, 30)
    waveforms, predictor = audio.pad_together([one.waveform for one in examples]), Predictor(tmp_path / "export")
    expected = probabilities_of(released_run)
    for scale in (1.0, 0.03):
        found = predictor.predict_batch(scale * waveforms, [""] * 30).probabilities
        np.testing.assert_allclose(found, expected, atol=1e-4)
    silent = predictor.predict_batch(np.zeros((1, 500)), [""]).probabilities[0]
    np.testing.assert_allclose(silent, released_run.metadata().prior, atol=1e-5)


def test_the_test_split_is_read_of_waveforms(released_run, tmp_path):
    copy = Run(shutil.copytree(released_run.folder, tmp_path / "run"))
    assert evaluate(copy)["test_reads"] == 1
    assert set(copy.predictions()["split"]) == {"validation", "test"}


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["early", "late"])
def test_waveforms_are_read_beside_frames_and_text(
    fusion, make_config, released_config, released_run, audio_run, text_run, tmp_path
):
    config = make_config("fusion", fusion=fusion, epochs=1, records=released_run.config().records)
    if fusion == "early":
        both = dataclasses.replace(released_config.audio, features=("log_mel", "encoder"))
        config = dataclasses.replace(config, audio=both)
    else:
        config = dataclasses.replace(config, runs=tuple(str(run.folder) for run in (audio_run, released_run, text_run)))
    run = Run(tmp_path / "run")
    fit(config, run)
    assert set(run.model().input) == {"log_mel", "num_frames", "waveform", "token_ids"}
    assert inputs_of(run).widths == {"log_mel": 64, "waveform": ()}
    assert "agrees with the run on 50 examples of stored clips to" in export(run, tmp_path / "export")


def test_early_fusion_starts_from_what_was_trained_of_the_encoder(make_config, released_run):
    config = make_config("fusion", fusion="early", records=released_run.config().records)
    config = with_branches(dataclasses.replace(config, init_audio=str(released_run.folder)))
    checked = check(config)
    model = train.make_model(config, checked.metadata, checked.inputs, 2)
    found, expected = (one.get_layer(ENCODER).get_weights() for one in (model, released_run.model()))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(model.get_layer(ENCODER).trainable_weights) == 12
