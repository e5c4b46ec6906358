"""Tests of the command of the page: what it hands to Streamlit, and what it refuses before."""

import importlib.util
import os
import socket
from pathlib import Path

import pytest

from emotion_tf import demo
from pipelines.command import InputError


@pytest.fixture
def started(monkeypatch):
    """What the process would become."""
    found = []
    monkeypatch.setattr(os, "execv", lambda program, command: found.append(command))
    return found


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


def test_it_becomes_streamlit_on_this_machine_alone(started, free_port, capsys):
    demo.main(["--port", str(free_port)])
    [command] = started
    assert command[1:4] == ["-m", "streamlit", "run"]
    assert Path(command[4]).is_file()
    assert {f"--server.port={free_port}", "--server.address=127.0.0.1"} <= set(command)
    assert "--browser.gatherUsageStats=false" in command
    assert command[-1] == "--"
    assert f"http://localhost:{free_port}" in capsys.readouterr().out


def test_a_model_is_handed_on_by_its_whole_path(started, free_port, loud_export, monkeypatch):
    monkeypatch.chdir(loud_export.parent)
    demo.main(["--port", str(free_port), "--model", loud_export.name])
    assert started[0][-2:] == ["--model", str(loud_export.resolve())]


def test_a_model_of_whisper_is_handed_on_where_there_is_whisper(started, free_port, monkeypatch):
    is_there = True
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "whisper" or is_there or None)
    demo.main(["--port", str(free_port), "--whisper-model", "base"])
    assert started[0][-2:] == ["--whisper-model", "base"]
    is_there = False
    with pytest.raises(InputError, match=r"emotion_tf\[demo,whisper\]"):
        demo.main(["--port", str(free_port), "--whisper-model", "base"])


def test_a_folder_without_an_export_is_refused(started, free_port, tmp_path):
    with pytest.raises(InputError, match="holds no exported model"):
        demo.main(["--port", str(free_port), "--model", str(tmp_path)])
    assert started == []


def test_a_port_that_is_taken_is_refused(started):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be taken .*another --port"):
            demo.main(["--port", str(port)])
    assert started == []


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_number_that_is_no_port_is_refused(started, port):
    with pytest.raises(InputError, match="--port"):
        demo.main([f"--port={port}"])


def test_without_streamlit_it_says_what_to_install(started, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"emotion_tf\[demo\]"):
        demo.main([])
