"""Decodes recordings in worker processes, which start in a fraction of a second because they do without TensorFlow."""

import collections
import concurrent.futures.process
import contextlib
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipelines import audio, processes
from pipelines.command import InputError
from pipelines.utterance import Utterance

Decoded = list[tuple[Utterance, np.ndarray | str]]
"""A batch: each utterance with its waveform [num_samples] int16, or with the reason why it cannot be read."""

_Future = concurrent.futures.Future[list[np.ndarray | str]]


@contextlib.contextmanager
def decoding(batches: Sequence[list[Utterance]], num_workers: int | None = None) -> Iterator[Iterator[Decoded]]:
    """Decodes batches of utterances in worker processes, in order, a few batches ahead of whoever takes them.

    Args:
      batches: Utterances; those without a recording decode to no samples.
      num_workers: Processes; None: one a core.

    Returns:
      A context whose value iterates over the decoded batches.

    Raises:
      InputError: A process was killed.
    """
    num_workers = min(num_workers or processes.num_cores(), max(1, len(batches)))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, context, processes.end_with_parent) as pool:
        try:
            with processes.ctrl_c_held():
                waiting = collections.deque(_submit(pool, batch) for batch in batches[: 2 * num_workers])
            yield _in_order(pool, batches, waiting)
        except concurrent.futures.process.BrokenProcessPool:
            raise InputError(
                "a decoding process was killed, perhaps for lack of memory: run the same command again, which"
                " continues where it stopped, with fewer --workers."
            ) from None
        finally:
            # Waits for the clips in hand: a pool that still ends while the interpreter exits may print a traceback.
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: concurrent.futures.Executor, batch: list[Utterance]) -> _Future:
    return pool.submit(_decode_all, [utterance.audio for utterance in batch])


def _in_order(
    pool: concurrent.futures.Executor, batches: Sequence[list[Utterance]], waiting: collections.deque[_Future]
) -> Iterator[Decoded]:
    following = iter(batches[len(waiting) :])
    for batch in batches:
        decoded = waiting.popleft().result()
        waiting.extend(_submit(pool, ahead) for ahead in itertools.islice(following, 1))
        yield list(zip(batch, decoded, strict=True))


def _decode_all(paths: Sequence[Path | None]) -> list[np.ndarray | str]:
    return [_decode(path) for path in paths]


def _decode(path: Path | None) -> np.ndarray | str:
    """Returns the waveform, an empty one where there is no recording, or the reason why it cannot be read."""
    try:
        return np.zeros(0, np.int16) if path is None else audio.decode(path)
    except InputError as error:
        return str(error)
