"""Tests of pipelines.command: a mistake ends in one sentence and a status, a fault in a traceback."""

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.command import (
    InputError,
    TerminatedError,
    folder_for,
    is_disk_full,
    run_command,
    stop_if_terminated,
)


def raising(error):
    def main(argv):
        raise error

    return main


def test_success_is_status_zero_and_silent(capsys):
    assert run_command(lambda argv: None, []) == 0
    assert capsys.readouterr() == ("", "")


def test_arguments_are_handed_on():
    received = []
    run_command(received.append, ["--help"])
    assert received == [["--help"]]


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (InputError("a.wav is empty: remove it."), 1, "error: a.wav is empty: remove it.\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command again continues where it stopped.\n"),
        (TerminatedError(), 143, "error: terminated; the same command again continues where it stopped.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "error: the disk is full"),
        (RuntimeError("write: No space left on device; a.tfrecord"), 1, "error: the disk is full"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_status(capsys, error, status, sentence):
    assert run_command(raising(error), []) == status
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(sentence)
    assert errors.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda argv: print(1 / 0), [])


def test_a_full_disk_is_found_behind_another_error():
    error = RuntimeError("cannot save")
    assert not is_disk_full(error)
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)
    assert not is_disk_full(OSError(errno.ENOENT, "No such file"))


def test_a_reader_that_leaves_causes_no_noise():
    code = (
        "import sys\nfrom pipelines.command import run_command\nsys.exit(run_command(lambda argv: print('x' * 10**6)))"
    )
    command = f'"{sys.executable}" -c "$0" | head -c 1'
    finished = subprocess.run(["bash", "-c", command, code], capture_output=True, text=True, check=True)
    assert finished.stdout == "x"
    assert finished.stderr == ""


def test_of_a_folder_that_nothing_was_written_to_nothing_stays(tmp_path):
    with pytest.raises(InputError), folder_for(tmp_path / "a" / "b", "--output"):
        raise InputError("no.")
    assert not [*tmp_path.iterdir()]
    with pytest.raises(FileNotFoundError), folder_for(tmp_path / "a" / "b", "--output"):
        (tmp_path / "a" / "b").rename(tmp_path / "a" / "file").joinpath("none").unlink()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    with pytest.raises(InputError), folder_for(tmp_path, "--output"):
        raise InputError("no.")
    with folder_for(tmp_path / "new", "--output"):
        pass
    assert (tmp_path / "new").is_dir()


WAITING = """
import sys, time
from pathlib import Path
from pipelines.command import run_command
from pipelines.files import replacing

def main(argv):
    with replacing(Path(argv[0])) as temporary:
        temporary.write_text("half")
        print("writes", flush=True)
        time.sleep(300)

sys.exit(run_command(main, sys.argv[1:], is_server="server" in sys.argv))
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 143, "error: terminated; the same command again continues where it stopped.\n"),
        (["server"], -signal.SIGTERM, ""),
    ],
)
def test_sigterm_ends_a_command_in_a_sentence_and_leaves_it_to_a_server(tmp_path, words, status, said):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path / "a.txt"), *words],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writes\n"
    process.terminate()
    assert process.communicate(timeout=60) == ("", said)
    assert process.returncode == status
    assert bool(list(tmp_path.iterdir())) == bool(words), "what is half written goes with Ctrl-C's cleanup alone"


@pytest.mark.usefixtures("nothing_handles_sigterm")
def test_sigterm_that_comes_while_an_object_is_deleted_is_not_forgotten():
    def main(argv):
        with contextlib.suppress(KeyboardInterrupt):  # As Python does around __del__.
            signal.raise_signal(signal.SIGTERM)
        stop_if_terminated()

    assert run_command(main, []) == 143
    assert run_command(lambda argv: stop_if_terminated(), []) == 0


@pytest.fixture
def nothing_handles_sigterm():
    """As at the start of a command: Ray, in a test before, may have left a handler."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("nothing_handles_sigterm")
def test_sigterm_is_as_before_afterwards_and_stays_with_others_that_handle_it():
    found = []

    def look(argv):
        found.append(signal.getsignal(signal.SIGTERM))

    run_command(look, [])
    thread = threading.Thread(target=run_command, args=(look, []))
    thread.start()
    thread.join()
    assert callable(found[0])
    assert found[1] == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run_command(look, [])
    assert found[2] == signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def _wait_as_worker():
    run_command(lambda argv: os.kill(os.getpid(), signal.SIGTERM), [])


def test_a_worker_ends_at_once_as_its_parent_wants_it():
    worker = multiprocessing.get_context("spawn").Process(target=_wait_as_worker)
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGTERM
