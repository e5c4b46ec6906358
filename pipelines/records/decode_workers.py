"""Decodes recordings and videos in worker processes, which start at once because they do without TensorFlow."""

import collections
import concurrent.futures.process
import contextlib
import functools
import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelines import processes
from pipelines.audio.silence import TRIM_DB
from pipelines.clips import Clip, inspected, read_clip
from pipelines.command import InputError
from pipelines.utterance import Segment, Utterance
from pipelines.video import VideoSettings

Decoded = list[tuple[Utterance, Clip | str]]
"""A batch: each utterance with its clip, or with the reason why it cannot be read."""

_Future = concurrent.futures.Future[list[Clip | str]]

_Files = tuple[Path | None, Path | None, Segment | None]
"""A recording, a video, and what is read of both."""

_Read = Callable[..., Clip]
"""From `_Files` to a clip, as `read_clip`."""


@contextlib.contextmanager
def decoding(
    batches: Sequence[list[Utterance]],
    num_workers: int | None = None,
    video_settings: VideoSettings | None = None,
    trim_db: float = TRIM_DB,
    read: _Read | None = None,
) -> Iterator[Iterator[Decoded]]:
    """Decodes batches of utterances in worker processes, in order, a few batches ahead of the one that is taken.

    Args:
      batches: Utterances; those without a recording decode to no samples.
      num_workers: Processes; None: one a core.
      video_settings: Which frames of videos are read; None: none.
      trim_db: Where the silent ends of a clip begin: `FrontEnd.silence_db`.
      read: From a recording, a video and a segment to a clip; None: `read_clip` with these settings.

    Returns:
      A context whose value iterates over the decoded batches.

    Raises:
      InputError: A process was killed.
    """
    read = read or functools.partial(read_clip, video_settings=video_settings, trim_db=trim_db)
    num_workers = min(num_workers or processes.num_cores(), max(1, len(batches)))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, context, processes.end_with_parent) as pool:
        try:
            with processes.ctrl_c_held():
                waiting = collections.deque(_submit(pool, batch, read) for batch in batches[: 2 * num_workers])
            yield _in_order(pool, batches, waiting, read)
        except concurrent.futures.process.BrokenProcessPool:
            raise InputError(
                "a decoding process was killed, perhaps for lack of memory: run the same command again, which"
                " continues where it stopped, with fewer --workers."
            ) from None
        finally:
            # Waits for the clips in hand: a pool that still ends while the interpreter exits may print a traceback.
            pool.shutdown(wait=True, cancel_futures=True)


def decoded_here(
    batches: Sequence[list[Utterance]], video_settings: VideoSettings | None = None, trim_db: float = TRIM_DB
) -> Iterator[Decoded]:
    """Decodes batches of utterances in this process, as `decoding` does in others."""
    read = functools.partial(read_clip, video_settings=video_settings, trim_db=trim_db)
    for batch in batches:
        yield list(zip(batch, _decode_all([(one.audio, one.video, one.segment) for one in batch], read), strict=True))


def _submit(pool: concurrent.futures.Executor, batch: list[Utterance], read: _Read) -> _Future:
    return pool.submit(_decode_all, [(one.audio, one.video, one.segment) for one in batch], read)


def _in_order(
    pool: concurrent.futures.Executor,
    batches: Sequence[list[Utterance]],
    waiting: collections.deque[_Future],
    read: _Read,
) -> Iterator[Decoded]:
    following = iter(batches[len(waiting) :])
    for batch in batches:
        decoded = waiting.popleft().result()
        waiting.extend(_submit(pool, ahead, read) for ahead in itertools.islice(following, 1))
        yield list(zip(batch, decoded, strict=True))


def _decode_all(files: Sequence[_Files], read: _Read) -> list[Clip | str]:
    return [_decode(*of_utterance, read) for of_utterance in files]


def _decode(audio_path: Path | None, video_path: Path | None, segment: Segment | None, read: _Read) -> Clip | str:
    """Returns the clip, inspected, without samples where there is no audio, or the reason why it cannot be read."""
    try:
        clip = read(audio_path, video_path, segment=segment)
    except InputError as error:
        return str(error)
    return inspected(clip)
