"""What is read of the files of one utterance: its audio, and frames of the video where something is spoken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines import isolation
from pipelines.audio.file_facts import FileFacts
from pipelines.audio.quality import Quality, inspect
from pipelines.audio.recording import LONGEST_SECONDS, Recording, read_recording
from pipelines.audio.silence import TRIM_DB
from pipelines.audio.sound import Extent, NoSamplesError, NoSoundError
from pipelines.audio.waveform import SAMPLE_RATE, is_silent
from pipelines.command import InputError
from pipelines.utterance import Segment
from pipelines.video import Frames, VideoSettings, read_frames, spoken_span
from pipelines.video_decoding import length_of

_ROUNDING_SECONDS = 0.1
"""How far a segment may reach behind the end of its file: people and programs round."""


class Clip(NamedTuple):
    """What an utterance holds.

    Attributes:
      waveform: [num_samples] int16 at 16 kHz, at one level; none without audio.
      frames: Of its video; None where none are read.
      peak: Of the recording as it was, as a share of full scale.
      bits: Of its samples.
      notes: What was noticed while reading, in sentences.
      quality: What was found in the waveform, where it was inspected.
      facts: Of the recording as it was, where they were asked for.
    """

    waveform: np.ndarray
    frames: Frames | None = None
    peak: float = 0.0
    bits: int = 16
    notes: tuple[str, ...] = ()
    quality: Quality | None = None
    facts: FileFacts | None = None

    @property
    def is_silent(self) -> bool:
        """Whether there is a recording, and it is too soft for speech."""
        return len(self.waveform) > 0 and is_silent(self.peak, self.bits)


def read_clip(
    audio_path: Path | None,
    video_path: Path | None,
    video_settings: VideoSettings | None,
    trim_db: float = TRIM_DB,
    longest_seconds: float = LONGEST_SECONDS,
    segment: Segment | None = None,
) -> Clip:
    """Reads audio and video of one utterance, the video where something is spoken.

    Args:
      audio_path: A recording, a video for its audio, or None.
      video_path: A video for its frames, or None; where it is the recording, too, it may hold sound alone.
      video_settings: Which frames are read; None: none.
      trim_db: Where the silent ends of the spoken part begin: `FrontEnd.silence_db`.
      longest_seconds: What is longer is refused.
      segment: What is read of both files; None: all.

    Raises:
      InputError: A file that cannot be read, or is too long; a video without audio where no frames are read; a segment
        that lies outside of its file.
    """
    has_frames = video_settings is not None and video_path is not None
    recording = Recording(np.zeros(0, np.int16), 0.0, has_pictures=True)
    try:
        if audio_path is not None:
            recording = read_segment(audio_path, segment, longest_seconds)
    except NoSoundError:
        if not has_frames:
            raise
    clip = Clip(recording.waveform, None, recording.peak, recording.bits, recording.notes)
    if video_settings is None or video_path is None or (video_path == audio_path and not recording.has_pictures):
        return clip
    span = spoken_span(clip.waveform, trim_db)
    if segment is not None and len(clip.waveform):
        span = _span_in_file(span, segment)
    return clip._replace(
        frames=isolation.read_file(_read_frames, video_path, video_settings, span, segment, longest_seconds)
    )


def read_inspected(*files: Any, **options: Any) -> Clip:
    """Reads a clip as `read_clip` does, with the same arguments, and inspects it."""
    return inspected(read_clip(*files, **options))


def inspected(clip: Clip) -> Clip:
    """Adds what is found in the waveform of a clip."""
    return clip._replace(quality=inspect(clip.waveform, clip.peak, clip.bits))


def read_segment(
    path: Path, segment: Segment | None, longest_seconds: float = LONGEST_SECONDS, *, with_facts: bool = False
) -> Recording:
    """Reads a segment of a recording as `read_recording` reads one; None: all of it.

    Raises:
      InputError: A file that cannot be read, or a segment that is too long or lies outside of it.
    """
    if segment is None:
        return read_recording(path, longest_seconds=longest_seconds, with_facts=with_facts)
    end = math.inf if segment.end is None else segment.end
    try:
        span = (segment.start, end)
        recording = read_recording(path, span=span, longest_seconds=longest_seconds, with_facts=with_facts)
    except NoSamplesError:
        raise _outside(segment, path, "before it begins") from None
    _stop_behind(segment, path, segment.start + len(recording.waveform) / SAMPLE_RATE)
    return recording


def _read_frames(
    path: Path, settings: VideoSettings, span: tuple[float, float] | None, segment: Segment | None, longest: float
) -> Frames:
    """Reads frames in this process; without sound, whose length was checked, the pictures may be too long."""
    if span is None:
        seconds = length_of(path).end
        if segment is not None:
            _stop_behind(segment, path, seconds)
            span = _span_in_file(None, segment)
        Extent(*(span or (0.0, math.inf)), longest).check(path, seconds)
    return read_frames(path, settings, span)


def _stop_behind(segment: Segment, path: Path, seconds: float) -> None:
    if segment.start >= seconds or (segment.end or 0.0) > seconds + _ROUNDING_SECONDS:
        raise _outside(segment, path, f"after {seconds:.2f} s")


def _outside(segment: Segment, path: Path, when: str) -> InputError:
    return InputError(
        f"the segment {segment} of {path} lies outside of the file, which ends {when}: correct start and end, which are"
        " seconds."
    )


def _span_in_file(span: tuple[float, float] | None, segment: Segment) -> tuple[float, float]:
    """Moves the spoken part of a segment, in seconds, to where it stands in the file; None: all of the segment."""
    begin, end = span or (0.0, math.inf if segment.end is None else segment.end - segment.start)
    return segment.start + begin, segment.start + end
