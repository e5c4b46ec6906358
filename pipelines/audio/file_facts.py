"""What is measured of a recording as it stands in its file, before its channels are mixed and brought to one level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipelines.audio.sound import Sound

_LONGEST_SLOPE = 3
"""A wave at its peak holds equal samples as long as this by chance; clipping holds more of them."""

# As a share of full scale: of few steps equal neighbours are no sign of clipping.
_LEAST_PEAK = 0.05


class FileFacts(NamedTuple):
    """Of one recording.

    Attributes:
      encoding: Kind of file and of its samples, for example "WAV PCM_16".
      sample_rate: Hz.
      num_channels: Of the file.
      bits: Of its samples: 8, 16, or 24 for all that are finer.
      peak: The largest sample of any channel, as a share of full scale, its offset included.
      offset: The mean of the channel that has the largest, as a share of full scale.
      flat_share: Of the samples of the channel that has most, how many stand in rows of more than three equal ones at
        its highest or lowest value: what clipping leaves.
      seconds: Its length.
    """

    encoding: str
    sample_rate: int
    num_channels: int
    bits: int
    peak: float
    offset: float
    flat_share: float
    seconds: float


def measure(sound: Sound) -> FileFacts:
    """Measures the samples of a file, at least one of them."""
    means = sound.channels.mean(axis=0, dtype=np.float64)  # [num_channels]
    highest = max(float(sound.channels.max()), -float(sound.channels.min()))
    return FileFacts(
        encoding=sound.encoding,
        sample_rate=sound.sample_rate,
        num_channels=sound.channels.shape[1],
        bits=sound.bits,
        peak=highest,
        offset=float(means[np.abs(means).argmax()]),
        flat_share=max(map(_flat_share, sound.channels.T)),
        seconds=len(sound.channels) / sound.sample_rate,
    )


def _flat_share(samples: np.ndarray) -> float:
    """Counts what stands in rows of equal samples at the extremes of [num_samples]."""
    lowest, highest = float(samples.min()), float(samples.max())
    if highest - lowest < 2 * _LEAST_PEAK:
        return 0.0
    places = np.concatenate([np.flatnonzero(samples == edge) for edge in (lowest, highest)])
    ends = np.flatnonzero(np.diff(places, prepend=-2, append=-2) != 1)  # Where a row begins; behind the last one.
    lengths = np.diff(ends)
    return int(lengths[lengths > _LONGEST_SLOPE].sum()) / len(samples)
