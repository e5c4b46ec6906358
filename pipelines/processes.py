"""Worker processes: how many there are, and when they end."""

import contextlib
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

MOST_SIDE_BY_SIDE = 2
"""Trainings. Two of one core each took 0.6 times as long as one after the other on two cores; each needs some 2 GB."""


def num_cores() -> int:
    """Counts the cores that this process may use, or all where the system does not say which (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def ctrl_c_held() -> Iterator[None]:
    """Lets processes that are started inside ignore Ctrl-C, which a terminal sends to all: this one ends them."""
    # It is started with the first process, and would let the signal through again.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Makes a worker end with its parent, even one that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def limit_threads(number: int) -> None:
    """Lets the libraries of numbers in this process use so many threads; to be called before they are imported."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(number)


def begin_worker(threads: int, log: Path, mode: str = "a") -> None:
    """Makes this process a worker that ends with its parent and prints to a file.

    Args:
      threads: As `limit_threads` takes them.
      log: The file.
      mode: "a": what it holds stays; "w": it is written anew.
    """
    end_with_parent()
    limit_threads(threads)
    with log.open(mode, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
