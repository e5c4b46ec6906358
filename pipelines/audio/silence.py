"""Where a clip's silent ends are, and how loud it is: one definition for records, augmentation and video.

A frame is loud if it belongs to a sound that lasts, at most `trim_db` softer than the loudest sound of the clip that
lasts; before the first loud frame and after the last one a clip is silent. What is over sooner, a click of a mouse or a
key, is no speech, however loud it is. The front end takes the energy of its mel bands. What has no spectrum takes that
of blocks of 10 ms. Each function of the graph has a twin on the host, for decoding workers do without TensorFlow.
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

SUSTAINED_SECONDS = 0.05
"""A sound that is over sooner is no speech."""

BLOCK_LENGTH = SAMPLE_RATE // 100
"""Samples of a block."""

BLOCKS_SUSTAINED = round(SUSTAINED_SECONDS * SAMPLE_RATE / BLOCK_LENGTH)
"""Blocks that a sound must last."""


def sustained(energy: tf.Tensor, num_frames: tf.Tensor, width: int) -> tf.Tensor:
    """Keeps of the energy over time what lasts: a morphological opening, the largest of the smallest of `width` frames.

    Args:
      energy: [batch, max_frames], 0 or more.
      num_frames: [batch] int32; what stands behind a clip's end is none of it.
      width: Frames that a sound must last, odd: so that erosion and dilation look as far to both sides.

    Returns:
      [batch, max_frames], nowhere above the energy; 0 behind a clip's end.

    Source: Serra 1982, Image Analysis and Mathematical Morphology, chapter 2.
    """
    import tensorflow as tf

    is_frame = tf.sequence_mask(num_frames, tf.shape(energy)[1])  # [batch, max_frames]
    inside = tf.where(is_frame, energy, energy.dtype.max)
    eroded = -_highest(-inside, width)  # [batch, max_frames]
    return tf.where(is_frame, _highest(tf.where(is_frame, eroded, 0.0), width), 0.0)


def _highest(values: tf.Tensor, width: int) -> tf.Tensor:
    """Takes the largest of the `width` values around each, [batch, max_frames]; there are none beyond the ends."""
    import tensorflow as tf

    return tf.squeeze(tf.nn.max_pool1d(tf.expand_dims(values, 2), width, 1, "SAME"), 2)


def sustained_on_host(energy: np.ndarray, width: int) -> np.ndarray:
    """Computes the same as `sustained` of one clip, energy [num_frames]."""
    if not len(energy):
        return energy
    return _highest_on_host(-_highest_on_host(-energy, width), width)


def _highest_on_host(values: np.ndarray, width: int) -> np.ndarray:
    before = (width - 1) // 2
    padded = np.pad(values, (before, width - 1 - before), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, width).max(axis=1)


def sustained_width(hop_seconds: float, frame_seconds: float) -> int:
    """Counts the frames that a sound of `SUSTAINED_SECONDS` touches, odd: what touches fewer is over sooner."""
    width = int(round((SUSTAINED_SECONDS + frame_seconds) / hop_seconds, 6))  # Rounding first: 0.3 / 0.1 is below 3.
    return width + 1 - width % 2


def loud_span(lasting: tf.Tensor, trim_db: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the frames between the silent ends of clips.

    Args:
      lasting: [batch, max_frames] energy as `sustained` leaves it.
      trim_db: Decibels above 0.

    Returns:
      The first loud frame of each clip, and the one behind the last: [batch] int32 each, both 0 if no frame has energy.
    """
    import tensorflow as tf

    max_frames = tf.shape(lasting)[1]
    threshold = tf.reduce_max(lasting, axis=1, keepdims=True) * 10 ** (-trim_db / 10)  # [batch, 1]
    is_loud = (lasting >= threshold) & (lasting > 0.0)  # [batch, max_frames]
    positions = tf.range(max_frames)
    first = tf.reduce_min(tf.where(is_loud, positions, max_frames), axis=1)  # [batch]
    end = tf.reduce_max(tf.where(is_loud, positions + 1, 0), axis=1)
    is_any = tf.reduce_any(is_loud, axis=1)
    return tf.where(is_any, first, 0), tf.where(is_any, end, 0)


def loud_span_on_host(lasting: np.ndarray, trim_db: float) -> tuple[int, int]:
    """Finds the same as `loud_span` of one clip, lasting [num_frames]."""
    if not lasting.any():
        return 0, 0
    loud = np.flatnonzero((lasting >= lasting.max() * 10 ** (-trim_db / 10)) & (lasting > 0.0))
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
