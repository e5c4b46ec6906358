"""The server that the live tab streams to: a process of its own on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.server_settings import DEFAULT_MODEL, ServerSettings
from pipelines.command import InputError

HOST = "127.0.0.1"

_CODE = """import sys
sys.path[:] = {path!r}
from emotion_tf.serving import demo_server
demo_server.serve({model!r}, {origins!r})"""


class LiveServer:
    """A running server for one model; it ends with this process, however that ends.

    Args:
      model: A version folder.
      port: Of the page, whose scripts may ask.

    Attributes:
      port: Where it listens.
      pid: Of its process.

    Raises:
      InputError: It does not start.
    """

    def __init__(self, model: Path, port: int):
        suffix = "" if port == 80 else f":{port}"  # As browsers name it.
        origins = [f"http://{host}{suffix}" for host in (HOST, "localhost")]
        code = _CODE.format(path=sys.path, model=str(model), origins=origins)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line.isdigit():
            self.close()
            raise InputError("the server of the live tab did not start: the terminal says why; open the tab again.")
        self.port, self.pid = int(line), self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def url(self) -> str:
        """Where a voice is streamed to, without the sample rate."""
        return f"ws://{HOST}:{self.port}/v1/stream?model={DEFAULT_MODEL}"

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def serve(model: str, origins: Sequence[str]) -> None:
    """Serves until standard input is closed, as happens when the process that started this one ends.

    Args:
      model: A version folder.
      origins: Of the page.
    """
    import uvicorn

    from emotion_tf.serving.app import create_app
    from emotion_tf.serving.live import MAX_MESSAGE_BYTES

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal sends Ctrl-C to all; the parent ends this one.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        app = create_app({DEFAULT_MODEL: Predictor(model)}, ServerSettings(origins=tuple(origins)))
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    with socket.create_server((HOST, 0)) as bound:
        # It listens already: who connects from now on waits for the model, and for nothing else.
        print(bound.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_config=None, access_log=False, ws_max_size=MAX_MESSAGE_BYTES)
        uvicorn.Server(config).run(sockets=[bound])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
