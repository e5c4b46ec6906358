"""What a predictor takes: files, encoded bytes and samples in memory, each read as `prepare` reads recordings."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines import audio, isolation
from pipelines.audio.recording import Recording
from pipelines.clips import Clip, read_clip, read_inspected
from pipelines.command import InputError
from pipelines.utterance import Segment
from pipelines.video import VideoSettings

MAX_SECONDS = 30.0
"""A longer recording is not one utterance: models are trained on clips of seconds."""

Source = Path | str | bytes | np.ndarray
"""The path of a recording or video, the content of one, or samples [num_samples] or [num_samples, num_channels]."""

_ADVICE = "predict it over time with --timeline, or cut it up"


def read_source(
    source: Source | None, sample_rate: float | None, video_settings: VideoSettings | None, trim_db: float
) -> Clip:
    """Reads audio and, where they are asked for, frames.

    Args:
      source: As `Source` says; None: nothing is there.
      sample_rate: Hz, of samples alone.
      video_settings: Which frames are read; None: none.
      trim_db: Where the silent ends of the spoken part begin: `FrontEnd.silence_db`.

    Raises:
      InputError: What cannot be read, is too long, or lacks its sample rate.
    """
    if source is None:
        return Clip(np.zeros(0, np.int16))
    if isinstance(source, np.ndarray):
        if sample_rate is None:
            raise InputError("samples do not say how fast they were taken: give sample_rate, in Hz.")
        return _of_samples(source, sample_rate)
    if sample_rate is not None:
        raise InputError("sample_rate is for samples: a file says its own, so leave it out.")
    if isinstance(source, bytes):
        with as_file(source) as path:
            return read_utterance(path, path, None, video_settings, trim_db)
    return read_utterance(Path(source), Path(source), None, video_settings, trim_db)


def read_utterance(
    audio_path: Path | None,
    video_path: Path | None,
    segment: Segment | None,
    video_settings: VideoSettings | None,
    trim_db: float,
) -> Clip:
    """Reads the files of an utterance as `read_clip` does, of at most `MAX_SECONDS`."""
    try:
        return read_clip(audio_path, video_path, video_settings, trim_db, MAX_SECONDS, segment)
    except audio.TooLongError as error:
        raise InputError(error.sentence(_ADVICE)) from None


def _of_samples(samples: np.ndarray, sample_rate: float) -> Clip:
    try:
        return clip_of(audio.from_samples(samples, sample_rate, longest_seconds=MAX_SECONDS))
    except audio.TooLongError as error:
        raise InputError(error.sentence(_ADVICE)) from None


def clip_of(recording: Recording) -> Clip:
    """Makes the clip of a recording without pictures."""
    return Clip(recording.waveform, None, recording.peak, recording.bits, recording.notes)


def read_upload(
    content: bytes,
    video_settings: VideoSettings | None,
    trim_db: float,
    *,
    longest_seconds: float = MAX_SECONDS,
    longest_wait: float | None = None,
    decoders: isolation.Processes | None = None,
) -> Clip:
    """Reads the content of a file in a process that is kept for that: its bytes can harm nothing else.

    Args:
      content: Of a recording or video.
      video_settings, trim_db: As `read_source` takes them.
      longest_seconds: What is longer is refused.
      longest_wait: Seconds that decoding may take; None: as many as it wants.
      decoders: The processes; None: the one that commands share.

    Raises:
      InputError: What cannot be read, is too long, or takes too long.
    """
    with as_file(content) as path:
        return (decoders or isolation).read_file(
            read_inspected, path, path, video_settings, trim_db, longest_seconds, longest_wait=longest_wait
        )


@contextlib.contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """Lends the content of a file under a name that nobody chose; decoders in another process want a file.

    Raises:
      InputError: What the block raises, with "the recording" in place of that name.
    """
    with tempfile.NamedTemporaryFile(prefix="emotion-tf-") as file:
        file.write(content)
        file.flush()
        try:
            yield Path(file.name)
        except audio.TooLongError as error:
            _, length, longest = error.args
            raise audio.TooLongError("the recording", length, longest) from None
        except InputError as error:
            raise InputError(str(error).replace(file.name, "the recording")) from None
