"""Tests of emotion_tf.training.callbacks: what is kept on disk, whose weights are scored, what TensorBoard shows."""

import errno
import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from emotion_tf.runs.folder import Run
from emotion_tf.training import callbacks, checkpoints
from pipelines.command import InputError


@pytest.fixture
def model():
    """One weight of 1 with a moving average of 1/2 after one step of gradient 0."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs))
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.0, use_ema=True, ema_momentum=0.5))
    model.optimizer.build(model.trainable_variables)
    model.optimizer._model_variables_moving_average[0].assign([[0.5]])
    return model


def test_validation_uses_the_average_and_training_goes_on_with_the_weights(model):
    with callbacks.averaged_weights(model):
        assert float(model.get_weights()[0][0, 0]) == 0.5
    assert float(model.get_weights()[0][0, 0]) == 1.0


def test_an_error_in_validation_leaves_the_weights(model):
    with pytest.raises(ZeroDivisionError), callbacks.averaged_weights(model):
        raise ZeroDivisionError
    assert float(model.get_weights()[0][0, 0]) == 1.0


def test_without_an_average_the_weights_themselves_are_scored(model):
    model.optimizer.use_ema = False
    with callbacks.averaged_weights(model):
        assert float(model.get_weights()[0][0, 0]) == 1.0


def test_weights_and_average_come_back_from_disk(model, tmp_path):
    path = tmp_path / "checkpoints" / "x.weights.h5"
    checkpoints.save_weights(model, path)
    model.set_weights([np.zeros((1, 1))])
    model.optimizer._model_variables_moving_average[0].assign([[0.0]])
    checkpoints.load_weights(model, path)
    assert float(model.get_weights()[0][0, 0]) == 1.0
    assert float(model.optimizer._model_variables_moving_average[0][0, 0]) == 0.5
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (file write failed: errno = 28,\n error message = 'No space left on device')"),
        RuntimeError("Disable slist on flush dest failure failed: 'No space left on device'"),
    ],
)
def test_a_full_disk_is_an_os_error_of_one_line_and_leaves_no_half_file(model, tmp_path, monkeypatch, error):
    def fail(path):
        Path(path).write_text("half")
        raise error

    path = tmp_path / "x.weights.h5"
    path.write_text("the one before")
    monkeypatch.setattr(model, "save_weights", fail)
    with pytest.raises(OSError, match="No space left on device") as raised:
        checkpoints.save_weights(model, path)
    assert raised.value.errno == errno.ENOSPC
    assert str(raised.value).count("\n") == 0
    assert path.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_and_foreign_weights_get_a_sentence(model, tmp_path):
    with pytest.raises(InputError, match="is missing or corrupt"):
        checkpoints.load_weights(model, tmp_path / "none.weights.h5")
    inputs = keras.Input((3,))
    other = keras.Model(inputs, keras.layers.Dense(7)(inputs))
    checkpoints.save_weights(other, tmp_path / "other.weights.h5")
    warnings.simplefilter("ignore")  # Keras warns before it fails.
    with pytest.raises(InputError, match="is missing or corrupt"):
        checkpoints.load_weights(model, tmp_path / "other.weights.h5")


def test_the_best_and_the_last_weights_are_kept_and_no_others(model, tmp_path):
    run = Run(tmp_path)
    validation = callbacks.Validation(run, lambda model: None, ("calm", "sad"), patience=2)
    validation.set_model(model)
    assert checkpoints.last_epoch(run) == validation.best["epoch"] == -1
    for epoch, score in enumerate([0.3, 0.5, 0.4, 0.5]):
        if score > validation.best["score"]:
            validation._keep_best(epoch, score, 1 - score)
        validation._keep_last(epoch)
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["best-0001.weights.h5", "best.json", "last-0003.weights.h5"]
    assert json.loads((run.checkpoints / "best.json").read_text())["score"] == 0.5
    assert checkpoints.last_epoch(run) == 3


@pytest.mark.parametrize(("keep_epoch", "kept"), [("score", 1), ("loss", 2), ("last", 3)])
def test_the_epoch_to_keep_is_that_of_the_best_score_the_least_loss_or_the_last(model, tmp_path, keep_epoch, kept):
    scores, losses = iter([0.3, 0.5, 0.4, 0.5]), iter([0.9, 0.8, 0.7, 0.8])
    validation = callbacks.Validation(
        Run(tmp_path), lambda model: (None, next(losses)), (), None, keep_epoch=keep_epoch
    )
    validation._scores = lambda predictions: {validation.headline: next(scores)}
    model.optimizer.build(model.trainable_variables)
    validation.set_model(model)
    for epoch in range(4):
        validation.on_epoch_end(epoch, {"loss": 1.0})
    assert validation.best["epoch"] == kept


def test_patience_counts_epochs_since_the_best(model, tmp_path):
    validation = callbacks.Validation(Run(tmp_path), lambda model: None, ("calm", "sad"), patience=2)
    validation.set_model(model)
    validation._keep_best(3, 0.5, 0.5)
    assert [validation.is_out_of_patience(epoch) for epoch in (3, 4, 5, 6)] == [False, False, True, True]
    validation.patience = None
    assert not validation.is_out_of_patience(100)


@pytest.fixture(scope="module")
def boards(audio_run):
    """What TensorBoard reads of a run: split -> events."""
    boards = {split: EventAccumulator(str(audio_run.tensorboard / split)) for split in ("train", "validation")}
    return {split: board.Reload() for split, board in boards.items()}


def test_tensorboard_holds_loss_uar_and_rate_of_every_epoch(boards, audio_run):
    for split, tag in (
        ("train", "epoch_loss"),
        ("train", "epoch_accuracy"),
        ("train", "epoch_learning_rate"),
        ("validation", "epoch_loss"),
        ("validation", "epoch_unweighted_average_recall"),
    ):
        assert [event.step for event in boards[split].Tensors(tag)] == [0, 1], tag
    found = [
        np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0]
        for event in boards["validation"].Tensors("epoch_unweighted_average_recall")
    ]
    history = np.genfromtxt(audio_run.history_path, delimiter=",", names=True)
    np.testing.assert_allclose(found, history["val_unweighted_average_recall"], rtol=1e-5)


def test_tensorboard_holds_the_graph(boards):
    assert boards["validation"].Tags()["graph"]
    names = {node.name for node in boards["validation"].Graph().node} if boards["validation"].Graph() else set()
    assert any("audio_stem" in name for name in names)


def strings(board, tag):
    """The bytes of a text or an image: of an image width and height come first."""
    [event] = board.Tensors(tag)
    return list(event.tensor_proto.string_val)


def test_tensorboard_holds_a_confusion_matrix_and_samples_with_their_words(boards):
    board = boards["validation"]
    assert [event.step for event in board.Tensors("confusion")] == [1]
    assert strings(board, "confusion")[2].startswith(b"\x89PNG")
    for number in range(8):
        assert strings(board, f"sample_spectrogram/{number}")[2].startswith(b"\x89PNG")
        [title] = strings(board, f"sample_words/{number}")
        assert re.fullmatch(r"[-\d]+: [a-z]+, “.+”", title.decode())


def test_tensorboard_holds_the_config(boards, audio_run):
    [text] = strings(boards["validation"], "config")
    assert audio_run.config().to_json().strip() in text.decode()


def test_confusion_matrices_are_drawn_every_n_epochs(audio_run, text_run):
    drawn = sorted(path.name for path in audio_run.plots.glob("*epoch*"))
    assert drawn == ["confusion-validation-epoch-002.png"]
    assert not list(text_run.plots.glob("*epoch*"))


def test_an_epoch_of_several_emotions_is_scored_by_macro_f1(goemotions_run):
    history = pd.read_csv(goemotions_run.history_path)
    assert list(history) == ["epoch", "loss", "val_loss", "val_macro_f1", "learning_rate"]
    best = json.loads((goemotions_run.checkpoints / "best.json").read_text())
    assert best["score"] == pytest.approx(history["val_macro_f1"].max())
    assert best["epoch"] == history["val_macro_f1"].idxmax()
    assert not list(goemotions_run.plots.glob("*epoch*"))


@pytest.mark.parametrize(
    ("headline", "is_multi_label", "logs", "said"),
    [
        ("unweighted_average_recall", False, {"accuracy": 0.25}, "accuracy 0.250  validation loss 1.000  UAR 0.500"),
        ("macro_f1", True, {}, "loss 2.000  validation loss 1.000  macro-F1 0.500"),
    ],
)
def test_the_line_of_an_epoch_names_the_score_that_chooses(model, tmp_path, headline, is_multi_label, logs, said):
    validation = callbacks.Validation(Run(tmp_path), lambda model: None, ("a",), 0, headline, is_multi_label)
    validation.set_model(model)
    validation._keep_best(0, 0.5, 1.0)
    lines = []
    bar = SimpleNamespace(format_dict={"n": 5, "initial": 0, "elapsed": 1.0, "total": 10}, write=lines.append)
    progress = callbacks.Progress(validation, 3, bar)
    progress.on_epoch_end(0, {"loss": 2.0, "val_loss": 1.0, f"val_{headline}": 0.5, **logs})
    assert said in lines[0]
    assert "(kept 0.500, epoch 1)" in lines[0]


@pytest.mark.parametrize(("headline", "expected"), [("unweighted_average_recall", 0.75), ("macro_f1", 2 / 3)])
def test_an_epoch_of_one_emotion_each_is_scored_by_its_headline(tmp_path, headline, expected):
    """Four of "a", of which two are found, and two of "b", both found."""
    predictions = pd.DataFrame({"label": list("aabbaa"), "predicted": list("abbbab")})
    validation = callbacks.Validation(Run(tmp_path), lambda model: None, ("a", "b"), 0, headline)
    scores = validation._scores(predictions)
    assert scores == {"accuracy": pytest.approx(4 / 6), headline: pytest.approx(expected)}
    assert validation.confusion.tolist() == [[2, 2], [0, 2]]


def test_training_json_holds_seconds_and_confusion_of_each_epoch(audio_run, goemotions_run):
    found = json.loads(audio_run.training_path.read_text())
    assert {"python", "tensorflow", "keras", "numpy"} <= set(found["versions"])
    assert [one["epoch"] for one in found["epochs"]] == [0, 1]
    assert all(one["seconds"] > 0 for one in found["epochs"])
    recalls = pd.read_csv(audio_run.history_path)["val_unweighted_average_recall"]
    for one, recall in zip(found["epochs"], recalls, strict=True):
        counts = np.array(one["confusion"])
        assert (counts.diagonal() / counts.sum(axis=1)).mean() == pytest.approx(recall)
    assert [one["confusion"] for one in json.loads(goemotions_run.training_path.read_text())["epochs"]] == [None] * 2


def test_epochs_that_are_trained_again_are_written_once(tmp_path):
    validation = callbacks.Validation(Run(tmp_path), lambda model: None, ("a",), None)
    for epoch in (0, 1, 1, 2):
        validation._write_epochs(epoch)
    assert [one["epoch"] for one in json.loads((tmp_path / "training.json").read_text())["epochs"]] == [0, 1, 2]
