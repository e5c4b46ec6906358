"""What is read of the files of one utterance: its audio, and frames of the video where something is spoken."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines import isolation
from pipelines.audio.recording import LONGEST_SECONDS, Recording, read_recording
from pipelines.audio.silence import TRIM_DB
from pipelines.audio.sound import Extent, NoSoundError
from pipelines.video import Frames, VideoSettings, length_of, read_frames, spoken_span


class Clip(NamedTuple):
    """What an utterance holds.

    Attributes:
      waveform: [num_samples] int16 at 16 kHz, at one level; none without audio.
      frames: Of its video; None where none are read.
      peak: Of the recording as it was, as a share of full scale.
      notes: What was noticed while reading, in sentences.
    """

    waveform: np.ndarray
    frames: Frames | None = None
    peak: float = 0.0
    notes: tuple[str, ...] = ()


def read_clip(
    audio_path: Path | None,
    video_path: Path | None,
    video_settings: VideoSettings | None,
    trim_db: float = TRIM_DB,
    longest_seconds: float = LONGEST_SECONDS,
) -> Clip:
    """Reads audio and video of one utterance, the video where something is spoken.

    Args:
      audio_path: A recording, a video for its audio, or None.
      video_path: A video for its frames, or None; where it is the recording, too, it may hold sound alone.
      video_settings: Which frames are read; None: none.
      trim_db: Where the silent ends of the spoken part begin: `FrontEnd.silence_db`.
      longest_seconds: What is longer is refused.

    Raises:
      InputError: A file that cannot be read, or is too long; a video without audio where no frames are read.
    """
    has_frames = video_settings is not None and video_path is not None
    recording = Recording(np.zeros(0, np.int16), 0.0, has_pictures=True)
    try:
        if audio_path is not None:
            recording = read_recording(audio_path, longest_seconds=longest_seconds)
    except NoSoundError:
        if not has_frames:
            raise
    clip = Clip(recording.waveform, None, recording.peak, recording.notes)
    if video_settings is None or video_path is None or (video_path == audio_path and not recording.has_pictures):
        return clip
    span = spoken_span(clip.waveform, trim_db)
    extent = Extent(longest=longest_seconds)
    return clip._replace(frames=isolation.read_file(_read_frames, video_path, video_settings, span, extent))


def _read_frames(path: Path, settings: VideoSettings, span: tuple[float, float] | None, extent: Extent) -> Frames:
    """Reads frames in this process; without sound, whose length was checked, the pictures may be too long."""
    if span is None:
        extent.check(path, length_of(path)[1])
    return read_frames(path, settings, span)
