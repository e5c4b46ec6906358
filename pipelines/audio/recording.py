"""Recordings of any kind to one waveform at one level, and what was noticed on the way.

The content of a file decides how it is read, not its name: soundfile reads what it knows and reads whole, PyAV all the
rest, in a process of its own. What reads and resamples is imported where it is used, so that decoding workers start in
a tenth of a second.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines import isolation
from pipelines.audio.channels import mixed
from pipelines.audio.container import has_pictures, read_track
from pipelines.audio.file_facts import FileFacts, measure
from pipelines.audio.file_header import FileHeader, Length, read_header
from pipelines.audio.sound import Extent, NoSamplesError, Sound, TooLongError, check_rate
from pipelines.audio.soundfile_reader import read_with_soundfile
from pipelines.audio.waveform import SAMPLE_RATE, is_silent
from pipelines.command import InputError
from pipelines.files import stop_on_unreadable

LONGEST_SECONDS = 600.0
"""Longer recordings are refused, before they are decoded where they state their length: they are no utterances."""

LEVEL = 10 ** (-1 / 20)
"""The peak of every waveform that is not silent, as a share of full scale: -1 dB."""

OPEN = "no stated length was found: the file is read to its end, and may be cut off"
SHORT = "the file is a few bytes shorter than its header states: it is read to its end"
OTHER_TRACK = "the first track of the file is silent: another one is read"

CHANGED = "the file was written to while it was read: the answer may be of a part"

# 48 dB above full scale: not a loud recording but integers written as floating-point samples.
_HIGHEST_PEAK = 256.0


class Recording(NamedTuple):
    """What was read of a file.

    Attributes:
      waveform: [num_samples] int16 at 16 kHz, without offset, its peak at `LEVEL` unless it is silent.
      peak: Of the file itself, without its offset, as a share of full scale.
      bits: Of its samples: 8, 16, or 24 for all that are finer.
      notes: What was noticed, in sentences without numbers, so that they can be counted.
      has_pictures: Whether the file is a video.
      facts: Of the samples as they stand in the file, where they were asked for.
    """

    waveform: np.ndarray
    peak: float
    bits: int = 16
    notes: tuple[str, ...] = ()
    has_pictures: bool = False
    facts: FileFacts | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it is too soft for speech."""
        return is_silent(self.peak, self.bits)


def read_recording(
    path: Path,
    *,
    span: tuple[float, float] | None = None,
    longest_seconds: float = LONGEST_SECONDS,
    with_facts: bool = False,
) -> Recording:
    """Reads a recording of any kind, rate and number of channels, or the sound of a video.

    Channels are mixed by `pipelines.audio.channels`, resampled (soxr, high quality), freed of their offset and brought
    to one level before they are rounded: a recording that is 30 dB softer gives the same samples.

    Args:
      path: Its content decides how it is read, not its suffix.
      span: Seconds from the start of the file between which it is read; None: all of it.
      longest_seconds: What is longer is refused.
      with_facts: Whether the samples are measured as they stand in the file, too.

    Raises:
      NoSoundError: A video without sound.
      InputError: A file that is missing, cut off, damaged, of no known kind, empty or too long, or that holds NaN or
        infinite samples, or samples or a sample rate that no recording has; or one that is not written to its end.
    """
    stop_on_unreadable(path)
    extent, before = Extent(*(span or (0.0, math.inf)), longest_seconds), state_of(path)
    try:
        recording = _read(path, extent, with_facts)
    except InputError as error:
        if type(error) is InputError and state_of(path) != before:
            raise InputError(f"{path} is being written to: wait until that has ended, and read it again.") from None
        raise
    is_same = state_of(path) == before
    return recording if is_same else recording._replace(notes=(*recording.notes, CHANGED))


