"""Files of weights and optimizer, of the last epoch and of the one that is kept; each is renamed into place."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import keras

from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import AGAIN
from pipelines.command import InputError, is_disk_full
from pipelines.files import replacing


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes weights, the optimizer's state among them, as a .weights.h5 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary:
            model.save_weights(temporary)
    except Exception as error:
        if is_disk_full(error):  # h5py says it in a dozen lines.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise


def load_weights(model: keras.Model, path: Path) -> None:
    """Reads what `save_weights` wrote.

    Raises:
      InputError: A file that is missing, cut off, or of another model.
    """
    with sentence_if_corrupt(path):
        model.load_weights(path)


@contextlib.contextmanager
def sentence_if_corrupt(path: Path) -> Iterator[None]:
    """Says of a file that cannot be read what to do."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is missing or corrupt ({reason}): {AGAIN}.") from None


def load_epoch(run: Run, model: keras.Model, epoch: int) -> None:
    """Reads the weights and the optimizer's state of the last epoch, whose number is given.

    Raises:
      InputError: A file that is missing, cut off, or of another model.
    """
    model.optimizer.build(model.trainable_variables)
    load_weights(model, last_path(run, epoch))


def last_epoch(run: Run) -> int:
    """Returns the last epoch whose weights are kept; -1 where there is none."""
    return max((int(path.name[5:9]) for path in run.checkpoints.glob("last-*.weights.h5")), default=-1)


def last_path(run: Run, epoch: int) -> Path:
    """Names the file of the weights of the last epoch."""
    return run.checkpoints / f"last-{epoch:04d}.weights.h5"


def remove_others(path: Path, pattern: str) -> None:
    """Removes the files beside one that a pattern names."""
    for other in path.parent.glob(pattern):
        if other != path:
            other.unlink()
