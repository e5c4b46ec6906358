"""Tests of pipelines.command: a mistake ends in one sentence and a status, a fault in a traceback."""

import errno
import subprocess
import sys

import pytest

from pipelines.command import InputError, folder_for, is_disk_full, run_command


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