def state_of(path: Path) -> tuple[int, int] | None:
    """Returns what changes where a file is written to: its size and its time; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _read(path: Path, extent: Extent, with_facts: bool) -> Recording:
    """Reads with soundfile, or with PyAV in a process of its own."""
    header = read_header(path)
    if header is not None and header.length is Length.CUT:
        raise InputError(f"{path} is cut off: it ends before the length that it states; copy it again.")
    sound = read_with_soundfile(path, header, extent)
    # Which channel is which FFmpeg knows.
    if sound is None or sound.channels.shape[1] > 2:
        try:
            return isolation.read_file(read_with_pyav, path, header, extent, with_facts)
        except InputError:
            if sound is None:
                raise
    return _finished(path, sound, header, extent, with_facts)


def holds_pictures(path: Path) -> bool:
    """Tells whether a file is a video, by its content; what cannot be opened is none."""
    try:
        return isolation.read_file(has_pictures, path)
    except InputError:
        return False


def decode(path: Path) -> np.ndarray:
    """Reads the waveform of a recording, as `read_recording` does: [num_samples] int16 at 16 kHz."""
    return read_recording(path).waveform


def read_with_pyav(path: Path, header: FileHeader | None, extent: Extent, with_facts: bool = False) -> Recording:
    """Reads with PyAV, in this process, the first track that is not silent."""
    sound = read_track(path, extent)
    first = _finished(path, sound, header, extent, with_facts)
    for track in range(1, sound.num_tracks if first.is_silent else 1):
        other = _finished(path, read_track(path, extent, track), header, extent, with_facts)
        if not other.is_silent:
            return other._replace(notes=(*other.notes, OTHER_TRACK))
    return first


def from_samples(
    samples: np.ndarray,
    sample_rate: float,
    *,
    name: str = "the array",
    longest_seconds: float = LONGEST_SECONDS,
) -> Recording:
    """Makes of samples what `read_recording` makes of a file that holds them.

    Args:
      samples: [num_samples] or [num_samples, num_channels]: floating-point ones from -1 to 1, or integers of up to 32
        bits that span their type, as decoders of PCM give them.
      sample_rate: Hz.
      name: Of the samples, for sentences.
      longest_seconds: What is longer is refused.

    Raises:
      InputError: Another shape or type, no samples, too many, NaN or infinite ones, or samples or a sample rate that no
        recording has.
    """
    check_rate(name, sample_rate)
    if samples.ndim in (1, 2) and not len(samples):
        raise NoSamplesError(f"{name} holds no samples: give some.")
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > samples.shape[0]):
        raise InputError(
            f"{name} has the shape {list(samples.shape)}: give [num_samples], or [num_samples, num_channels]."
        )
    channels, bits = _scaled(samples, name)
    if channels.ndim == 1:
        channels = channels[:, np.newaxis]
    extent = Extent(longest=longest_seconds)
    extent.check(name, len(channels) / sample_rate)
    sound = Sound(channels, round(sample_rate), bits, is_length_stated=True)
    return _finished(name, sound, None, extent)


def _scaled(samples: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """Turns samples of any type into float32, and counts their bits as `Sound` does."""
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # What becomes infinite is refused.
            return samples.astype(np.float32), 24
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128, 8
    if kind == "i" and size <= 4:
        return (samples / 2 ** (8 * size - 1)).astype(np.float32), min(8 * size, 24)
    raise InputError(f"{name} holds {samples.dtype}: give floating-point samples from -1 to 1, or int16.")


def _finished(
    path: Path | str, sound: Sound, header: FileHeader | None, extent: Extent, with_facts: bool = False
) -> Recording:
    """Mixes, resamples, levels and rounds the samples of a file."""
    import soxr

    check_samples(path, sound.channels)
    mono, notes = mixed(sound.channels, sound.names)
    if sound.sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sound.sample_rate, SAMPLE_RATE)
    if not len(mono):
        raise NoSamplesError(f"{path} holds no samples: record it again or remove it.")
    if len(mono) > extent.longest * SAMPLE_RATE:
        raise TooLongError(path, f"{len(mono) / SAMPLE_RATE:.4g} s", extent.longest)
    peak = float(np.abs(mono).max())
    gain = 1.0 if is_silent(peak, sound.bits) else LEVEL / peak
    waveform = np.rint(mono * np.float32(gain * 32768)).astype(np.int16)
    notes = (*notes_on_length(header, sound), *sound.notes, *notes)
    return Recording(waveform, peak, sound.bits, notes, sound.has_pictures, measure(sound) if with_facts else None)


def check_samples(path: Path | str, samples: np.ndarray) -> None:
    """Stops on samples [num_samples, num_channels] that no recording has.

    Raises:
      InputError: NaN or infinite ones, or integers that were written as floating-point samples.
    """
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds NaN or infinite samples: export it again from its source.")
    highest = max(samples.max(initial=0.0), -samples.min(initial=0.0))
    if highest > _HIGHEST_PEAK:
        raise InputError(f"{path} holds samples up to {highest:.3g}, not from -1 to 1: export it again, scaled.")


def notes_on_length(header: FileHeader | None, sound: Sound) -> tuple[str, ...]:
    """Says in sentences what is amiss with the length of a file."""
    if header is not None and header.length is Length.SHORT:
        return (SHORT,)
    is_open = header is None or header.length is Length.OPEN
    return (OPEN,) if is_open and not sound.is_length_stated else ()
