"""A server of its own process, on this machine: `python -m emotion_tf.serve`, from its start to its end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.command import InputError

SECONDS_TO_START = 300.0
SECONDS_TO_END = 90.0


class Server:
    """A context in which a server answers; what it writes goes to a file that is removed.

    Args:
      model: A run, or an export folder.
      flags: Further ones of the command.
      module: Which is started.
      ready: Where it answers once it is ready.

    Attributes:
      url: Its address.
      process: Itself.
      seconds_to_ready: From its start to its first readiness.
    """

    def __init__(self, model: Path, *flags: str, module: str = "emotion_tf.serve", ready: str = "readyz"):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        self.url, self._ready = f"http://127.0.0.1:{port}", ready
        self._command = [sys.executable, "-m", module, "--model", str(model), "--port", str(port), *flags]
        self.process: Any = None
        self.seconds_to_ready = 0.0

        self._files = contextlib.ExitStack()

    def __enter__(self) -> Server:
        self._log = self._files.enter_context(tempfile.TemporaryFile("w+"))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._files.close()

    def start(self) -> None:
        """Starts it, and waits until it is ready; again after its end.

        Raises:
          InputError: It ends.
        """
        begin = time.perf_counter()
        self.process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        while not self._is_ready():
            if self.process.poll() is not None or time.perf_counter() - begin > SECONDS_TO_START:
                self.process.kill()
                raise InputError(f"the server did not start: {self.log().strip().splitlines()[-1:]}")
            time.sleep(0.05)
        self.seconds_to_ready = time.perf_counter() - begin

    def log(self) -> str:
        """Reads what it wrote so far."""
        self._log.seek(0)
        return self._log.read()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/{self._ready}", timeout=5):
                return True
        except OSError:
            return False
