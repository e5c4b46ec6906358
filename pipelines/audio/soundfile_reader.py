"""Reads with soundfile what it knows and reads whole."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.audio.file_header import FileHeader
from pipelines.audio.sound import Extent, Sound, check_rate
from pipelines.command import InputError

# Of the subtypes of libsndfile; all others have 16 bits, or fewer that span as much.
_BITS = {"PCM_S8": 8, "PCM_U8": 8} | dict.fromkeys(
    ("PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32", "VORBIS", "OPUS"), 24
)

# libsndfile's word for a length that it does not know is 2 ** 63 - 1.
_UNKNOWN_FRAMES = 2**62


def read_with_soundfile(path: Path, header: FileHeader | None, extent: Extent) -> Sound | None:
    """Reads a recording.

    Args:
      path: The file.
      header: Of it.
      extent: Which part is read.

    Returns:
      Its samples; None of what soundfile does not know, or does not read whole, or not quietly: MPEG audio, of which it
      reads no more than it first estimates, and whose decoder writes on stderr; several streams in one Ogg file, of
      which it reads the first.

    Raises:
      InputError: A recording that is too long, or a sample rate that no recording has.
    """
    import soundfile

    try:
        with _opened(path, header) as file:
            return _read(path, file, header, extent) if file else None
    except (soundfile.SoundFileError, OSError):
        return None


def read_blocks_with_soundfile(path: Path, header: FileHeader | None, block_seconds: float) -> Iterator[Sound] | None:
    """Reads a recording of any length block by block.

    Args:
      path: The file.
      header: Of it.
      block_seconds: The length of all blocks but the last.

    Returns:
      What `read_with_soundfile` returns, in blocks; None of what it does not read, or of more than two channels.

    Raises:
      InputError: A sample rate that no recording has; from the blocks, a file that ends before it should.
    """
    import soundfile

    try:
        with _opened(path, header) as file:
            if not file or file.channels > 2:
                return None
            check_rate(path, file.samplerate)
    except (soundfile.SoundFileError, OSError):
        return None
    return _blocks(path, header, block_seconds)


def _blocks(path: Path, header: FileHeader | None, block_seconds: float) -> Iterator[Sound]:
    import soundfile

    with _opened(path, header) as file:
        left = file.frames - (header.tail(file.frames) if header else 0)
        while left:
            length = min(left, round(block_seconds * file.samplerate))
            try:
                channels = file.read(length, dtype="float32", always_2d=True)
            except soundfile.SoundFileError:  # The decoder lost its way.
                channels = np.zeros((0, file.channels), np.float32)
            if not len(channels):
                raise InputError(f"{path} is cut off or damaged {left / file.samplerate:.1f} s before its end.")
            left -= len(channels)
            yield Sound(channels, file.samplerate, _BITS.get(file.subtype, 16), is_length_stated=file.format == "FLAC")


def stated_seconds(path: Path) -> float | None:
    """Returns the length that the header of a recording states; None where soundfile knows none, or not quietly."""
    import soundfile

    try:
        if _is_mpeg(path):
            return None
        with path.open("rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            return None if file.frames > _UNKNOWN_FRAMES else file.frames / file.samplerate
    except (soundfile.SoundFileError, OSError):
        return None


def _is_mpeg(path: Path) -> bool:
    """Tells whether a file begins as MPEG audio does, or AAC as phones stream it: by a tag or the head of a frame."""
    with path.open("rb") as file:
        start = file.read(3)
    return start == b"ID3" or (len(start) == 3 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0)


def _read(path: Path, file: Any, header: FileHeader | None, extent: Extent) -> Sound | None:
    """Reads an open `soundfile.SoundFile`; None where it ends before it should."""
    rate = file.samplerate
    check_rate(path, rate)
    tail = header.tail(file.frames) if header else 0
    end = min(file.frames - tail, round(min(extent.end, file.frames / rate) * rate))
    begin = min(end, round(extent.begin * rate))
    extent.check(path, end / rate)
    if begin:
        file.seek(begin)
    channels = file.read(end - begin, dtype="float32", always_2d=True)  # [num_samples, num_channels]
    if len(channels) < end - begin:
        return None
    encoding = f"{file.format} {file.subtype}"
    return Sound(channels, rate, _BITS.get(file.subtype, 16), is_length_stated=file.format == "FLAC", encoding=encoding)


@contextlib.contextmanager
def _opened(path: Path, header: FileHeader | None) -> Iterator[Any]:
    """Opens a file as `soundfile.SoundFile`; None where soundfile does not read it whole, or not quietly."""
    import soundfile

    if _is_mpeg(path) or (header is not None and (header.is_mpeg or header.is_chained)):
        yield None
        return
    # A header that leaves the length open is read as one that states it.
    mend = header.mend if header else None
    with (
        _Mended(path, *mend) if mend else io.FileIO(path) as opened,
        # By its number, for libsndfile takes any file named .mp3 for one; or what it reads as another file.
        soundfile.SoundFile(opened if mend else opened.fileno(), closefd=False) as file,
    ):
        yield file if file.frames <= _UNKNOWN_FRAMES else None


class _Mended(io.FileIO):
    """A file some bytes of which read as others; it stays as it is."""

    def __init__(self, path: Path, place: int, content: bytes):
        super().__init__(path)
        self._place, self._content = place, content

    def readinto(self, buffer: Any) -> int:
        """Reads as any file does."""
        start = self.tell()
        count = super().readinto(buffer) or 0
        for place, byte in enumerate(self._content, self._place - start):
            if 0 <= place < count:
                buffer[place : place + 1] = bytes([byte])
        return count
