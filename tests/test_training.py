"""Tests of emotion_tf.training: what is configured is what is done, twice the same, however often it was stopped."""

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

from emotion_tf.config import AudioConfig, Config, TextConfig, TrainingConfig
from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.evaluation.rule_fitting import fit_stacker, fit_weights
from emotion_tf.fit import fit
from emotion_tf.models.build import build_model
from emotion_tf.models.early_fusion import JOINS
from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.models.late_rules import combine
from emotion_tf.reporting import samples
from emotion_tf.runs.folder import Run
from emotion_tf.training import callbacks, optimizer, train, training_data, transfer
from pipelines.command import InputError
from pipelines.normalisation import Normalisation

ROOT = Path(__file__).parents[1]


def history_of(run):
    return pd.read_csv(run.history_path)


def loss_of(config, is_multi_label=False):
    return optimizer.loss_of(config.training, {"is_multi_label": is_multi_label, "prior": [0.5, 0.5]})


def compiled(steps=10, **values):
    """A tiny text model with the optimizer of a config."""
    config = Config("text", "x", text=TextConfig(2, (2,), 2, 2), training=TrainingConfig(**values))
    model = build_model(config, {"log_mel": 8}, 20, [0.5, 0.5])
    optimizer.compile_model(model, config, steps, loss_of(config))
    return model


def test_the_rate_warms_up_in_a_line_and_falls_with_a_cosine():
    schedule = compiled(steps=10, epochs=10, warm_up_epochs=2, learning_rate=1e-3).optimizer._learning_rate
    rates = np.array([float(schedule(step)) for step in range(101)])
    np.testing.assert_allclose(rates[:21], 1e-5 + np.arange(21) / 20 * (1e-3 - 1e-5), rtol=1e-4)
    falling = 0.5 * 1e-3 * (1 + np.cos(np.pi * np.arange(81) / 80))
    np.testing.assert_allclose(rates[20:], falling, atol=1e-8)


def test_normalisation_looks_back_as_far_as_the_average_of_the_weights():
    config = Config("audio", "x", audio=AudioConfig((4, 4), 2, 2), training=TrainingConfig(epochs=10, ema_share=0.1))
    model = build_model(config, {"log_mel": 8}, 20, [0.5, 0.5])
    optimizer.compile_model(model, config, 20, loss_of(config))
    momenta = [layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert momenta == pytest.approx([1 - 1 / 20] * 5)


def test_a_warm_up_longer_than_the_training_still_trains():
    schedule = compiled(steps=2, epochs=1, warm_up_epochs=3, learning_rate=1e-3).optimizer._learning_rate
    assert [float(schedule(step)) for step in range(2)] == pytest.approx([1e-5, 1e-3])


def test_the_average_looks_back_over_its_share_of_all_steps():
    optimizer = compiled(steps=20, epochs=10, ema_share=0.1, weight_decay=0.03).optimizer
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, pytest.approx(1 - 1 / 20))
    assert optimizer.weight_decay == 0.03
    assert not compiled(ema_share=0.0).optimizer.use_ema


