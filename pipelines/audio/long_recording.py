"""Recordings of any length to one waveform, block by block, in memory that does not grow with them.

Read as `pipelines.audio.recording` reads utterances, with these differences: channels are mixed block by block, the
level is that of the file, and what only the end of a file shows becomes a note instead of an error, for by then most of
it has been used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.audio.channels import mixed
from pipelines.audio.container import read_track, read_track_in_blocks
from pipelines.audio.file_header import FileHeader, Length, read_header
from pipelines.audio.recording import CHANGED, OTHER_TRACK, check_samples, notes_on_length, state_of
from pipelines.audio.sound import Extent, Sound
from pipelines.audio.soundfile_reader import read_blocks_with_soundfile
from pipelines.audio.waveform import SAMPLE_RATE
from pipelines.command import InputError
from pipelines.files import stop_on_unreadable

BLOCK_SECONDS = 10.0
"""What is decoded at a time."""

# Where the first track is silent for so long, another one is read.
_SEARCHED_SECONDS = 60.0


class Block(NamedTuple):
    """A stretch of a recording.

    Attributes:
      waveform: [num_samples] float32 at 16 kHz; the last block may be empty.
      notes: What was noticed since the last block, in sentences.
    """

    waveform: np.ndarray
    notes: tuple[str, ...] = ()


def read_blocks(path: Path, block_seconds: float = BLOCK_SECONDS) -> Iterator[Block]:
    """Reads a recording, or the sound of a video, block by block, in this process.

    Decoders may end it at a damaged file: call this by `pipelines.isolation`.

    Args:
      path: Its content decides how it is read, not its suffix.
      block_seconds: About the length of a block.

    Raises:
      NoSoundError: A video without sound.
      InputError: A file that is missing, cut off as its header shows, of no known kind or empty; or, from a block on,
        one that holds samples that no recording has.
    """
    stop_on_unreadable(path)
    header, before = read_header(path), state_of(path)
    if header is not None and header.length is Length.CUT:
        raise InputError(f"{path} is cut off: it ends before the length that it states; copy it again.")
    sounds = read_blocks_with_soundfile(path, header, block_seconds) or _decoded(path, block_seconds)
    yield from _resampled(path, header, sounds)
    if state_of(path) != before:
        yield Block(np.zeros(0, np.float32), (CHANGED,))


def _decoded(path: Path, block_seconds: float) -> Iterator[Sound]:
    """Decodes with PyAV the first track that is not silent for long."""
    track, start = 0, Extent(end=_SEARCHED_SECONDS)
    num_tracks = read_track(path, Extent(end=1.0)).num_tracks
    if num_tracks > 1:
        has_sound = (bool(np.ptp(read_track(path, start, one).channels)) for one in range(num_tracks))
        track = next((one for one, found in enumerate(has_sound) if found), 0)
    for sound in read_track_in_blocks(path, block_seconds, track):
        yield sound._replace(notes=(*sound.notes, OTHER_TRACK)) if track and sound.notes else sound


def _resampled(path: Path, header: FileHeader | None, sounds: Iterator[Sound]) -> Iterator[Block]:
    """Mixes and resamples blocks; each note is told once."""
    import soxr

    stream, told, num_samples, last = None, set[str](), 0, None
    try:
        for sound in sounds:
            check_samples(path, sound.channels)
            last = sound
            mono, notes = mixed(sound.channels, sound.names) if len(sound.channels) else (np.zeros(0, np.float32), ())
            if stream is None:
                stream = soxr.ResampleStream(sound.sample_rate, SAMPLE_RATE, 1, dtype="float32")
            new = [note for note in dict.fromkeys((*sound.notes, *notes)) if note not in told]
            told.update(new)
            block = Block(mono if sound.sample_rate == SAMPLE_RATE else stream.resample_chunk(mono), tuple(new))
            num_samples += len(block.waveform)
            yield block
    except InputError as error:
        if not num_samples:
            raise
        yield Block(np.zeros(0, np.float32), (f"what could be read ends here: {error}",))
    if stream is not None and last is not None:
        tail = np.zeros(0, np.float32)
        rest = tail if last.sample_rate == SAMPLE_RATE else stream.resample_chunk(tail, last=True)
        num_samples += len(rest)
        yield Block(rest, notes_on_length(header, last))
    if not num_samples:
        raise InputError(f"{path} holds no samples: record it again or remove it.")
