"""Tests of emotion_tf.training.precision: steps in bfloat16, all else in single precision."""

import dataclasses
import json

import keras
import numpy as np
import pandas as pd
import pytest

from emotion_tf.config import AudioConfig, VideoConfig
from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.evaluation.split import split_of
from emotion_tf.fit import fit
from emotion_tf.models.build import build_model
from emotion_tf.runs.folder import Run
from emotion_tf.training import precision, train
from emotion_tf.training.precision import computing_in, copy_weights, has_bfloat16, precision_of


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx2 avx512f", False), ("", False)],
)
def test_the_flags_of_the_processor_say_whether_it_multiplies_bfloat16(monkeypatch, tmp_path, flags, expected):
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: A\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert has_bfloat16(cpuinfo) is expected


def test_where_nothing_is_said_of_the_processor_there_is_no_bfloat16(tmp_path):
    assert not has_bfloat16(tmp_path / "none")


@pytest.mark.parametrize(
    ("branch", "values", "asked", "expected"),
    [
        ("audio", {"audio": AudioConfig()}, "auto", "bfloat16"),
        ("audio", {"audio": AudioConfig(model="crnn")}, "auto", "bfloat16"),
        ("audio", {"audio": AudioConfig(model="efficientnet")}, "auto", "float32"),
        ("audio", {"audio": AudioConfig(model="gru")}, "auto", "float32"),
        ("audio", {"audio": AudioConfig(channels=(8, 15))}, "auto", "float32"),
        ("video", {"video": VideoConfig()}, "auto", "bfloat16"),
        ("video", {"video": VideoConfig((4, 8))}, "auto", "float32"),
        ("text", {}, "auto", "float32"),
        ("text", {}, "bfloat16", "bfloat16"),
        ("audio", {}, "float32", "float32"),
    ],
)
def test_auto_takes_bfloat16_for_what_gains_by_it(make_config, branch, values, asked, expected):
    config = with_precision(dataclasses.replace(make_config(branch), **values), asked)
    assert precision_of(config, True) == expected
    assert precision_of(config, False) == (asked if asked == "bfloat16" else "float32")


def test_a_head_on_states_stays_in_single_precision(make_config):
    config = with_precision(make_config("audio"), "auto")
    config = dataclasses.replace(config, audio=dataclasses.replace(config.audio, features=("encoder",)))
    assert precision_of(config, True) == "float32"


def with_precision(config, value):
    return dataclasses.replace(config, training=dataclasses.replace(config.training, precision=value))


@pytest.fixture(scope="module")
def bfloat16_run(make_config, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("bfloat16") / "run")
    fit(with_precision(make_config("audio"), "bfloat16"), run)
    return run


def test_steps_are_computed_in_bfloat16_and_what_is_saved_is_not(bfloat16_run, audio_run):
    written = json.loads(bfloat16_run.training_path.read_text())
    assert written["precision"] == "bfloat16"
    assert json.loads(audio_run.training_path.read_text())["precision"] == "float32"
    model = bfloat16_run.model()
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    one, other = (pd.read_csv(run.history_path) for run in (bfloat16_run, audio_run))
    assert (one["loss"] != other["loss"]).all()


def test_validation_is_that_of_the_saved_model(bfloat16_run):
    kept = json.loads((bfloat16_run.checkpoints / "best.json").read_text())
    model = bfloat16_run.model()
    set_temperature(model, 1.0)
    _, loss = split_of(bfloat16_run, "validation", ("audio",)).predict(model)
    assert loss == pytest.approx(kept["loss"], rel=1e-5)


def test_a_run_goes_on_in_the_numbers_that_it_began_with(bfloat16_run, monkeypatch, tmp_path):
    monkeypatch.setattr(train, "has_bfloat16", lambda: False)
    assert train.callbacks.written_precision(bfloat16_run) == "bfloat16"
    assert train.callbacks.written_precision(Run(tmp_path)) is None


def test_weights_and_head_are_float32_under_bfloat16(make_config):
    keras.utils.set_random_seed(0)
    config, prior = make_config("audio"), [1 / 8] * 8
    model = build_model(config, {"log_mel": 64}, 8192, prior)
    with computing_in("bfloat16"):
        learner = build_model(config, {"log_mel": 64}, 8192, prior)
    assert learner.get_layer("audio_stem").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in learner.trainable_variables} == {"float32"}
    copy_weights(model, learner)
    frames = np.random.default_rng(0).normal(size=(4, 32, 64)).astype("float32")
    inputs = {"log_mel": frames, "num_frames": np.full(4, 32, "int32")}
    one, other = (np.asarray(each(inputs, training=False)) for each in (learner, model))
    assert one.dtype == other.dtype == "float32"
    assert (one != other).any()
    np.testing.assert_allclose(one, other, atol=0.03 * np.abs(other).max())