def test_the_loss_is_cross_entropy_with_smoothed_labels():
    logits = np.array([[2.0, -1.0, 0.5]], np.float32)
    target = np.array([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    expected = -(target * (logits - np.log(np.exp(logits).sum()))).sum()
    loss = compiled(label_smoothing=0.1).loss
    assert float(loss(np.array([[1.0, 0.0, 0.0]]), logits)) == pytest.approx(expected, rel=1e-5)


def batches(config, metadata, seed, count):
    return [
        (features, label.numpy(), weight.numpy())
        for features, label, weight in training_data.training_dataset(config, metadata, seed).take(count)
    ]


def test_each_emotion_has_the_same_weight_in_sum(text_run):
    steps = -(-sum(text_run.metadata()["training_counts"]) // 16)
    seen = batches(text_run.config(), text_run.metadata(), 0, steps)
    sums = sum((label * weight[:, None]).sum(axis=0) for _, label, weight in seen)
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    assert sum(len(weight) for *_, weight in seen) == pytest.approx(sums.sum(), rel=1e-5)


def labels_of(run, control):
    """The labels of one epoch of training, without their order, and the words that go with them."""
    config = dataclasses.replace(run.config(), control=control, seed=1)
    seen = batches(config, run.metadata(), 1, -(-sum(run.metadata()["training_counts"]) // 16))
    rows = [
        (ids[ids > 0].tobytes(), int(label.argmax()))
        for features, labels, _ in seen
        for ids, label in zip(features["token_ids"].numpy(), labels, strict=True)
    ]
    return sorted(rows)


def test_noise_keeps_off_the_silent_ends_that_the_front_end_trims():
    training = TrainingConfig(noise_snr_db=5.0)
    for trim_db, expected in ((40.0, 40.0), (None, 30.0)):
        metadata = {"front_end": {"trim_db": trim_db}}
        assert training_data._change_waveform(training, metadata).trim_db == expected
    assert training_data._change_waveform(TrainingConfig(), metadata) is None


@pytest.mark.parametrize("control", ["permuted-labels", "shuffled-transcripts"])
def test_a_control_cuts_words_from_labels_in_training_and_keeps_both(text_run, control):
    true, cut = labels_of(text_run, ""), labels_of(text_run, control)
    assert true != cut
    for column in (0, 1):
        assert sorted(row[column] for row in true) == sorted(row[column] for row in cut)


def test_masks_and_order_differ_from_epoch_to_epoch_and_are_the_same_for_the_same_seed(audio_run):
    config, metadata = audio_run.config(), audio_run.metadata()
    first, second = batches(config, metadata, 3, 2), batches(config, metadata, 3, 4)
    for (features, *_), (again, *_) in zip(first, second[:2], strict=True):
        np.testing.assert_array_equal(features["log_mel"], again["log_mel"])
    is_hidden = [np.all(features["log_mel"].numpy() == 0, axis=1) for features, *_ in second]
    assert len({hidden.tobytes() for hidden in is_hidden}) == 4


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
    checkpoint = build_model(config, {"log_mel": 64}, 8192, text_run.metadata()["prior"])
    optimizer.compile_model(checkpoint, config, 2, loss_of(config))
    pointer = json.loads((text_run.checkpoints / "best.json").read_text())
    checkpoint.optimizer.build(checkpoint.trainable_variables)
    callbacks.load_weights(checkpoint, text_run.checkpoints / pointer["file"])
    assert float(checkpoint.get_layer("logits").temperature) == 1  # Calibrated after training.
    set_temperature(checkpoint, text_run.temperature())
    for kept, saved in zip(model.get_weights(), checkpoint.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, saved)


def test_early_fusion_starts_from_exactly_the_weights_of_its_branches(early_run, audio_run, text_run):
    config = early_run.config()
    model = build_model(config, {"log_mel": 64}, 8192, early_run.metadata()["prior"])
    transfer.start_from(model, config, early_run.metadata()["emotions"])
    copied = 0
    for source, prefix in ((audio_run.model(), "audio_"), (text_run.model(), "text_")):
        for layer in source.layers:
            if layer.name.startswith(prefix):
                for ours, theirs in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                    np.testing.assert_array_equal(ours, theirs)
                    copied += 1
    assert copied > 30
    trained = early_run.model().get_layer("text_embedding").get_weights()[0]
    assert (trained != text_run.model().get_layer("text_embedding").get_weights()[0]).any()


@pytest.mark.parametrize("join", JOINS)
def test_early_fusion_of_trained_branches_starts_as_the_product_of_their_answers(
    join, make_config, early_run, audio_run, text_run
):
    sources = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    metadata = early_run.metadata()
    early = train.make_model(make_config("fusion", fusion="early", join=join, **sources), metadata, 2)
    branches = {"audio": audio_run.model(), "text": text_run.model()}
    late = late_fusion(branches, metadata["prior"], rule="product")
    rng = np.random.default_rng(0)
    features = {
        "log_mel": rng.standard_normal((4, 40, 64)).astype(np.float32),
        "num_frames": np.array([40, 31, 0, 0], np.int32),
        "token_ids": np.array([[2, 7, 4], [2, 0, 0], [2, 9, 5], [2, 0, 0]], np.int32),
    }
    found, expected = (keras.ops.softmax(model(features)).numpy() for model in (early, late))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_a_branch_that_answered_otherwise_brings_no_answer_of_its_own(make_config, early_run, audio_run):
    config = make_config("fusion", fusion="early", init_audio=str(audio_run.folder))
    model = train.make_model(config, early_run.metadata() | {"emotions": list("abcdefgh")}, 2)
    assert not model.get_layer("fusion_audio_emotions").kernel.numpy().any()
    assert model.get_layer("emotions").kernel.numpy().any()


def test_late_fusion_saves_the_average_of_its_runs(late_run, audio_run, text_run):
    columns = [f"probability_{emotion}" for emotion in late_run.metadata()["emotions"]]
    found = late_run.predictions().set_index("utterance_id")[columns]
    parts = [run.predictions().set_index("utterance_id")[columns] for run in (audio_run, text_run)]
    mean = (parts[0] + parts[1].loc[parts[0].index]) / 2
    expected = mean ** (1 / late_run.temperature())  # A mean of calibrated answers is calibrated once more.
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


def branch_weights(model):
    """Weights of the branches, moving statistics among them."""
    layers = [layer for layer in model.layers if layer.name.startswith(("audio_", "text_"))]
    return {f"{layer.name} {n}": weight for layer in layers for n, weight in enumerate(layer.get_weights())}


def test_frozen_branches_stay_to_the_last_bit_over_a_kill_and_then_learn(
    make_config, audio_run, text_run, tmp_path, monkeypatch
):
    sources = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    run, seen = Run(tmp_path / "run"), []
    end = callbacks.Validation.on_epoch_end

    def look(self, epoch, logs):
        seen.append(branch_weights(self.model))
        with callbacks.averaged_weights(self.model):
            seen.append(branch_weights(self.model))
        end(self, epoch, logs)

    monkeypatch.setattr(callbacks.Validation, "on_epoch_end", look)
    config = make_config("fusion", fusion="early", join="gated", epochs=3, freeze_epochs=2, release_rate=0.5, **sources)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 1)
        with pytest.raises(KilledError):
            fit(config, run)
    fit(config, run)
    before = branch_weights(audio_run.model()) | branch_weights(text_run.model())
    assert len(seen) == 6
    for found in seen[:4]:
        assert all((found[name] == before[name]).all() for name in before)
    for found in seen[4:]:
        moved = {name for name in before if (found[name] != before[name]).any()}
        assert not [name for name in moved if "_norm" in name]
        assert len(moved) > 0.8 * len([name for name in before if "_norm" not in name])
    assert (run.plots / "graph.png").exists()


def test_branches_frozen_throughout_leave_the_join_and_the_answer_to_train(make_config, audio_run, text_run):
    sources = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    config = make_config("fusion", fusion="early", freeze_epochs=2, **sources)
    model = train.make_model(config, audio_run.metadata(), 2)
    trained = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert trained == {"fusion_hidden", "emotions", "fusion_audio_emotions", "fusion_text_emotions"}
    assert model.optimizer.multipliers == {}


def test_without_freezing_a_started_branch_learns_as_any_unless_it_is_slowed(make_config, audio_run):
    config = make_config("fusion", fusion="early", init_audio=str(audio_run.folder))
    model = train.make_model(config, audio_run.metadata(), 2)
    assert model.optimizer.multipliers == {}
    assert all(layer.trainable for layer in model.layers)
    slower = dataclasses.replace(config, training=dataclasses.replace(config.training, release_rate=0.1))
    optimizer = train.make_model(slower, audio_run.metadata(), 2).optimizer
    assert set(optimizer.multipliers.values()) == {0.1}
    assert all(path.startswith("audio_") for path in optimizer.multipliers)
    assert (optimizer.frozen, optimizer.unfreeze_step) == ([], 0)


def test_early_stopping_survives_a_resume(text_run, tmp_path):
    """A run that ran out of patience, and was killed before its scores were written, trains no further."""
    run = Run(tmp_path / "run")
    shutil.copytree(text_run.folder, run.folder)
    run.scores_path.unlink()
    last, best = callbacks.last_epoch(run), json.loads((run.checkpoints / "best.json").read_text())
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
    [("last-*.h5", b"cut off"), ("best-*.h5", b""), ("best.json", b"{"), ("../history.csv", b"")],
)
def test_a_corrupt_checkpoint_gets_a_sentence(text_run, tmp_path, name, content):
    run = Run(tmp_path / "run")
    shutil.copytree(text_run.folder, run.folder)
    run.scores_path.unlink()
    [path] = run.checkpoints.glob(name) if "*" in name else [run.checkpoints / name]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is missing or corrupt \(.*\): train anew with --overwrite"):
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
    assert callbacks.last_epoch(run) == 0
    assert list(history_of(run)["epoch"]) == [0]
    assert not run.is_finished


def test_weights_that_run_away_stop_with_the_same_sentence(make_config, tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(InputError, match=r"the loss became nan in epoch 1: .* below 1e\+30"):
        fit(make_config("text", learning_rate=1e30), run)
    assert callbacks.last_epoch(run) == -1
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


def test_a_killed_run_finishes_with_the_same_command(three_speaker_records, tmp_path):
    run = Run(tmp_path / "run")
    process = start_fit(run, three_speaker_records)
    deadline = time.monotonic() + 120
    while callbacks.last_epoch(run) < 1 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done, before = callbacks.last_epoch(run), history_of(run)
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


def test_the_training_step_is_traced_once():
    """Half of the time of a short training would go into a second time."""
    traced = []

    class Loss(keras.losses.CategoricalCrossentropy):
        def call(self, label, logits):
            traced.append(label.shape)
            return super().call(label, logits)

    inputs = keras.Input((3,), name="x")
    model = keras.Model({"x": inputs}, keras.layers.Dense(2)(inputs))
    optimizer.compile_model(model, Config("text", "x"), 2, Loss(from_logits=True))
    dataset = tf.data.Dataset.from_tensors(({"x": tf.ones((4, 3))}, tf.one_hot([0, 1, 0, 1], 2))).repeat()
    history = model.fit(dataset, steps_per_epoch=2, epochs=2, verbose=0, shuffle=False).history
    assert len(traced) == 1
    assert set(history) == {"accuracy", "loss"}


def test_the_loss_of_several_emotions_is_binary_cross_entropy_without_smoothing():
    config = Config("text", "x", text=TextConfig(2, (2,), 2, 2), training=TrainingConfig(label_smoothing=0.1))
    model = build_model(config, {"log_mel": 8}, 20, [0.5, 0.5], is_multi_label=True)
    optimizer.compile_model(model, config, 10, loss_of(config, is_multi_label=True))
    logits, carried = np.array([[2.0, -1.0]], np.float32), np.array([[1.0, 1.0]])
    expected = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))])
    assert float(model.loss(carried, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("wanted", "has_audio", "is_multi_label", "expected"),
    [
        ("auto", True, False, {0: 2.0, 1: 2 / 3}),
        ("auto", False, False, {0: 40 / (10 + 300**0.5), 1: 40 / (30 + 300**0.5)}),
        ("auto", True, True, None),
        ("balanced", False, False, {0: 2.0, 1: 2 / 3}),
        ("root", True, False, {0: 40 / (10 + 300**0.5), 1: 40 / (30 + 300**0.5)}),
        ("none", True, False, None),
    ],
)
def test_emotions_weigh_by_a_power_of_rarity_and_utterances_by_one_on_average(
    wanted, has_audio, is_multi_label, expected
):
    metadata = {"training_counts": [10, 30], "has_audio": has_audio, "is_multi_label": is_multi_label}
    found = training_data._class_weights(TrainingConfig(class_weights=wanted), metadata)
    assert found == (pytest.approx(expected) if expected else None)


def test_several_emotions_are_multi_hot_in_training_and_no_one_is_weighted(goemotions_run):
    metadata = goemotions_run.metadata()
    dataset = training_data.training_dataset(goemotions_run.config(), metadata, 0)
    labels = np.concatenate([label.numpy() for _, label in dataset.take(-(-metadata["num_training"] // 24))])
    assert labels.shape == (168, 28)
    np.testing.assert_array_equal(labels.sum(axis=0), metadata["training_counts"])
    assert sorted(set(labels.sum(axis=1))) == [1, 2]


def test_permuted_labels_of_several_emotions_are_dealt_as_a_whole(goemotions_run):
    def pairs(control):
        config = dataclasses.replace(goemotions_run.config(), control=control)
        seen = training_data.training_dataset(config, goemotions_run.metadata(), 0).take(7)
        rows = [zip(x["token_ids"].numpy(), y.numpy(), strict=True) for x, y in seen]
        return sorted((ids[ids > 0].tobytes(), label.tobytes()) for batch in rows for ids, label in batch)

    true, cut = pairs(""), pairs("permuted-labels")
    assert true != cut
    for column in (0, 1):
        assert sorted(row[column] for row in true) == sorted(row[column] for row in cut)


def test_samples_of_several_emotions_name_all_of_them(goemotions_run):
    titles = [title for title, _ in samples.samples(goemotions_run.config(), goemotions_run.metadata())]
    assert len(titles) == 8
    for title in titles:
        emotions, words = title.split(": ", 1)[1].split(", “")
        assert all(name in words for name in emotions.split(", "))


@pytest.mark.parametrize("rule", ["weighted", "stacker"])
def test_a_fitted_rule_is_that_of_the_validation_part_and_is_stored(rule, make_config, audio_run, text_run, tmp_path):
    sources = (audio_run, text_run)
    config = make_config("fusion", fusion="late", runs=tuple(str(one.folder) for one in sources), rule=rule)
    run = Run(tmp_path / "late")
    fit(config, run)
    tables = [one.predictions().set_index("utterance_id").sort_index() for one in sources]
    emotions = run.metadata()["emotions"]
    answers = np.stack([table[[f"probability_{emotion}" for emotion in emotions]] for table in tables], axis=1)
    labels = tables[0]["label"].map(emotions.index).to_numpy()
    stored = json.loads(run.fusion_path.read_text())
    assert (stored["rule"], stored["runs"], stored["fitted_on"]) == (rule, list(config.runs), "validation")
    assert stored["num_utterances"] == len(labels) == 30
    if rule == "weighted":
        np.testing.assert_allclose(stored["weights"], fit_weights(answers, labels), atol=1e-3)
    else:
        kernel, _ = fit_stacker(answers, labels, list(tables[0]["speaker"]))
        np.testing.assert_allclose(stored["kernel"], kernel, rtol=1e-2, atol=1e-2)
    given = {name: np.array(stored[name]) for name in ("weights", "kernel", "bias") if name in stored}
    expected = combine(answers, np.ones(answers.shape[:2]), rule, **given) ** (1 / run.temperature())
    found = run.predictions().set_index("utterance_id").sort_index().filter(like="probability_")
    # A tiny model's answers hardly differ, so that the kernel of their standardised logarithms is large.
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


AUGMENTED = {"time_shift": 8, "speed": 0.1, "noise_snr_db": 15.0, "gain_db": 6.0}


@pytest.mark.parametrize(("name", "value"), [*AUGMENTED.items(), ("noise_snr_db", 0.0)])
def test_each_augmentation_changes_training_clips_differs_by_epoch_and_keeps_shapes_and_labels(audio_run, name, value):
    config, metadata = audio_run.config(), audio_run.metadata()
    off = {"mel_shift": 0, "num_mel_masks": 0, "num_frame_masks": 0, "mixup": 0.0}
    values = {**off, name: value}
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **values))
    statistics = Normalisation("training", {"log_mel": [-8.0] * 64}, {"log_mel": [2.0] * 64})
    steps = -(-metadata["num_training"] // config.training.batch_size)
    found, again = (
        list(training_data.training_dataset(config, metadata, 3, statistics).take(2 * steps)) for _ in range(2)
    )
    for (features, *_), (same, *_) in zip(found, again, strict=True):
        np.testing.assert_array_equal(features["log_mel"], same["log_mel"])
        assert features["log_mel"].shape[1:] == (32, 64)
        assert features["num_frames"].numpy().max() <= 32
        assert np.isfinite(features["log_mel"]).all()
    first, second = (
        {
            features["log_mel"][row].numpy().tobytes()
            for features, *_ in epoch
            for row in range(len(features["log_mel"]))
        }
        for epoch in (found[:steps], found[steps:])
    )
    assert len(first & second) < 0.2 * len(first)
    labels = sum(label.numpy().sum(axis=0) for _, label, _ in found[:steps])
    np.testing.assert_array_equal(labels, metadata["training_counts"])


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
