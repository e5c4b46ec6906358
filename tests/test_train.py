"""Tests of emotion_tf.training.train: a training gives the same twice, however often it was stopped."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.evaluation.rule_fitting import fit_stacker, fit_weights
from emotion_tf.fit import fit
from emotion_tf.late_rules import combine
from emotion_tf.models.build import build_model
from emotion_tf.runs.folder import Run
from emotion_tf.training import callbacks, checkpoints, optimizer, train
from pipelines.command import InputError
from pipelines.files import UNFINISHED

ROOT = Path(__file__).parents[1]


def history_of(run):
    return pd.read_csv(run.history_path)


def test_the_same_seed_gives_the_same_numbers(audio_run, tmp_path):
    again = Run(tmp_path / "again")
    fit(audio_run.config(), again)
    assert again.history_path.read_text() == audio_run.history_path.read_text()
    assert again.predictions_path.read_text() == audio_run.predictions_path.read_text()


def test_the_kept_model_is_that_of_the_best_epoch(text_run):
    history, scores = history_of(text_run), text_run.scores()
    best = history["val_unweighted_average_recall"].max()
    assert scores["validation"]["unweighted_average_recall"] == pytest.approx(best)
    assert scores["test_reads"] == 0
    assert "test" not in scores
    pointer = json.loads((text_run.checkpoints / "best.json").read_text())
    assert history["val_unweighted_average_recall"][pointer["epoch"]] == pytest.approx(best)


def test_the_kept_model_has_no_optimizer_and_loads_like_the_best_checkpoint(text_run):
    model = text_run.model()
    assert not model.compiled
    config = text_run.config()
    checkpoint = build_model(config, {"log_mel": 64}, 8192, text_run.metadata().prior)
    optimizer.compile_model(checkpoint, config, 2, keras.losses.CategoricalCrossentropy())
    pointer = json.loads((text_run.checkpoints / "best.json").read_text())
    checkpoint.optimizer.build(checkpoint.trainable_variables)
    checkpoints.load_weights(checkpoint, text_run.checkpoints / pointer["file"])
    assert float(checkpoint.get_layer("logits").temperature) == 1  # Calibrated after training.
    set_temperature(checkpoint, text_run.temperature())
    for kept, saved in zip(model.get_weights(), checkpoint.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, saved)


@pytest.mark.parametrize("run", ["audio_run", "early_run", "late_run"])
def test_a_model_loads_after_one_import(run, request):
    path = request.getfixturevalue(run).model_path
    code = "import sys, keras, emotion_tf.models; print(keras.saving.load_model(sys.argv[1]).output.shape)"
    command = [sys.executable, "-c", code, str(path)]
    assert subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout.startswith("(None, ")


def test_late_fusion_saves_the_average_of_its_runs(late_run, audio_run, text_run):
    columns = [f"probability_{emotion}" for emotion in late_run.metadata().emotions]
    found = late_run.predictions().set_index("utterance_id")[columns]
    one, other = (run.predictions().set_index("utterance_id")[columns] for run in (audio_run, text_run))
    mean = (one + other.loc[one.index]) / 2
    expected = mean ** (1 / late_run.temperature())  # The mean of calibrated probabilities is calibrated once more.
    pd.testing.assert_frame_equal(found, expected.div(expected.sum(axis=1), axis=0), atol=1e-5)


def test_nothing_half_written_is_left(audio_run, text_run, early_run, late_run):
    for run in (audio_run, text_run, early_run, late_run):
        names = [path.name for path in run.folder.rglob("*")]
        assert not [name for name in names if "unfinished" in name or name.endswith(".tmp")]
    assert len(list(text_run.checkpoints.iterdir())) == 3


class KilledError(Exception):
    """Stands for kill -9 between two steps."""


def kill_in_epoch(monkeypatch, epoch):
    """Stops training at the first step of an epoch; earlier epochs are whole."""
    begin = callbacks.Progress.on_train_batch_end

    def stop(self, batch, logs=None):
        begin(self, batch, logs)
        if len(self.validation.history) == epoch:
            raise KilledError

    monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", stop)


def test_a_resumed_run_goes_on_with_optimizer_average_and_rate(make_config, tmp_path, monkeypatch):
    run, config = Run(tmp_path / "run"), make_config("text", epochs=3, patience=2)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 1)
        with pytest.raises(KilledError):
            fit(config, run)
    before = history_of(run)
    assert list(before["epoch"]) == [0]
    states = []
    resume = callbacks.Validation.resume

    def resume_and_look(self):
        done = resume(self)
        optimizer = self.model.optimizer
        averages = [variable.numpy() for variable in optimizer._model_variables_moving_average]
        states.append((done, int(optimizer.iterations), averages, self.best["epoch"], self.model.get_weights()))
        return done

    monkeypatch.setattr(callbacks.Validation, "resume", resume_and_look)
    fit(config, run)
    [(done, iterations, averages, best, weights)] = states
    assert (done, iterations, best) == (1, 2, 0)
    assert any(np.abs(average).max() > 0 for average in averages)
    assert any((average != weight).any() for average, weight in zip(averages, weights, strict=False))
    history = history_of(run)
    pd.testing.assert_frame_equal(history[:1], before)
    assert list(history["epoch"]) == list(range(len(history)))
    schedule = train.keras.optimizers.schedules.CosineDecay(2e-5, 1, warmup_target=2e-3, warmup_steps=5)
    np.testing.assert_allclose(history["learning_rate"][:2], [float(schedule(step)) for step in (2, 4)], rtol=1e-4)


AUGMENTED = {
    "audio": {"time_shift": 4, "mixup": 0.4},
    "fusion": {"word_dropout": 0.3, "word_swap": 0.3, "modality_dropout": 0.3},
}


@pytest.mark.parametrize(
    "branch",
    ["audio", pytest.param("fusion", marks=pytest.mark.slow), pytest.param("released", marks=pytest.mark.slow)],
)
def test_a_killed_and_resumed_run_is_the_run_that_was_not_interrupted(
    branch, make_config, released_config, tmp_path, monkeypatch
):
    straight, resumed = Run(tmp_path / "straight"), Run(tmp_path / "resumed")
    config = released_config if branch == "released" else make_config(branch, **AUGMENTED[branch])
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=4))
    fit(config, straight)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2)
        with pytest.raises(KilledError):
            fit(config, resumed)
    assert len(history_of(resumed)) == 2
    fit(config, resumed)
    pd.testing.assert_frame_equal(history_of(resumed), history_of(straight), rtol=1e-5, atol=1e-5)
    pd.testing.assert_frame_equal(resumed.predictions(), straight.predictions(), rtol=1e-4, atol=1e-4)


def branch_weights(model):
    """Weights of the branches, moving statistics among them."""
    layers = [layer for layer in model.layers if layer.name.startswith(("audio_", "text_"))]
    return {f"{layer.name} {n}": weight for layer in layers for n, weight in enumerate(layer.get_weights())}


@pytest.mark.slow
def test_frozen_branches_stay_to_the_last_bit_over_a_kill_and_then_learn(
    make_config, audio_run, text_run, tmp_path, monkeypatch
):
    sources = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    run, weights = Run(tmp_path / "run"), []
    end = callbacks.Validation.on_epoch_end

    def look(self, epoch, logs):
        weights.append(branch_weights(self.model))
        with callbacks.averaged_weights(self.model):
            weights.append(branch_weights(self.model))
        end(self, epoch, logs)

    monkeypatch.setattr(callbacks.Validation, "on_epoch_end", look)
    config = make_config("fusion", fusion="early", join="gated", epochs=3, freeze_epochs=2, release_rate=0.5, **sources)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 1)
        with pytest.raises(KilledError):
            fit(config, run)
    fit(config, run)
    before = branch_weights(audio_run.model()) | branch_weights(text_run.model())
    assert len(weights) == 6
    for found in weights[:4]:
        assert all((found[name] == before[name]).all() for name in before)
    for found in weights[4:]:
        moved = {name for name in before if (found[name] != before[name]).any()}
        assert not [name for name in moved if "_norm" in name]
        assert len(moved) > 0.8 * len([name for name in before if "_norm" not in name])
    assert (run.plots / "graph.png").exists()


def test_early_stopping_survives_a_resume(text_run, tmp_path):
    """A run that ran out of patience, and was killed before its scores were written, trains no further."""
    run = Run(tmp_path / "run")
    shutil.copytree(text_run.folder, run.folder)
    run.scores_path.unlink()
    last, best = checkpoints.last_epoch(run), json.loads((run.checkpoints / "best.json").read_text())
    (run.checkpoints / "best.json").write_text(json.dumps(best | {"epoch": last - 1}))
    config = run.config()
    patient = dataclasses.replace(config, training=dataclasses.replace(config.training, patience=1, epochs=50))
    run.config_path.write_text(patient.to_json())
    before = run.history_path.read_text()
    fit(patient, run)
    assert run.is_finished
    assert run.history_path.read_text() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("best.json", content) for content in (b"{", b"{}", b"[]")),
        ("last-*.h5", b"cut off"),
        ("best-*.h5", b""),
        ("../history.csv", b""),
    ],
)
def test_a_corrupt_checkpoint_gets_a_sentence(text_run, tmp_path, name, content):
    run = Run(tmp_path / "run")
    shutil.copytree(text_run.folder, run.folder)
    run.scores_path.unlink()
    [path] = run.checkpoints.glob(name) if "*" in name else [run.checkpoints / name]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is missing or corrupt \(.*\): train again with --overwrite"):
        fit(run.config(), run)


def test_a_loss_that_is_no_number_stops_with_a_sentence(make_config, tmp_path, monkeypatch):
    run, config = Run(tmp_path / "run"), make_config("text", epochs=3)
    predict, calls = train.Split.predict, []

    def nan_in_the_second_epoch(self, model):
        calls.append(predict(self, model))
        return (calls[-1][0], np.nan) if len(calls) == 2 else calls[-1]

    monkeypatch.setattr(train.Split, "predict", nan_in_the_second_epoch)
    with pytest.raises(InputError, match=r"the loss became nan in epoch 2: .* --learning-rate below 0.002"):
        fit(config, run)
    assert checkpoints.last_epoch(run) == 0
    assert list(history_of(run)["epoch"]) == [0]
    assert not run.is_finished


def test_weights_that_run_away_stop_with_the_same_sentence(make_config, tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(InputError, match=r"the loss became nan in epoch 1: .* below 1e\+30"):
        fit(make_config("text", learning_rate=1e30), run)
    assert checkpoints.last_epoch(run) == -1
    assert not run.checkpoints.exists()


def test_a_full_disk_leaves_the_model_before_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_text("the one before")

    def fail(self, path):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", fail)
    inputs = keras.Input((1,), name="x")
    with pytest.raises(OSError, match="No space left"):
        train.write_model(keras.Model({"x": inputs}, inputs), path)
    assert path.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def start_fit(run, records):
    command = [sys.executable, "-m", "emotion_tf.fit", "--branch", "text", "--records", str(records)]
    command += ["--run", str(run.folder), "--epochs", "4", "--batch-size", "8"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_killed_run_finishes_with_the_same_command(three_speaker_records, tmp_path, number, status):
    run = Run(tmp_path / "run")
    process = start_fit(run, three_speaker_records)
    deadline = time.monotonic() + 120
    while checkpoints.last_epoch(run) < 1 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    os.kill(process.pid, number)
    output = process.communicate()[0]
    assert process.returncode == status, output
    if number == signal.SIGTERM:
        assert output.endswith("error: terminated; the same command again continues where it stopped.\n")
        assert "Traceback" not in output
        assert not list(run.folder.rglob(f"{UNFINISHED}*"))
    done, before = checkpoints.last_epoch(run), history_of(run)
    again = start_fit(run, three_speaker_records)
    output = again.communicate(timeout=120)[0]
    assert again.returncode == 0, output
    assert f"goes on with epoch {done + 2}" in output
    history = history_of(run)
    pd.testing.assert_frame_equal(history[: done + 1], before[: done + 1])
    assert list(history["epoch"]) == [0, 1, 2, 3]
    best = history["val_unweighted_average_recall"].max()
    assert run.scores()["validation"]["unweighted_average_recall"] >= best - 1e-6
    assert tf.io.gfile.glob(str(run.tensorboard / "train" / "*"))


@pytest.mark.parametrize("rule", ["weighted", "stacker"])
def test_a_fitted_rule_is_that_of_the_validation_split_and_is_stored(rule, make_config, audio_run, text_run, tmp_path):
    sources = (audio_run, text_run)
    config = make_config("fusion", fusion="late", runs=tuple(str(one.folder) for one in sources), rule=rule)
    run = Run(tmp_path / "late")
    fit(config, run)
    tables = [one.predictions().set_index("utterance_id").sort_index() for one in sources]
    emotions = run.metadata().emotions
    probabilities = np.stack([table[[f"probability_{emotion}" for emotion in emotions]] for table in tables], axis=1)
    labels = tables[0]["label"].map(emotions.index).to_numpy()
    stored = json.loads(run.fusion_path.read_text())
    assert (stored["rule"], stored["runs"], stored["fitted_on"]) == (rule, list(config.runs), "validation")
    assert stored["num_utterances"] == len(labels) == 30
    if rule == "weighted":
        np.testing.assert_allclose(stored["weights"], fit_weights(probabilities, labels), atol=1e-3)
    else:
        kernel, _ = fit_stacker(probabilities, labels, list(tables[0]["speaker"]))
        np.testing.assert_allclose(stored["kernel"], kernel, atol=0.05)
    given = {name: np.array(stored[name]) for name in ("weights", "kernel", "bias") if name in stored}
    expected = combine(probabilities, np.ones(probabilities.shape[:2]), rule, **given) ** (1 / run.temperature())
    found = run.predictions().set_index("utterance_id").sort_index().filter(like="probability_")
    # A tiny model's probabilities hardly differ, so that the kernel of their standardised logarithms is large.
    tolerance = 1e-5 if rule == "weighted" else 2e-4
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=tolerance)
    assert json.loads(run.audit_path.read_text())["fitted"]["rule"] == "validation split, 30 utterances"


def test_a_run_on_another_corpus_joins_by_its_mapped_probabilities(make_config, audio_run, goemotions_run, tmp_path):
    run, runs = Run(tmp_path / "late"), (str(audio_run.folder), str(goemotions_run.folder))
    fit(make_config("fusion", fusion="late", runs=runs, label_maps=("goemotions-ravdess",)), run)
    scores = run.scores()["validation"]
    assert scores["num_utterances"] == 30
    assert set(scores["without"]) == {"audio", "text"}
    assert len(run.predictions().filter(like="probability_").columns) == 8


def test_late_fusion_averages_runs_of_several_emotions(goemotions_run, make_config, tmp_path):
    source = str(goemotions_run.folder)
    config = make_config(
        "fusion",
        records=goemotions_run.config().records,
        folds="published",
        fusion="late",
        runs=(source, source),
    )
    fit(config, Run(tmp_path / "late"))
    found, stored = (run.predictions().filter(like="probability_") for run in (Run(tmp_path / "late"), goemotions_run))
    logits = np.log(stored / (1 - stored)) / Run(tmp_path / "late").temperature()
    pd.testing.assert_frame_equal(found, 1 / (1 + np.exp(-logits)), atol=1e-5)
    scores = Run(tmp_path / "late").scores()
    assert scores["headline"] == "macro_f1"
    assert scores["validation"]["is_multi_label"]


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_statistics_that_it_began_with(make_config, tmp_path, monkeypatch):
    run, config = Run(tmp_path / "run"), make_config("audio", normalise="training", gain_db=6.0)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 1)
        with pytest.raises(KilledError):
            fit(config, run)
    before = run.normalisation_path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.normalisation.fit", None)
        fit(config, run)
    assert run.normalisation_path.read_bytes() == before
    assert list(history_of(run)["epoch"]) == [0, 1]
