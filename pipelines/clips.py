"""What is read of the files of one utterance: its audio, and frames of the video where something is spoken."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.audio.quality import Quality
from pipelines.audio.silence import TRIM_DB
from pipelines.audio.waveform import NoSoundError, decode
from pipelines.video import Frames, VideoSettings, read_frames, spoken_span


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
) -> Clip:
    """Reads audio and video of one utterance, the video where something is spoken.

    Args:
      audio_path: A recording, a video for its audio, or None.
      video_path: A video for its frames, or None.
      video_settings: Which frames are read; None: none.
      trim_db: Where the silent ends of the spoken part begin: `FrontEnd.silence_db`.

    Raises:
      InputError: A file that cannot be read; a video without audio where no frames are read.
    """
    has_frames = video_settings is not None and video_path is not None
    try:
        waveform = np.zeros(0, np.int16) if audio_path is None else decode(audio_path)
    except NoSoundError:
        if not has_frames:
            raise
        waveform = np.zeros(0, np.int16)
    if video_settings is None or video_path is None:
        return Clip(waveform)
    return Clip(waveform, read_frames(video_path, video_settings, spoken_span(waveform, trim_db)))
