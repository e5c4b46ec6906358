"""Calls functions in a process of their own, which may end at any time: decoders of damaged files do that.

The process is started at the first call and kept for the next ones. It is started by its command line, not by
multiprocessing, which would run the main script of the user a second time. What C libraries write about a file goes
nowhere: callers get an exception.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pipelines.command import InputError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_CODE = "import sys; sys.path[:] = {path!r}; from pipelines import isolation; isolation.serve({fileno}, {parent})"

# Of the parent: one that was killed does not close its end while another process holds a copy of it.
_SECONDS_BETWEEN_LOOKS = 1.0


class ProcessEndedError(RuntimeError):
    """The process ended during a call."""


def call(function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """Calls a function in the other process, and waits for what it returns.

    Args:
      function: Of a module, for it is found there by its name.
      arguments, options: Its own.

    Raises:
      ProcessEndedError: The process ended; the next call starts another one.
      InputError: As the function raises it; any other exception of it becomes a RuntimeError that shows where.
    """
    return _call(function, arguments, options)


def _call(
    function: Callable[..., _T], arguments: tuple[Any, ...], options: dict[str, Any], longest_wait: float | None = None
) -> _T:
    with _lock:
        return _running().call(function, arguments, options, longest_wait)


def read_file(function: Callable[..., _T], path: Path, *arguments: Any, longest_wait: float | None = None) -> _T:
    """Calls a function that reads a file, its first argument.

    Args:
      function: Of a module.
      path: The file.
      arguments: Further ones.
      longest_wait: Seconds after which the process is ended; None: never.

    Raises:
      InputError: As the function raises it, or it ended the process, or took too long.
    """
    try:
        return _call(function, (path, *arguments), {}, longest_wait)
    except _TookTooLongError:
        raise InputError(
            f"{path} takes longer than {longest_wait:g} s to decode: convert it with another program, or leave it out."
        ) from None
    except ProcessEndedError as error:
        raise InputError(
            f"{path} ended the process that decodes it ({error}): it is damaged, or memory ran out; convert it with"
            " another program, or leave it out."
        ) from None


def iterate_file(
    function: Callable[..., Iterator[_T]], path: Path, *arguments: Any, longest_wait: float | None = None
) -> Iterator[_T]:
    """Iterates in the other process over a file; the next item is made there while the last one is used here.

    Args:
      function: Of a module; takes the path and the arguments and returns an iterator.
      path: The file.
      arguments: Further ones.
      longest_wait: Seconds that one item may take; None: as many as it wants.

    Raises:
      InputError: As the function raises it, or something ended the process.
    """
    key = read_file(_begin, path, function, arguments, longest_wait=longest_wait)
    read_next = functools.partial(read_file, _next_item, path, key, longest_wait=longest_wait)
    with ThreadPoolExecutor(1) as pool:
        try:
            ahead = pool.submit(read_next)
            while found := ahead.result():
                ahead = pool.submit(read_next)
                yield found[0]
        finally:
            # Behind what is being made: the pool has one thread.
            pool.submit(call, _end_iterator, key)


_iterators: dict[tuple[int, int], Iterator[Any]] = {}
_counter = itertools.count()


def _begin(path: Path, function: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> tuple[int, int]:
    """Starts an iterator in this process; a later process knows no key of it."""
    key = (os.getpid(), next(_counter))
    _iterators[key] = function(path, *arguments)
    return key


def _next_item(path: Path, key: tuple[int, int]) -> tuple[Any, ...]:
    """Returns the next item in a tuple, which is empty at the end."""
    if key not in _iterators:
        raise InputError(f"{path}: the process that decodes it was ended by another file; give it again.")
    return tuple(itertools.islice(_iterators[key], 1))


def _end_iterator(key: tuple[int, int]) -> None:
    _iterators.pop(key, None)


class _TookTooLongError(ProcessEndedError):
    """It was ended for that."""


class _Process:
    """A started process, and this end of the pipe to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            code = _CODE.format(path=sys.path, fileno=theirs.fileno(), parent=self.owner)
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    @property
    def is_alive(self) -> bool:
        """Whether it can be called: a copy that a fork made cannot."""
        return self.owner == os.getpid() and self._process.poll() is None

    def call(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        longest_wait: float | None = None,
    ) -> Any:
        """Does what the function of the module does."""
        try:
            self._pipe.send((function, arguments, options))
            if not self._pipe.poll(longest_wait):
                raise _TookTooLongError
            value, error = self._pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise ProcessEndedError(f"exit status {self._process.returncode}") from None
        except BaseException:  # Ctrl-C: what it still sends would be taken for an answer to the next call.
            self.end()
            raise
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()


_lock = threading.Lock()
_process: _Process | None = None


def _running() -> _Process:
    global _process
    if _process is None or not _process.is_alive:
        _process = _Process()
    return _process


@atexit.register
def _end() -> None:
    if _process is not None and _process.is_alive:
        _process.end()


def serve(fileno: int, parent: int) -> None:
    """Answers calls until the parent closes its end of the pipe or ends; the main function of the process.

    Args:
      fileno: File descriptor of the pipe.
      parent: Id of the process that calls.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal sends Ctrl-C to all; the parent ends this one.
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
    pipe = Connection(fileno)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(_answer(*pipe.recv()))


def _answer(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, Exception | None]:
    try:
        return function(*arguments, **options), None
    except InputError as error:
        return None, error
    except Exception as error:
        return None, RuntimeError("".join(traceback.format_exception(error)))


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
