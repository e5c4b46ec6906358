"""Audio features by their names: `frame_features` is the one front end.

The writer of records, training on changed waveforms, the exported model and `predict` all call it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.audio.acoustic import (
    ACOUSTIC,
    LEAST_STDS,
    NUM_MFCC_COLUMNS,
    acoustic_columns,
    mfcc_columns,
    standardise,
)
from pipelines.audio.front_end import LEAST_STD, Analysis, FrontEnd, analyse, normalise

if TYPE_CHECKING:
    import tensorflow as tf

FRAME_FEATURES = ("log_mel", "mfcc", "acoustic")
"""What is computed of each frame; mfcc is the first columns of acoustic."""


def frame_features(
    waveform: tf.Tensor, front_end: FrontEnd, names: Sequence[str]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Computes features of the same frames, silent ends trimmed off.

    Trailing zero samples count as padding, so a clip reads the same alone and beside longer ones. A clip shorter than
    one frame is padded to one; a clip of zeros has no frames. All features are computed before the silent ends go: the
    neighbours of the first frame that stays are real ones.

    Args:
      waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz.
      front_end: The settings.
      names: Of `FRAME_FEATURES`.

    Returns:
      Name -> [batch, max_frames, columns] float32; frames behind a clip's end hold `silence_row`. max_frames is at
        least 1. log_mel: the natural logarithm of the mel magnitude. acoustic: the columns `ACOUSTIC`. mfcc: the first
        80 of these.
      num_frames [batch] int32: frames of each clip; 0 where it is absent.

    Raises:
      InputError: Too few mel bands for the acoustic features.
    """
    analysis = analyse(waveform, front_end)
    compute = {"log_mel": _log_mel, "mfcc": mfcc_columns, "acoustic": acoustic_columns}
    features = {}
    for name in names:
        whole = compute[name](analysis, front_end)  # [batch, max_frames, columns]
        features[name] = analysis.trim(whole, silence_row(name, front_end))
    return features, analysis.num_frames


@functools.cache
def compiled_features(
    front_end: FrontEnd, names: tuple[str, ...] = ("log_mel",)
) -> Callable[[np.ndarray], tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """Compiles `frame_features` once for batches of any size."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None, None], tf.float32, name="waveform")]
    compute = functools.partial(frame_features, front_end=front_end, names=names)
    return tf.function(compute, input_signature=signature, autograph=False)


def num_columns(name: str, front_end: FrontEnd) -> int:
    """Counts the columns of one of `FRAME_FEATURES`."""
    return {"log_mel": front_end.mel_bins, "mfcc": NUM_MFCC_COLUMNS, "acoustic": len(ACOUSTIC)}[name]


def frame_names(names: Sequence[str]) -> tuple[str, ...]:
    """Leaves of the audio features of a model those that are computed of each frame; states of an encoder are not."""
    return tuple(name for name in names if name in FRAME_FEATURES)


def silence_row(name: str, front_end: FrontEnd) -> np.ndarray:
    """Returns what one of `FRAME_FEATURES` holds for digital silence: [columns] float32."""
    row = np.zeros(num_columns(name, front_end), np.float32)
    if name == "log_mel":
        row[:] = front_end.silence
    else:
        # Equal bands are the first coefficient alone.
        row[0] = front_end.silence * np.sqrt(front_end.mel_bins)
    return row


def least_std(name: str, front_end: FrontEnd) -> np.ndarray:
    """Returns what the columns of one of `FRAME_FEATURES` are divided by at least: [columns] float32."""
    count = num_columns(name, front_end)
    return np.full(count, LEAST_STD, np.float32) if name == "log_mel" else LEAST_STDS[:count]


def normalise_frames(features: Mapping[str, tf.Tensor], num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Normalises features of the same frames per clip: log_mel by `normalise`, others column by column.

    Args:
      features: Names of `FRAME_FEATURES` -> [batch, max_frames, columns] float32.
      num_frames: [batch] int32.

    Returns:
      The same names and shapes. Over each clip's own frames every column has mean 0, and those of mfcc and acoustic
      standard deviation 1 each; less where a column hardly varies, so that a constant one is 0.
    """
    return {
        name: normalise(values, num_frames) if name == "log_mel" else standardise(values, num_frames)
        for name, values in features.items()
    }


def _log_mel(analysis: Analysis, front_end: FrontEnd) -> tf.Tensor:
    return analysis.log_mel
