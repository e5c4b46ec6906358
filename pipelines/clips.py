"""What is read of the files of one utterance: its sound, and the pictures of its spoken part."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.audio.silence import TRIM_DB
from pipelines.audio.waveform import NoSoundError, decode
from pipelines.video import Frames, VideoSettings, read_frames, spoken_span


class Clip(NamedTuple):
    """What an utterance holds: waveform [num_samples] int16, and frames of its video; None where none are seen."""

    waveform: np.ndarray
    frames: Frames | None = None


def read_clip(
    audio_path: Path | None, video_path: Path | None, seen: VideoSettings | None, trim_db: float = TRIM_DB
) -> Clip:
    """Reads sound and pictures of one utterance, these of its spoken part.

    Args:
      audio_path: A recording, a video for its sound, or None.
      video_path: A video for its pictures, or None.
      seen: What of the pictures is seen; None: nothing.
      trim_db: Where the silent ends of the spoken part begin: `FrontEnd.silence_db`.

    Raises:
      InputError: What cannot be read; a video without sound where nothing is seen.
    """
    is_seen = seen is not None and video_path is not None
    try:
        waveform = np.zeros(0, np.int16) if audio_path is None else decode(audio_path)
    except NoSoundError:
        if not is_seen:
            raise
        waveform = np.zeros(0, np.int16)
    if seen is None or video_path is None:
        return Clip(waveform)
    return Clip(waveform, read_frames(video_path, seen, spoken_span(waveform, trim_db)))
