"""What the command lines share: one sentence for a user's mistake, and a quiet start of TensorFlow."""

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipelines import tensorflow_runtime


class InputError(ValueError):
    """A user's mistake. Its text is one sentence that says what is wrong, where, and what to do."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came."""


_sigterms: list[int] = []


def run_command(
    main: Callable[[list[str] | None], None], argv: list[str] | None = None, *, is_server: bool = False
) -> int:
    """Runs the main function of a command line and turns users' mistakes into sentences.

    Args:
      main: Takes the arguments (None: those of the process) and raises `InputError` on bad input.
      argv: Arguments to hand on.
      is_server: Leaves SIGTERM to it, which finishes what is under way.

    Returns:
      The exit status: 0, 1 after a mistake or a full disk, 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        with contextlib.nullcontext() if is_server else _interrupted_by_sigterm():
            main(argv)
    except InputError as error:
        return _complain(str(error), 1)
    except TerminatedError:
        return _complain("terminated; the same command again continues where it stopped.", 143)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command again continues where it stopped.", 130)
    except BrokenPipeError:
        # The reader of our output (head, less) has ended: there is nowhere to complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not is_disk_full(error):
            raise
        reason = str(error).partition("\n")[0]
        return _complain(f"the disk is full ({reason}); free some space and run the same command again.", 1)
    return 0


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM, by which Slurm, Kubernetes, systemd and `kill` end a command, interrupt it as Ctrl-C does.

    Not a worker, which its parent ends by that signal, and not where something else handles or ignores it.

    Raises:
      TerminatedError: It came.
    """
    is_worker = multiprocessing.parent_process() is not None
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_worker or not is_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        _sigterms.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:  # Not by its kind: what Ray raises then is its own one.
        stop_if_terminated()
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _sigterms.clear()


def stop_if_terminated() -> None:
    """Makes sure that SIGTERM has not come: Python ignores what is raised while an object is being deleted.

    Raises:
      TerminatedError: It has.
    """
    if _sigterms:
        raise TerminatedError from None


def is_disk_full(error: BaseException) -> bool:
    """Finds out whether an error, or a cause of it, is a full disk, in Python's words or in TensorFlow's."""
    cause: BaseException | None = error
    while cause is not None:
        is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_full or "No space left on device" in str(cause) or "Disk quota exceeded" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def make_folder(folder: Path, flag: str) -> None:
    """Makes a folder to write to.

    Raises:
      InputError: It cannot be made or written to; names the flag that takes another one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InputError(f"{folder} cannot be made ({error.strerror}): give another folder to {flag}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written to: give another folder to {flag}, or allow it.")


@contextlib.contextmanager
def folder_for(folder: Path, flag: str) -> Iterator[None]:
    """Makes a folder to write to before long work; where that fails, what was made and is still empty goes again.

    Raises:
      InputError: As `make_folder`.
    """
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder, flag)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # The first that holds something stays, and those above it.
            for path in absent:
                path.rmdir()
        raise


def import_tensorflow(*, with_keras: bool = True) -> None:
    """Imports TensorFlow without the dozen lines that it prints about this machine's processor and missing GPUs.

    Set the environment variable TF_CPP_MIN_LOG_LEVEL yourself (0: everything) to see them.

    Args:
      with_keras: Whether Keras and the Python of tensorflow-text are loaded, too; exported models need their ops alone.
    """
    # Processes that this one starts inherit the 3, and print as little.
    is_loud = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "3"
    with contextlib.nullcontext() if is_loud else silent_stderr():
        with contextlib.nullcontext() if with_keras else tensorflow_runtime.keras_postponed():
            import tensorflow as tf
        if with_keras:
            import tensorflow_text  # noqa: F401  (an exported model needs its ops)
        else:
            tensorflow_runtime.load_text_ops()
    if not is_loud:
        tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops what C++ writes to the file descriptor itself, as TensorFlow does before it reads the variable."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def progress_bar(total: int | None, description: str, unit: str, *, initial: int = 0, leave: bool = True) -> tqdm:
    """Makes a bar with the time left on stderr, drawn often on a terminal and now and then in a file.

    Where the total is not known (None) it counts.
    """
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=description, unit=unit, initial=initial, leave=leave, mininterval=interval)


def _complain(sentence: str, status: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return status
