"""What is read of the files of one utterance: its audio, and frames of the video where something is spoken."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.audio.quality import Quality
from pipelines.audio.silence import TRIM_DB
from pipelines.audio.waveform import SAMPLE_RATE, NoSoundError, decode
from pipelines.command import InputError
from pipelines.utterance import Segment
from pipelines.video import Frames, VideoSettings, length_of, read_frames, spoken_span

_ROUNDING_SECONDS = 0.1
"""How far a segment may reach behind the end of its file: people and programs round."""


class Clip(NamedTuple):
    """What an utterance holds: waveform [num_samples] int16, and frames of its video; None where none are read.

    Where it was inspected, `quality` says what of the waveform.
    """

    waveform: np.ndarray
    frames: Frames | None = None
    quality: Quality | None = None


def read_clip(
    audio_path: Path | None,
    video_path: Path | None,
    video_settings: VideoSettings | None,
    trim_db: float = TRIM_DB,
    segment: Segment | None = None,
) -> Clip:
    """Reads audio and video of one utterance, the video where something is spoken.

    Args:
      audio_path: A recording, a video for its audio, or None.
      video_path: A video for its frames, or None.
      video_settings: Which frames are read; None: none.
      trim_db: Where the silent ends of the spoken part begin: `FrontEnd.silence_db`.
      segment: What is read of both files; None: all.

    Raises:
      InputError: A file that cannot be read; a video without audio where no frames are read; a segment that lies
        outside of its file.
    """
    has_frames = video_settings is not None and video_path is not None
    try:
        waveform = np.zeros(0, np.int16) if audio_path is None else read_waveform(audio_path, segment)
    except NoSoundError:
        if not has_frames:
            raise
        waveform = np.zeros(0, np.int16)
    if video_settings is None or video_path is None:
        return Clip(waveform)
    span = spoken_span(waveform, trim_db)
    if segment is not None:
        if not len(waveform):
            _stop_outside(segment, video_path, length_of(video_path)[1])
        span = _span_in_file(span, segment)
    return Clip(waveform, read_frames(video_path, video_settings, span))


def read_waveform(path: Path, segment: Segment | None = None) -> np.ndarray:
    """Reads a recording, or a segment of one; several segments of one file decode it once if they follow each other.

    Returns:
      waveform [num_samples] int16 at 16 kHz.

    Raises:
      InputError: A file that cannot be read, or a segment that lies outside of it.
    """
    if segment is None:
        return decode(path)
    whole = _last_decoded(path, path.stat().st_mtime_ns if path.exists() else 0)
    _stop_outside(segment, path, len(whole) / SAMPLE_RATE)
    end = len(whole) if segment.end is None else round(segment.end * SAMPLE_RATE)
    # A copy: a part of the whole would keep all of it in memory.
    return whole[round(segment.start * SAMPLE_RATE) : end].copy()


@functools.lru_cache(maxsize=1)
def _last_decoded(path: Path, modified: int) -> np.ndarray:
    """Decodes a file, which is kept until another one, or another state of it, is decoded."""
    return decode(path)


def _stop_outside(segment: Segment, path: Path, seconds: float) -> None:
    if segment.start >= seconds or (segment.end or 0.0) > seconds + _ROUNDING_SECONDS:
        raise InputError(
            f"the segment {segment} of {path} lies outside of the file, which ends after {seconds:.2f} s: correct start"
            " and end, which are seconds."
        )


def _span_in_file(span: tuple[float, float] | None, segment: Segment) -> tuple[float, float]:
    """Moves the spoken part of a segment, in seconds, to where it stands in the file; None: all of the segment."""
    begin, end = span or (0.0, math.inf if segment.end is None else segment.end - segment.start)
    return segment.start + begin, segment.start + end
