"""Tests of examples/mlserver/compare.py: an environment that cannot be made gets a sentence."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from pipelines.command import InputError

FILE = Path(__file__).parents[1] / "examples" / "mlserver" / "compare.py"


@pytest.fixture
def compare():
    spec = importlib.util.spec_from_file_location("mlserver_compare", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_failing_installation_gets_a_sentence_and_is_tried_again(compare, tmp_path, monkeypatch):
    commands = []

    def fail(command, **_):
        commands.append(command)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(compare.venv, "create", lambda folder, with_pip: (folder / "bin").mkdir(parents=True))
    monkeypatch.setattr(compare.subprocess, "run", fail)
    for _ in range(2):
        with pytest.raises(InputError, match=r"could not be installed into .*new \(exit status 1\): see what"):
            compare.environment(tmp_path / "new")
        (tmp_path / "new" / "bin" / "python").touch()
        monkeypatch.setattr(compare.venv, "create", None)
    assert len(commands) == 2
    (tmp_path / "new" / "bin" / "mlserver").touch()
    assert compare.environment(tmp_path / "new") == tmp_path / "new" / "bin" / "python"


def test_a_folder_that_cannot_be_made_gets_a_sentence(compare, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        compare.environment(tmp_path / "file" / "new")
