"""What a reader of recordings is asked for, and what it gives: samples as they stand in the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.command import InputError

# A file that says it has fewer samples a second is damaged, and resampling would fill the memory.
_LOWEST_SAMPLE_RATE = 1000

# Twice that of the fastest converters; what resamples higher ones takes more memory and time than there is.
_HIGHEST_SAMPLE_RATE = 1_536_000

# Stated lengths are rounded to whole packets of a codec; what was decoded is measured again.
_ROUNDED_SECONDS = 0.25


class NoSoundError(InputError):
    """A video that holds pictures alone."""


class NoSamplesError(InputError):
    """There are none in what is read of a file."""


class TooLongError(InputError):
    """A recording that is longer than an utterance may be.

    Args:
      name: Of the recording.
      length: In words.
      longest: Seconds that an utterance has at most.
    """

    def __init__(self, name: Path | str, length: str, longest: float):
        super().__init__(name, length, longest)

    def sentence(self, advice: str = "cut it up") -> str:
        """Says what is wrong, and what to do about it."""
        name, length, longest = self.args
        return f"{name} is {length} long, and an utterance has at most {longest:g} s: {advice}."

    def __str__(self) -> str:
        return self.sentence()


class Extent(NamedTuple):
    """Which part of a file is read.

    Attributes:
      begin, end: Seconds from the start of the file; `math.inf`: its end.
      longest: Seconds that the part may have.
    """

    begin: float = 0.0
    end: float = math.inf
    longest: float = math.inf

    def check(self, path: Path | str, seconds: float) -> None:
        """Stops on a file that states a length of so many seconds, before it is decoded.

        Raises:
          TooLongError: It is too long.
        """
        seconds = min(seconds, self.end) - self.begin
        if seconds > self.longest + _ROUNDED_SECONDS:
            raise TooLongError(path, f"{seconds:.0f} s", self.longest)


class Sound(NamedTuple):
    """The samples of a recording.

    Attributes:
      channels: [num_samples, num_channels] float32.
      sample_rate: Hz.
      bits: Of the samples in the file; 24 for floating-point ones, and for codecs that do not round to 16.
      names: What FFmpeg calls the channels; None where the file does not say which they are.
      notes: What was noticed, in sentences.
      is_length_stated: Whether the decoder found that nothing is missing of what the file states.
      num_tracks: Tracks of sound in the file.
      has_pictures: Whether it is a video.
      encoding: Kind of file and of its samples, for example "WAV PCM_16".
    """

    channels: np.ndarray
    sample_rate: int
    bits: int = 16
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    is_length_stated: bool = False
    num_tracks: int = 1
    has_pictures: bool = False
    encoding: str = ""


def check_rate(name: Path | str, sample_rate: float) -> None:
    """Stops on a sample rate that no recording has.

    Raises:
      InputError: It is that.
    """
    if not _LOWEST_SAMPLE_RATE <= sample_rate <= _HIGHEST_SAMPLE_RATE:
        raise InputError(f"{name} states a sample rate of {sample_rate} Hz: export it again from its source.")
