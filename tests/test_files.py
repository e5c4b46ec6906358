"""Tests of pipelines.files: a file is there whole or as it was before, and nothing else is left."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipelines.command import InputError
from pipelines.files import UNFINISHED, locked, read_json, replacing, stop_on_unreadable, write_csv, write_json


def test_a_file_takes_its_name_when_the_block_ends(tmp_path):
    path = tmp_path / "best-0003.weights.h5"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.name == f"{UNFINISHED}best-0003.weights.h5"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, error):
    for path in (tmp_path / "old.json", tmp_path / "absent.json"):
        (tmp_path / "old.json").write_text("old")
        with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
            temporary.write_text("half")
            raise error
        assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("old.json", "old")]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.json"):
        pass


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / f"{UNFINISHED}a.json").write_text("half of a long, long file")
    write_json(tmp_path / "a.json", {})
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.json", "{}\n")]


def test_processes_that_write_the_same_file_do_not_meet(tmp_path):
    with replacing(tmp_path / "clip.mp4", is_shared=True) as temporary:
        temporary.touch()
        assert temporary.name == f"{UNFINISHED}{platform.node()}-{os.getpid()}-clip.mp4"


def test_a_folder_is_one_processs_until_it_lets_go_or_is_killed(tmp_path):
    code = "import sys, time; from pathlib import Path; from pipelines.files import locked\n"
    code += "with locked(Path(sys.argv[1]), '--run'): print('locked', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    assert process.stdout.readline() == "locked\n"
    sentence = "another process is writing to .*run: wait until it has ended, or give another --run"
    with pytest.raises(InputError, match=sentence), locked(tmp_path / "run", "--run"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(2):
        with locked(tmp_path / "run", "--run"):
            assert not any((tmp_path / "run").iterdir())


def test_json_is_read_as_it_was_written(tmp_path):
    values = {"ä": [1, None, 0.1]}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == values


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"ä": 1})

    def full_disk(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "a.json", {"ä": 2})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[]", b"null"])
def test_a_file_that_cannot_be_read_gets_a_sentence_with_its_advice(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is missing or corrupt \(.*\): train again\.$"):
        read_json(tmp_path / "a.json", "train again")
    with pytest.raises(InputError, match=r"a\.json is missing or corrupt \(.*\): make it again with --overwrite\.$"):
        read_json(tmp_path / "a.json")


def test_a_table_keeps_its_numbers_to_the_last_bit(tmp_path):
    write_csv(tmp_path / "a.csv", pd.DataFrame({"loss": [0.1 + 0.2, 1 / 3]}))
    assert (tmp_path / "a.csv").read_text() == "loss\n0.30000000000000004\n0.3333333333333333\n"


def test_what_is_no_file_to_read_is_said(tmp_path, monkeypatch):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "whole.wav").write_bytes(b"RIFF")
    stop_on_unreadable(tmp_path / "whole.wav")
    for path, message in (
        (tmp_path / "absent.wav", r"absent\.wav does not exist: correct the path"),
        (tmp_path, "is not a file: correct the path"),
        (tmp_path / "empty.wav", r"empty\.wav is an empty file: copy it again"),
    ):
        with pytest.raises(InputError, match=message):
            stop_on_unreadable(path)

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(InputError, match=r"whole\.wav cannot be opened \(Permission denied\)"):
        stop_on_unreadable(tmp_path / "whole.wav")
