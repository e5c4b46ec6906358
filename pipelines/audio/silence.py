"""Where a clip's silent ends are: one definition for records, augmentation and video.

A frame is loud if its energy lies at most `trim_db` below that of the clip's loudest frame; before the first loud frame
and after the last one a clip is silent. The front end takes the energy of its mel bands. What has no spectrum takes
that of blocks of 10 ms. Each function of the graph has a twin on the host, for decoding workers do without TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.audio.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    import tensorflow as tf

TRIM_DB = 30.0
"""Decibels below the loudest frame at which silence begins, where no other threshold is given."""

MARGIN_SECONDS = 0.05
"""What is kept before the first and after the last loud frame, so that soft consonants stay."""

BLOCK_LENGTH = SAMPLE_RATE // 100
"""Samples of a block."""


def loud_span(energy: tf.Tensor, trim_db: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the frames between the silent ends of clips.

    Args:
      energy: [batch, num_frames], 0 or more; 0 behind a clip's end.
      trim_db: Decibels above 0.

    Returns:
      The first loud frame of each clip, and the one behind the last: [batch] int32 each, both 0 if no frame has energy.
    """
    import tensorflow as tf

    num_frames = tf.shape(energy)[1]
    threshold = tf.reduce_max(energy, axis=1, keepdims=True) * 10 ** (-trim_db / 10)  # [batch, 1]
    is_loud = (energy >= threshold) & (energy > 0.0)  # [batch, num_frames]
    positions = tf.range(num_frames)
    first = tf.reduce_min(tf.where(is_loud, positions, num_frames), axis=1)  # [batch]
    end = tf.reduce_max(tf.where(is_loud, positions + 1, 0), axis=1)
    is_any = tf.reduce_any(is_loud, axis=1)
    return tf.where(is_any, first, 0), tf.where(is_any, end, 0)


def loud_span_on_host(energy: np.ndarray, trim_db: float) -> tuple[int, int]:
    """Finds the same as `loud_span` of one clip, energy [num_frames]."""
    if not energy.any():
        return 0, 0
    loud = np.flatnonzero((energy >= energy.max() * 10 ** (-trim_db / 10)) & (energy > 0.0))
    return int(loud[0]), int(loud[-1]) + 1


def block_energy(waveform: tf.Tensor) -> tf.Tensor:
    """Computes the variance of each whole block: an offset has no energy.

    Args:
      waveform: [num_samples] float32.

    Returns:
      [num_samples // BLOCK_LENGTH] float32.
    """
    import tensorflow as tf

    blocks = tf.signal.frame(waveform, BLOCK_LENGTH, BLOCK_LENGTH)  # [num_blocks, BLOCK_LENGTH]
    return tf.math.reduce_variance(blocks, axis=1)


def block_energy_on_host(waveform: np.ndarray) -> np.ndarray:
    """Computes the same as `block_energy` but for rounding, in the square of the unit that the samples have.

    Args:
      waveform: [num_samples] of any type.

    Returns:
      [num_samples // BLOCK_LENGTH] float64.
    """
    blocks = waveform[: len(waveform) // BLOCK_LENGTH * BLOCK_LENGTH].reshape(-1, BLOCK_LENGTH)
    return blocks.var(axis=1, dtype=np.float64)
