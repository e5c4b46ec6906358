"""Waveforms on the host: their rate, their unit, batches of them, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

SAMPLE_RATE = 16000
"""Hz of every decoded waveform."""

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus", ".m4a", ".aac", ".wma", ".caf"})
"""Files to look for in folders of recordings; how a file is read depends on its content alone."""

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".flv", ".wmv", ".3gp"})
"""Files to look for in folders of videos."""

SILENT_PEAK = 32
"""A recording whose int16 samples stay within this, -60 dB of full scale, is silent: speech would be lost in their
rounding."""

SILENT_FINE_PEAK = 1e-4
"""One of finer samples, or of a codec that does not round to 16 bits, is silent within this, -80 dB of full scale."""


def is_silent(peak: float, bits: int = 16) -> bool:
    """Tells whether a recording is silent.

    Args:
      peak: The largest of its samples, as a share of full scale.
      bits: Of its samples.
    """
    return peak <= SILENT_FINE_PEAK if bits > 16 else round(peak * 32768) <= SILENT_PEAK


def to_float(waveform: np.ndarray) -> np.ndarray:
    """Turns int16 samples into float32 in [-1, 1), exactly."""
    return np.multiply(waveform, np.float32(1 / 32768), dtype=np.float32)


def pad_together(waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks int16 waveforms into one float32 batch, zeros behind the shorter ones.

    Returns:
      waveform [batch, num_samples] float32, at least one sample long.
    """
    batch = np.zeros((len(waveforms), max([1, *map(len, waveforms)])), np.int16)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return to_float(batch)


def sha256(waveform: np.ndarray) -> str:
    """Hashes decoded samples (little-endian int16), to find one recording under two names."""
    return hashlib.sha256(waveform.astype("<i2").tobytes()).hexdigest()
