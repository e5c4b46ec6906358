"""Tests of pipelines.isolation: a function may end its process, and costs one call."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines import isolation
from pipelines.command import InputError


def shout(stream, text):
    """Writes as a C library does, to the file descriptor."""
    os.write(stream, text.encode())
    return text.upper()


def refuse(path):
    raise InputError(f"{path} is refused")


def end(path, *arguments):
    """A decoder that ends its process."""
    os._exit(9)


def test_a_call_returns_what_the_function_returns_from_a_process_that_stays():
    assert isolation.call(sum, [1, 2, 3]) == 6
    assert isolation.call(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]
    assert isolation.call(os.getpid) == isolation.call(os.getpid) != os.getpid()


def test_what_a_function_writes_on_stderr_goes_nowhere(capfd):
    assert [isolation.call(shout, stream, "Warning: odd header") for stream in (1, 2)] == ["WARNING: ODD HEADER"] * 2
    assert capfd.readouterr() == ("", "")


def test_errors_keep_their_sentence_and_others_show_where_they_come_from():
    with pytest.raises(InputError, match=r"^a\.wav is refused$"):
        isolation.read_file(refuse, "a.wav")
    with pytest.raises(RuntimeError, match=r"(?s)isolation\.py.*invalid literal for int"):
        isolation.call(int, "one")


def test_a_process_that_ends_costs_one_call():
    for function, argument, status in ((os._exit, 3, "exit status 3"), (signal.raise_signal, signal.SIGKILL, "-9")):
        with pytest.raises(isolation.ProcessEndedError, match=status):
            isolation.call(function, argument)
        assert isolation.call(len, "abc") == 3


def test_a_file_that_ends_the_process_is_named():
    with pytest.raises(InputError, match=r"a\.avi ended the process that decodes it \(exit status 9\)"):
        isolation.read_file(end, "a.avi")


def test_a_process_killed_between_two_calls_is_replaced():
    os.kill(isolation.call(os.getpid), signal.SIGKILL)
    time.sleep(0.2)
    assert isolation.call(len, "abc") == 3


def test_an_interrupted_call_leaves_no_answer_behind(monkeypatch):
    isolation.call(len, "abc")

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(isolation._shared._seats[0]._process._pipe, "recv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        isolation.call(len, "abc")
    assert isolation.call(len, "abcd") == 4


def test_a_script_without_a_main_guard_can_call_and_leaves_no_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom pipelines import isolation\nprint(isolation.call(os.getpid))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": str(Path.cwd())})
    assert done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_the_process_ends_with_its_parent_even_one_that_was_killed(tmp_path):
    code = (
        "import os, time\nfrom pipelines import isolation\nprint(isolation.call(os.getpid), flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        number = int(parent.stdout.readline())
        parent.kill()
    for _ in range(50):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the process is still there")


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read(tmp_path):
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"a\.wav takes longer than 0\.5 s to decode"):
        isolation.read_file(_sleep, tmp_path / "a.wav", 60, longest_wait=0.5)
    assert time.monotonic() - begin < 10
    assert isolation.read_file(_sleep, tmp_path / "b.wav", 0, longest_wait=30) == "b.wav"


def _sleep(path, seconds):
    time.sleep(seconds)
    return path.name


def test_as_many_calls_run_at_once_as_there_are_processes():
    processes = isolation.Processes(2)
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(processes.call, _pid_after, 0.3) for _ in range(3)]
        assert len({one.result() for one in found}) == 2
    processes.end()
    assert processes.call(len, "abc") == 3
    processes.end()


def _pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_iterators_keep_their_process_and_are_spread(tmp_path):
    processes = isolation.Processes(2)
    iterators = [processes.iterate_file(_pids, tmp_path) for _ in range(2)]
    found = [[next(one) for one in iterators] for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 2
    assert processes.call(os.getpid) in found[0]
    for one in iterators:
        one.close()
    processes.end()


def _pids(path):
    while True:
        yield os.getpid()


def test_what_takes_more_memory_than_allowed_gets_a_sentence_and_the_next_one_is_read(tmp_path):
    processes = isolation.Processes(1, memory_bytes=2**28)
    for amount, wanted in ((2**24, None), (2**29, r"b\.wav does not fit into the 256 MiB of memory"), (2**24, None)):
        with pytest.raises(InputError, match=wanted) if wanted else contextlib.nullcontext():
            assert processes.read_file(_fill, tmp_path / "b.wav", amount) == amount
    processes.end()


def _fill(path, amount):
    return len(bytearray(amount))


def test_calls_of_a_function_that_was_called_there_need_no_process_of_their_own(tmp_path):
    assert isolation.call(_nested) == isolation.call(os.getpid)


def _nested():
    return isolation.call(os.getpid)
