"""Features of the frames of a clip, by their names: the one front end of records, training and export."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.audio.acoustic import (
    ACOUSTIC,
    LEAST_DEVIATIONS,
    NUM_MFCC_COLUMNS,
    acoustic_columns,
    mfcc_columns,
    standardise,
)
from pipelines.audio.front_end import LEAST_DEVIATION, Analysis, FrontEnd, analyse, normalise

if TYPE_CHECKING:
    import tensorflow as tf

FRAME_FEATURES = ("log_mel", "mfcc", "acoustic")
"""What is computed of each frame; mfcc is the first columns of acoustic."""


def frame_features(
    waveform: tf.Tensor, front_end: FrontEnd, names: Sequence[str]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Computes several features of the same frames, silent ends trimmed off as `log_mel` does.

    Args:
      waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz.
      front_end: The settings.
      names: Of `FRAME_FEATURES`.

    Returns:
      Name -> [batch, max_frames, columns] float32; frames behind a clip's end hold `silence_row`.
      num_frames [batch] int32: frames of each clip; 0 where it is absent.

    Raises:
      InputError: Too few mel bands for the acoustic features.
    """
    analysis = analyse(waveform, front_end)
    columns = {"log_mel": _log_mel, "mfcc": mfcc_columns, "acoustic": acoustic_columns}
    made = {name: analysis.trim(columns[name](analysis, front_end), silence_row(name, front_end)) for name in names}
    return made, analysis.num_frames


@functools.cache
def compiled_features(
    front_end: FrontEnd, names: tuple[str, ...] = ("log_mel",)
) -> Callable[[np.ndarray], tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """Compiles `frame_features` once for batches of any size."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None, None], tf.float32, name="waveform")]
    return tf.function(lambda waveform: frame_features(waveform, front_end, names), input_signature=signature)


def num_columns(name: str, front_end: FrontEnd) -> int:
    """Counts the columns of one of `FRAME_FEATURES`."""
    return {"log_mel": front_end.mel_bins, "mfcc": NUM_MFCC_COLUMNS, "acoustic": len(ACOUSTIC)}[name]


def silence_row(name: str, front_end: FrontEnd) -> np.ndarray:
    """Returns what one of `FRAME_FEATURES` holds for digital silence: [columns] float32."""
    row = np.zeros(num_columns(name, front_end), np.float32)
    if name == "log_mel":
        row[:] = front_end.silence
    else:
        # Equal bands are the first coefficient alone.
        row[0] = front_end.silence * np.sqrt(front_end.mel_bins)
    return row


def least_deviations(name: str, front_end: FrontEnd) -> np.ndarray:
    """Returns what the columns of one of `FRAME_FEATURES` are divided by at least: [columns] float32."""
    count = num_columns(name, front_end)
    return np.full(count, LEAST_DEVIATION, np.float32) if name == "log_mel" else LEAST_DEVIATIONS[:count]


def normalise_frames(features: Mapping[str, tf.Tensor], num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Normalises features of the same frames per clip: log_mel by `normalise`, others column by column.

    Args:
      features: Names of `FRAME_FEATURES` -> [batch, max_frames, columns] float32.
      num_frames: [batch] int32.

    Returns:
      The same names and shapes. Over each clip's own frames every column has mean 0, and those of mfcc and acoustic
      deviation 1 each; less where a column hardly varies, so that a constant one is 0.
    """
    return {
        name: normalise(values, num_frames) if name == "log_mel" else standardise(values, num_frames)
        for name, values in features.items()
    }


def _log_mel(analysis: Analysis, front_end: FrontEnd) -> tf.Tensor:
    return analysis.log_mel


def acoustic(waveform: tf.Tensor, front_end: FrontEnd) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the columns `ACOUSTIC` of the frames of `log_mel`.

    - 40 mel-frequency cepstral coefficients: the orthonormal cosine transform of the log-mel; and their slopes over
      nine frames, the clip's first and last frame repeated beyond its ends.
    - 12 chroma: power by pitch class (equal temperament, a' = 440 Hz), the strongest of a frame 1.
    - 7 spectral contrasts, decibels between the strongest and the weakest bins of a band: 0 to 200 Hz and six octaves
      from there; both within 80 dB of the clip's strongest.
    - Share of samples whose sign differs from the one before; root mean square of the samples in [0, 1].
    - Fundamental frequency in Hz, 60 to 600, of 64 ms around the frame's middle; 0 where nothing repeats. And how well
      it repeats, 0 to 1.

    All of them see the clip before its silent ends go: neighbours of the first frame that stays are real ones.

    Args:
      waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz.
      front_end: The settings; 40 mel bands at least.

    Returns:
      acoustic [batch, max_frames, 103] float32; frames behind a clip's end hold what digital silence gives.
      num_frames [batch] int32, as of `log_mel`.

    Raises:
      InputError: Fewer mel bands than that.

    Source: Davis & Mermelstein 1980 (cepstra); Ellis 2007, "Chroma feature analysis and synthesis"; Jiang et al. 2002,
      "Music type classification by spectral contrast feature"; de Cheveigné & Kawahara 2002, "YIN, a fundamental
      frequency estimator for speech and music"; constants are those of librosa.feature and librosa.yin.
    """
    features, num_frames = frame_features(waveform, front_end, ("acoustic",))
    return features["acoustic"], num_frames
