"""What happens beside the training steps: validation, checkpoints, progress, pictures for TensorBoard.

Keras's own EarlyStopping and ModelCheckpoint forget their best value when a run resumes (keras-team/keras#17012), and
BackupAndRestore may be killed between its two files; `Validation` keeps all of it in files that are renamed into place.
"""

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from emotion_tf.config import Config
from emotion_tf.evaluation import metrics
from emotion_tf.evaluation.counts import HEADLINES
from emotion_tf.reporting import plots
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import AGAIN
from emotion_tf.training.checkpoints import (
    last_epoch,
    last_path,
    load_epoch,
    load_weights,
    remove_others,
    save_weights,
    sentence_if_corrupt,
)
from emotion_tf.training.precision import copy_weights
from emotion_tf.training.replicas import FAILED, GO_ON, IS_OVER, LOST, Replicas
from pipelines import audio
from pipelines.command import InputError
from pipelines.files import read_json, write_csv, write_json
from pipelines.records import Example


class Validation(keras.callbacks.Callback):
    """Scores the validation split after each epoch, keeps the weights of the epoch to keep and the last, stops early.

    The scores are those of the moving average of the weights, where there is one.

    Args:
      run: Where checkpoints and history go.
      predict: From a model to the predictions of the validation split and its loss.
      emotions: The label set.
      patience: Epochs without a better one before training stops; None: it does not stop early.
      headline: The score: a name of `HEADLINES`.
      is_multi_label: Whether an utterance has several emotions.
      keep_epoch: Which epoch's weights to keep: of the best "score", of the least "loss", or the "last".
      validated: Is built as the model that learns, and validated with its weights; None: that model itself.
      precision: In which numbers the model learns.
      tell: Tells the other workers how it stands: `replicas.GO_ON` and so on.
    """

    def __init__(
        self,
        run: Run,
        predict: Callable[[keras.Model], tuple[pd.DataFrame, float]],
        emotions: Sequence[str],
        patience: int | None,
        headline: str = "unweighted_average_recall",
        is_multi_label: bool = False,
        keep_epoch: str = "score",
        validated: keras.Model | None = None,
        precision: str = "float32",
        tell: Callable[[int], int] = int,
    ):
        super().__init__()
        self._tell = tell
        self._validated, self.precision = validated, precision
        self.run, self.predict, self.emotions, self.patience = run, predict, emotions, patience
        self.keep_epoch, self.headline, self.is_multi_label = keep_epoch, headline, is_multi_label
        self.history: list[dict[str, float]] = []
        self.epochs: list[dict[str, Any]] = []
        self.started = 0.0
        self.confusion: np.ndarray | None = None

    @property
    def validated(self) -> keras.Model:
        """The model that is validated, with the weights of the last validation, or of `load_best`."""
        return self._validated or self.model

    @property
    def best(self) -> dict[str, Any]:
        """Epoch, score and loss of the weights that are kept; epoch -1 before the first."""
        path = self.run.checkpoints / "best.json"
        if not path.exists():
            return {"epoch": -1, "score": -1.0, "loss": np.inf, "file": "best-none.weights.h5"}
        return read_json(path, AGAIN, {"epoch": int, "score": (int, float), "loss": (int, float), "file": str})

    def resume(self) -> int:
        """Loads what an interrupted run left; returns the epoch to go on with."""
        done = last_epoch(self.run) + 1
        if done:
            load_epoch(self.run, self.model, done - 1)
            with sentence_if_corrupt(self.run.history_path):
                self.history = pd.read_csv(self.run.history_path).to_dict("records")[:done]
            if self.run.training_path.exists():
                found = read_json(self.run.training_path, AGAIN, {"epochs": list})["epochs"]
                self.epochs = [one for one in found if one["epoch"] < done]
        return done

    def is_out_of_patience(self, epoch: int) -> bool:
        """Tells whether the best score lies so far back that training stops after this epoch."""
        return self.patience is not None and epoch - self.best["epoch"] >= self.patience

    def load_best(self) -> None:
        """Puts the best weights into the model."""
        load_weights(self.model, self.run.checkpoints / self.best["file"])
        self._hand_over()

    def _hand_over(self) -> None:
        """Gives the model that is validated the weights of the one that learns."""
        if self.validated is not self.model:
            copy_weights(self.model, self.validated)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        try:
            self._validate(epoch, logs)
        except Exception:
            with contextlib.suppress(*LOST):
                self._tell(FAILED)  # The other workers wait for the end of this epoch.
            raise
        if self._tell(IS_OVER if self.is_out_of_patience(epoch) else GO_ON) == IS_OVER:
            self.model.stop_training = True

    def _validate(self, epoch: int, logs: dict[str, float]) -> None:
        """Scores an epoch, adds that to its logs, and writes what it leaves."""
        with averaged_weights(self.model):
            self._hand_over()
            predictions, loss = self.predict(self.validated)
            require_finite(self.run, epoch, logs["loss"], loss)
            found = self._scores(predictions)
            logs |= {"val_loss": loss} | {f"val_{name}": score for name, score in found.items()}
            if self._is_better(found[self.headline], loss):
                self._keep_best(epoch, found[self.headline], loss)
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.history = [*self.history[:epoch], {"epoch": epoch, **logs}]
        write_csv(self.run.history_path, pd.DataFrame(self.history))
        self._write_epochs(epoch)
        self._keep_last(epoch)

    def _write_epochs(self, epoch: int) -> None:
        """Writes how long each epoch took, its validation among it, and what it took for what."""
        confusion = None if self.confusion is None else self.confusion.tolist()
        one = {"epoch": epoch, "seconds": time.monotonic() - self.started, "confusion": confusion}
        self.epochs = [*(other for other in self.epochs if other["epoch"] < epoch), one]
        write_training(self.run, self.epochs, self.precision)

    def _scores(self, predictions: pd.DataFrame) -> dict[str, float]:
        """Scores an epoch; the confusion matrix, where each utterance has one emotion, stays for pictures."""
        if self.is_multi_label:
            return {"macro_f1": metrics.quick_score(predictions, self.emotions, "macro_f1")}
        self.confusion = metrics.confusion(predictions, self.emotions)
        names = ("accuracy", self.headline)
        return {name: metrics.quick_score(predictions, self.emotions, name) for name in names}

    def _is_better(self, score: float, loss: float) -> bool:
        best = self.best
        return {"score": score > best["score"], "loss": loss < best["loss"], "last": True}[self.keep_epoch]

    def _keep_best(self, epoch: int, score: float, loss: float) -> None:
        """Writes the weights, then the file that points to them, then removes the ones before."""
        path = self.run.checkpoints / f"best-{epoch:04d}.weights.h5"
        save_weights(self.model, path)
        write_json(
            self.run.checkpoints / "best.json", {"epoch": epoch, "score": score, "loss": loss, "file": path.name}
        )
        remove_others(path, "best-*.weights.h5")

    def _keep_last(self, epoch: int) -> None:
        path = last_path(self.run, epoch)
        save_weights(self.model, path)
        remove_others(path, "last-*.weights.h5")


