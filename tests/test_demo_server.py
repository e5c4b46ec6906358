"""Tests of the server that the live tab streams to."""

import contextlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("uvicorn")

from emotion_tf.serving import Client, ServerError
from emotion_tf.serving.demo_server import LiveServer
from pipelines.command import InputError

pytestmark = pytest.mark.slow


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def server(loud_export):
    server = LiveServer(loud_export / "7", 8502)
    yield server
    server.close()
    assert not server.is_alive


def test_it_answers_a_voice_every_half_second(server):
    chunks = [np.full(8000, 9000, np.int16).tobytes() for _ in range(4)]
    found = list(Client(f"http://127.0.0.1:{server.port}").stream(chunks))
    assert [one["end"] for one in found if one["type"] == "answer"][-1] == 2.0


@pytest.mark.parametrize(("origin", "may"), [("http://localhost:8502", True), ("http://evil.example", False)])
def test_scripts_of_this_page_alone_may_ask(server, origin, may):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    refused = contextlib.nullcontext() if may else pytest.raises(InvalidStatus)
    with refused, connect(f"{server.url}&sample_rate=16000", origin=origin):
        pass


def test_it_ends_with_the_process_that_started_it(loud_export):
    code = (
        "import os, sys; from pathlib import Path; from emotion_tf.serving.demo_server import LiveServer;"
        "server = LiveServer(Path(sys.argv[1]), 8502); print(server.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    finished = subprocess.run([sys.executable, "-c", code, str(loud_export / "7")], stdout=subprocess.PIPE, text=True)
    pid = int(finished.stdout)
    for _ in range(100):
        if not is_running(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} still runs")


def test_a_folder_without_a_model_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match="did not start"):
        LiveServer(tmp_path, 8502)


def test_a_server_that_was_killed_is_known_to_be(loud_export):
    server = LiveServer(loud_export / "7", 8502)
    os.kill(server.pid, 9)
    server.close()
    assert not server.is_alive
    with pytest.raises((ServerError, OSError)):
        list(Client(f"http://127.0.0.1:{server.port}").stream([b"\0\0"]))
