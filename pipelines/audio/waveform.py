"""Recordings to waveforms on the host.

What reads and resamples is imported where it is used, so that decoding workers start in a tenth of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command import InputError
from pipelines.file_kinds import foreign_kind

SAMPLE_RATE = 16000
"""Hz of every decoded waveform."""

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus"})

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})
"""Files that hold pictures and, as a rule, audio."""

SILENT_PEAK = 32
"""A recording whose int16 samples stay within this, -60 dB of full scale, is silent: too soft for speech."""

# A file that says it has fewer samples a second is damaged, and resampling would fill the memory.
_LOWEST_SAMPLE_RATE = 1000
# 48 dB above full scale: not a loud recording but integers written as floating-point samples.
_HIGHEST_PEAK = 256.0

_BLOCK_SAMPLES = 2**20

# Encoders of videos round the length of the audio to whole packets of theirs.
_MOST_MISSING_SECONDS = 0.25

_STREAMED_BYTES = 2**31 - 2**16
"""A program that writes a wav to a pipe does not know its length and states one near 2**31 or 2**32 instead."""


class NoSoundError(InputError):
    """A video that holds pictures alone."""


def decode(path: Path) -> np.ndarray:
    """Reads a recording of any rate and channel count, or the audio of a video.

    Args:
      path: A wav, flac, ogg, mp3 or AIFF file; its content decides, not its suffix.

    Returns:
      waveform [num_samples] int16 at 16 kHz: the mean of the channels, resampled (soxr, high quality), rounded.

    Raises:
      InputError: A file that is missing, cut off, of another kind, empty, or holds NaN or infinite samples, or
        samples or a sample rate that no recording has.
    """
    import soxr

    is_video = path.suffix.lower() in VIDEO_SUFFIXES
    mono, sample_rate = _read_mono_of_video(path) if is_video else _read_mono(path)
    if not np.isfinite(mono).all():
        raise InputError(f"{path} holds NaN or infinite samples: export it again from its source.")
    peak = np.abs(mono).max(initial=0.0)
    if peak > _HIGHEST_PEAK:
        raise InputError(f"{path} holds samples up to {peak:.3g}, not from -1 to 1: export it again, scaled.")
    if sample_rate < _LOWEST_SAMPLE_RATE:
        raise InputError(f"{path} states a sample rate of {sample_rate} Hz: export it again from its source.")
    if sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE)
    if not len(mono):
        raise InputError(f"{path} holds no samples: record it again or remove it.")
    return np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)


def _read_mono(path: Path) -> tuple[np.ndarray, int]:
    """Returns the mean of the channels [num_samples] float32 and its rate, or says why there are none."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            # In blocks: all channels of a long recording at once would take several times the memory.
            mono = np.concatenate([_mean(block) for block in _blocks(file)])
            promised, log = file.frames, file.extra_info
            sample_rate = file.samplerate
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: correct the path.") from None
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path} {_why_unreadable(path, str(error))}") from None
    stated = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", log)
    is_cut = stated is not None and int(stated[2]) < int(stated[1]) < _STREAMED_BYTES
    if is_cut or len(mono) < promised:
        raise InputError(f"{path} is cut off: it ends before the length that its header states; copy it again.")
    return mono, sample_rate


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """Opens a video with PyAV; whatever that finds wrong with it, then or later, becomes one sentence.

    Raises:
      InputError: PyAV is not installed; a file that is missing or damaged.
    """
    try:
        import av
    except ImportError:
        raise InputError(
            f"{path} is a video, which PyAV reads: install it with pip install -c requirements.txt -e '.[video]'."
        ) from None
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(str(path)) as container:
            yield container
    except InputError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if path.is_file() and path.stat().st_size and not foreign_kind(path):
            raise InputError(
                f"{path} cannot be read as a video ({reason}): it is cut off, damaged or of another kind; copy it"
                " again."
            ) from None
        raise InputError(f"{path} {_why_unreadable(path, reason)}") from None


def _read_mono_of_video(path: Path) -> tuple[np.ndarray, int]:
    """Returns the mean of the channels [num_samples] float32 of a video's audio and its rate."""
    with open_container(path) as container:
        import av

        if not container.streams.audio:
            raise NoSoundError(f"{path} holds pictures alone, and no sound: name a recording.")
        stream = container.streams.audio[0]
        promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
        resampler = av.AudioResampler(format="fltp")  # Neither rate nor channels change.
        decoded = itertools.chain(container.decode(stream), [None])
        blocks = [_mean(frame.to_ndarray().T) for one in decoded for frame in resampler.resample(one)]
        sample_rate = stream.rate
    mono = np.concatenate([np.zeros(0, np.float32), *blocks])
    if len(mono) / sample_rate < promised - _MOST_MISSING_SECONDS:
        raise InputError(
            f"{path} is cut off: its sound ends after {len(mono) / sample_rate:.1f} of {promised:.1f} s; copy it again."
        )
    return mono, sample_rate


def _blocks(file: Any) -> Iterator[np.ndarray]:
    """Reads an open `soundfile.SoundFile` to its end; yields [num_samples, num_channels] float32, once at least."""
    is_end = False
    while not is_end:
        block = file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
        is_end = len(block) < _BLOCK_SAMPLES
        yield block


def _mean(block: np.ndarray) -> np.ndarray:
    if block.shape[1] == 1:
        return block[:, 0]
    # Infinite samples of opposite signs are found later.
    with np.errstate(invalid="ignore", over="ignore"):
        return block.mean(axis=1, dtype=np.float32)


def _why_unreadable(path: Path, error: str) -> str:
    if not path.exists():
        return "does not exist: correct the path."
    if not path.is_file():
        return "is not a file: correct the path."
    if path.stat().st_size == 0:
        return "is an empty file: copy it again."
    if kind := foreign_kind(path):
        return kind
    reason = error.split(": ", 1)[-1].rstrip(".")
    return f"cannot be read as audio ({reason}): copy it again, or convert it to wav or flac."


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