class Following(keras.callbacks.Callback):
    """Waits at a worker that writes nothing for what the chief finds at the end of each epoch.

    Args:
      run: That of the chief.
      replicas: Through which the workers talk.
    """

    def __init__(self, run: Run, replicas: Replicas):
        super().__init__()
        self.run, self.replicas = run, replicas

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        state = self.replicas.told(GO_ON)
        require_finite(self.run, epoch, logs["loss"])
        if state == FAILED:
            raise InputError(f"worker 0, which writes {self.run.folder}, failed: it says why.")
        if state == IS_OVER:
            self.model.stop_training = True


class EpochSeeds(keras.callbacks.Callback):
    """Seeds dropout and noise by the number of the epoch: Keras writes the states of its generators to no checkpoint.

    Args:
      seed: Of the run.
      replicas: Copies of the model, each of which gets seeds of its own; the first one those of a model alone.
    """

    def __init__(self, seed: int, replicas: Replicas | None = None):
        super().__init__()
        self.seed, self.replicas = seed, replicas

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rngs: dict[int, np.random.Generator] = {}
        for state in self.model.variables:
            if state.path.endswith("seed_generator_state"):
                for number, copy in self.replicas.copies_of(state) if self.replicas else [(0, state)]:
                    words = [self.seed, epoch, number] if number else [self.seed, epoch]
                    rng = rngs.setdefault(number, np.random.default_rng(words))
                    copy.assign(rng.integers(2**32, size=state.shape, dtype=np.uint32).astype(state.dtype))


