"""Calls functions in processes of their own, which may end at any time: decoders of damaged files do that.

A process is started at the first call and kept for the next ones. It is started by its command line, not by
multiprocessing, which would run the main script of the user a second time. What C libraries write about a file goes
nowhere: callers get an exception. Functions that are called there and call others by this module call them directly.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import multiprocessing
import os
import resource
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

_CODE = (
    "import sys; sys.path[:] = {path!r}; from pipelines import isolation;"
    " isolation.serve({fileno}, {parent}, {memory_bytes})"
)

# Of the parent: one that was killed does not close its end while another process holds a copy of it.
_SECONDS_BETWEEN_LOOKS = 1.0

_MIB = 2**20


class ProcessEndedError(RuntimeError):
    """The process ended during a call."""


class _TookTooLongError(ProcessEndedError):
    """It was ended for that."""


class _OutOfMemoryError(ProcessEndedError):
    """It was ended because the function asked for more memory than it may have."""


class Processes:
    """Processes in which functions are called, each one call at a time. Threads may share them.

    Args:
      count: How many calls run at once.
      memory_bytes: What each of them may allocate, its libraries included; None: as much as there is.
    """

    def __init__(self, count: int = 1, memory_bytes: int | None = None):
        self._seats = [_Seat(memory_bytes) for _ in range(count)]
        self._memory_bytes = memory_bytes
        self._freed = threading.Condition()
        atexit.register(self.end)

    def call(self, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Calls a function in another process, and waits for what it returns.

        Args:
          function: Of a module, for it is found there by its name.
          arguments, options: Its own.

        Raises:
          ProcessEndedError: The process ended; the next call starts another one.
          InputError: As the function raises it; any other exception of it becomes a RuntimeError that shows where.
        """
        return self._call(None, function, arguments, options)

    def read_file(
        self, function: Callable[..., _T], path: Path, *arguments: Any, longest_wait: float | None = None
    ) -> _T:
        """Calls a function that reads a file, its first argument.

        Args:
          function: Of a module.
          path: The file.
          arguments: Further ones.
          longest_wait: Seconds after which the process is ended; None: never.

        Raises:
          InputError: As the function raises it, or it ended the process, or took too long or too much memory.
        """
        return self._read_file(None, function, path, arguments, longest_wait)

    def iterate_file(
        self, function: Callable[..., Iterator[_T]], path: Path, *arguments: Any, longest_wait: float | None = None
    ) -> Iterator[_T]:
        """Iterates in another process over a file; the next item is made there while the last one is used here.

        Args:
          function: Of a module; takes the path and the arguments and returns an iterator.
          path: The file.
          arguments: Further ones.
          longest_wait: Seconds that one item may take; None: as many as it wants.

        Raises:
          InputError: As the function raises it, or something ended the process.
        """
        seat = min(self._seats, key=lambda one: one.num_iterators)
        seat.num_iterators += 1
        try:
            key = self._read_file(seat, _begin, path, (function, arguments), longest_wait)
            read_next = functools.partial(self._read_file, seat, _next_item, path, (key,), longest_wait)
            with ThreadPoolExecutor(1) as pool:
                try:
                    ahead = pool.submit(read_next)
                    while found := ahead.result():
                        ahead = pool.submit(read_next)
                        yield found[0]
                finally:
                    # Behind what is being made: the pool has one thread.
                    pool.submit(self._call, seat, _end_iterator, (key,), {})
        finally:
            seat.num_iterators -= 1

    def end(self) -> None:
        """Ends the processes; the next call starts them again."""
        for seat in self._seats:
            seat.end()

    def _read_file(
        self,
        seat: _Seat | None,
        function: Callable[..., _T],
        path: Path,
        arguments: tuple[Any, ...],
        longest_wait: float | None,
    ) -> _T:
        try:
            return self._call(seat, function, (path, *arguments), {}, longest_wait)
        except _TookTooLongError:
            raise InputError(
                f"{path} takes longer than {longest_wait:g} s to decode: convert it with another program, or leave it"
                " out."
            ) from None
        except _OutOfMemoryError:
            share = f"the {self._memory_bytes / _MIB:.0f} MiB of memory" if self._memory_bytes else "the memory"
            raise InputError(
                f"{path} does not fit into {share} that its decoding may take: convert it with another program, or"
                " leave it out."
            ) from None
        except ProcessEndedError as error:
            raise InputError(
                f"{path} ended the process that decodes it ({error}): it is damaged, or memory ran out; convert it with"
                " another program, or leave it out."
            ) from None

    def _call(
        self,
        seat: _Seat | None,
        function: Callable[..., _T],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        longest_wait: float | None = None,
    ) -> _T:
        if _is_inside:
            return function(*arguments, **options)
        with self._lent(seat) as lent:
            return lent.running().call(function, arguments, options, longest_wait)

    @contextlib.contextmanager
    def _lent(self, wanted: _Seat | None) -> Iterator[_Seat]:
        """Waits until a process, or a certain one, is free, and lends it."""
        with self._freed:
            seats = self._seats if wanted is None else [wanted]
            while (seat := next((one for one in seats if not one.is_taken), None)) is None:
                self._freed.wait()
            seat.is_taken = True
        try:
            yield seat
        finally:
            with self._freed:
                seat.is_taken = False
                self._freed.notify_all()


class _Seat:
    """A place for one process at a time."""

    def __init__(self, memory_bytes: int | None):
        self._memory_bytes = memory_bytes
        self._process: _Process | None = None
        self.is_taken, self.num_iterators = False, 0

    def running(self) -> _Process:
        """Returns its process, a new one where the last one ended."""
        if self._process is None or not self._process.is_alive:
            self._process = _Process(self._memory_bytes)
        return self._process

    def end(self) -> None:
        if self._process is not None and self._process.is_alive:
            self._process.end()


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


class _Process:
    """A started process, and this end of the pipe to it."""

    def __init__(self, memory_bytes: int | None) -> None:
        self.owner = os.getpid()
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            code = _CODE.format(path=sys.path, fileno=theirs.fileno(), parent=self.owner, memory_bytes=memory_bytes)
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
        if isinstance(error, MemoryError):  # What is left of its memory is in pieces.
            self.end()
            raise _OutOfMemoryError
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()


_shared = Processes()
"""One for all that reads in this process, but for servers, which have more of them."""

call, read_file, iterate_file = _shared.call, _shared.read_file, _shared.iterate_file

_is_inside = False
"""Whether this is such a process."""


def serve(fileno: int, parent: int, memory_bytes: int | None = None) -> None:
    """Answers calls until the parent closes its end of the pipe or ends; the main function of the process.

    Args:
      fileno: File descriptor of the pipe.
      parent: Id of the process that calls.
      memory_bytes: What it may allocate; None: as much as there is.
    """
    global _is_inside
    _is_inside = True
    if memory_bytes is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
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
    except (InputError, MemoryError) as error:
        return None, error if isinstance(error, InputError) else MemoryError()
    except Exception as error:
        return None, RuntimeError("".join(traceback.format_exception(error)))


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
