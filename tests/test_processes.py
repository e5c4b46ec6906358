"""Tests of pipelines.processes: workers ignore Ctrl-C, and none outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines import processes

ROOT = Path(__file__).parents[1]

PARENT = """
import multiprocessing, os, sys, time
from pipelines import processes

def work():
    processes.end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(300)

if __name__ == "__main__":
    with processes.ctrl_c_held():
        worker = multiprocessing.get_context("spawn").Process(target=work, daemon=True)
        worker.start()
    time.sleep(300)
"""


@pytest.fixture
def family(tmp_path):
    """A process with a worker: the process, and the number of the worker."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = int(parent.stdout.readline())
        yield parent, worker
        parent.kill()


def is_alive(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def comes_to_an_end(number):
    deadline = time.monotonic() + 30
    while is_alive(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(number)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_a_worker_ends_with_a_parent_that_was_killed_and_not_with_ctrl_c(family):
    parent, worker = family
    os.kill(worker, signal.SIGINT)
    time.sleep(0.3)
    assert is_alive(worker)
    parent.kill()
    assert comes_to_an_end(worker)


@pytest.fixture
def python_handles_ctrl_c():
    """As on a terminal: a shell that starts tests in the background has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_ctrl_c_is_held_inside_and_comes_after():
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with processes.ctrl_c_held():
            signal.raise_signal(signal.SIGINT)
            held = signal.SIGINT in signal.sigpending()
        time.sleep(1)
    assert held
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_error_inside_lets_ctrl_c_through_again():
    with pytest.raises(ZeroDivisionError), processes.ctrl_c_held():
        raise ZeroDivisionError
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_process_that_is_no_worker_waits_for_no_parent():
    before = threading.active_count()
    processes.end_with_parent()
    assert threading.active_count() == before


def test_the_cores_are_those_that_this_process_may_use():
    assert processes.num_cores() >= 1
    if hasattr(os, "sched_getaffinity"):
        assert processes.num_cores() == len(os.sched_getaffinity(0))


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processes.num_cores() == 1