class Progress(keras.callbacks.Callback):
    """Shows a bar over all steps with the time left, and one line an epoch."""

    def __init__(self, validation: Validation, epochs: int, bar: tqdm):
        super().__init__()
        self.validation, self.epochs, self.bar = validation, epochs, bar

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        left = self.bar.format_dict
        rate = (left["n"] - left["initial"]) / max(left["elapsed"], 1e-9)
        best, headline = self.validation.best, self.validation.headline
        accuracy = f"  accuracy {logs['accuracy']:.3f}" if "accuracy" in logs else ""
        self.bar.write(
            f"epoch {epoch + 1}/{self.epochs}  loss {logs['loss']:.3f}{accuracy}"
            f"  validation loss {logs['val_loss']:.3f}  {HEADLINES[headline]} {logs[f'val_{headline}']:.3f}"
            f"  (kept {best['score']:.3f}, epoch {best['epoch'] + 1})"
            f"  {tqdm.format_interval((left['total'] - left['n']) / max(rate, 1e-9))} left"
        )


class Pictures(keras.callbacks.Callback):
    """Writes confusion matrices to the run's plots and to TensorBoard, beside the config and sample inputs.

    Args:
      run: Whose folder the pictures go to.
      validation: Where the confusion matrix comes from; called before this callback.
      emotions: The label set.
      every: Epochs between confusion matrices; 0: none.
    """

    def __init__(self, run: Run, validation: Validation, emotions: Sequence[str], every: int):
        super().__init__()
        self.run, self.validation, self.emotions, self.every = run, validation, emotions, every
        self.writer = tf.summary.create_file_writer(str(run.tensorboard / "validation"))

    def write_samples(
        self, config: Config, samples: Iterator[tuple[str, plots.Figure | None]], clips: Sequence[Example] = ()
    ) -> None:
        """Writes the model's graph, the config, of each sample the words and the spectrogram, and clips to listen to.

        Args:
          config: Of the run.
          samples: Title, and the spectrogram where there is audio.
          clips: Those without a waveform are left out.
        """
        model = self.validation.validated
        specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in model.input.items()}
        inference = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        with self.writer.as_default(step=0):
            tf.summary.graph(inference.get_concrete_function(specs).graph)
            tf.summary.text("config", f"```\n{config.to_json()}```")
            for number, (title, figure) in enumerate(samples):
                # Two tags: TensorBoard shows one kind of data a tag.
                tf.summary.text(f"sample_words/{number}", title)
                if figure is not None:
                    tf.summary.image(f"sample_spectrogram/{number}", plots.pixels(figure)[None])
            for number, clip in enumerate(clip for clip in clips if len(clip.waveform)):
                sound = audio.to_float(clip.waveform)[np.newaxis, :, np.newaxis]
                tf.summary.audio(f"sample_audio/{number}", sound, audio.SAMPLE_RATE, description=clip.transcript)
        self.writer.flush()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if not self.every or (epoch + 1) % self.every or self.validation.confusion is None:
            return
        headline = self.validation.headline
        title = f"validation, epoch {epoch + 1}: {HEADLINES[headline]} {logs[f'val_{headline}']:.3f}"
        figure = plots.confusion_matrix(self.validation.confusion, self.emotions, title)
        plots.save(figure, self.run.plots / f"confusion-validation-epoch-{epoch + 1:03d}.png")
        with self.writer.as_default(step=epoch):
            tf.summary.image("confusion", plots.pixels(figure)[None])
        self.writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.writer.close()


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Puts the moving average of the weights in place of the weights for a while."""
    if not model.optimizer.use_ema:
        yield
        return
    trained = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, values in zip(model.trainable_variables, trained, strict=True):
            variable.assign(values)


def require_finite(run: Run, epoch: int, *losses: float) -> None:
    """Stops before the weights of an epoch gone wrong are written.

    Raises:
      InputError: A loss that is no number.
    """
    if not np.isfinite(losses).all():
        raise InputError(
            f"the loss became {max(losses, key=np.isnan)} in epoch {epoch + 1}: train again with --overwrite and a"
            f" --learning-rate below {run.config().training.learning_rate:g};"
            " the checkpoints of the epochs before are kept."
        )


def write_training(run: Run, epochs: Sequence[dict[str, Any]] = (), precision: str = "float32") -> None:
    """Writes training.json: by which versions a run was made, in which numbers, and what is known of its epochs.

    Late fusion has no epochs.
    """
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions = {"emotion_tf": importlib.metadata.version("emotion_tf"), **versions}
    versions |= {"numpy": np.__version__}
    write_json(run.training_path, {"versions": versions, "precision": precision, "epochs": list(epochs)})


def written_precision(run: Run) -> str | None:
    """Reads in which numbers a run began to learn; None before its first epoch."""
    if not run.training_path.exists():
        return None
    return str(read_json(run.training_path, AGAIN).get("precision", "float32"))
