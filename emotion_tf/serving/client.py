"""A client of `python -m emotion_tf.serve`: recordings as files or bytes, and a voice as it comes in."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.serving.server_settings import DEFAULT_MODEL

ACCEPT = {"json": "application/json", "vtt": "text/vtt", "textgrid": "text/x-textgrid"}
"""Kind of a timeline -> its media type."""


_PASSING = (429, 500, 502, 503, 504)
"""Statuses of what may be answered when it is asked again."""

_PAUSE_SECONDS = 0.5

_MESSAGE_BYTES = 2**16
"""Of a stream: servers refuse messages that are much larger."""


class ServerError(RuntimeError):
    """What a server answered in place of a prediction.

    Attributes:
      status: Of HTTP; of a stream the code of its end.
      retry_after: Seconds after which an overloaded server may be asked again; None: it did not say.
    """

    def __init__(self, status: int, sentence: str, retry_after: float | None = None):
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after


class Client:
    """Asks a server.

    For instance:

        from emotion_tf.serving import Client

        client = Client("http://127.0.0.1:8501")
        print(client.classify("clip.wav", transcript="Kids are talking")["emotion"])

    Args:
      url: Of the server.
      token: One of its tokens; None: it asks for none.
      model: The name of a model.
      timeout_seconds: How long an answer may take.
      num_tries: How often a request is sent, as long as the server is overloaded, starts or is not there (status 500
        too, with which a proxy tells that the server behind it went away). Streams are not repeated.
      context: Of TLS, for a certificate of one's own.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        model: str = DEFAULT_MODEL,
        timeout_seconds: float = 60.0,
        num_tries: int = 1,
        context: ssl.SSLContext | None = None,
    ):
        self._url, self._model, self._timeout, self._context = url.rstrip("/"), model, timeout_seconds, context
        self._num_tries = num_tries
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def classify(
        self,
        file: Path | str | bytes | None = None,
        transcript: str = "",
        *,
        transcribe: bool = False,
        with_embedding: bool = False,
    ) -> dict[str, Any]:
        """Asks for the emotion of a recording, video or sentence: the object that `predict` prints.

        Args:
          file: Its path or its content; None: the transcript alone.
          transcript: What is said.
          transcribe: Whether whisper finds the words, in place of a transcript.
          with_embedding: Whether the answer holds what the last layer reads.

        Raises:
          ServerError: What the server refuses.
        """
        fields = {"transcript": transcript}
        fields |= {"transcribe": str(transcribe).lower(), "embedding": str(with_embedding).lower()}
        files = [] if file is None else [("file", file)]
        return json.loads(self._post("/v1/classify", fields, files, ACCEPT["json"]))

    def batch(self, files: Sequence[Path | str | bytes]) -> list[dict[str, Any]]:
        """Asks for the emotions of many recordings; those that cannot be used have an `error`.

        Raises:
          ServerError: What the server refuses.
        """
        answer = self._post("/v1/batch", {}, [("files", file) for file in files], ACCEPT["json"])
        return json.loads(answer)["predictions"]

    def timeline(self, file: Path | str | bytes, kind: str = "json") -> Any:
        """Asks which emotion appears when.

        Args:
          file: Path or content of a recording.
          kind: "json" (an object is returned), "vtt" or "textgrid" (text).

        Raises:
          ServerError: What the server refuses.
        """
        answer = self._post("/v1/timeline", {}, [("file", file)], ACCEPT[kind])
        return json.loads(answer) if kind == "json" else answer.decode()

    def stream(self, chunks: Iterable[bytes], sample_rate: float = 16000) -> Iterator[dict[str, Any]]:
        """Sends a voice, and yields answers and events of the voice gate as they come.

        Args:
          chunks: int16 in little-endian order, one channel; taken in a thread of its own, as fast as they come.
          sample_rate: Hz.

        Raises:
          ServerError: What the server refuses.
          TypeError: A chunk that is no bytes.
          Exception: What `chunks` raises.
        """
        from websockets.exceptions import ConnectionClosed, InvalidStatus
        from websockets.sync.client import connect

        query = urllib.parse.urlencode({"sample_rate": sample_rate, "model": self._model})
        url = f"ws{self._url.removeprefix('http')}/v1/stream?{query}"
        try:
            connection = connect(url, additional_headers=self._headers, ssl=self._context)
        except InvalidStatus as error:
            raise ServerError(error.response.status_code, "the server does not accept the stream.") from None
        with connection:
            failed: list[Exception] = []
            sender = threading.Thread(target=_send, args=(connection, chunks, failed), daemon=True)
            sender.start()
            try:
                for message in connection:
                    found = json.loads(message)
                    if "error" in found:
                        raise ServerError(1008, found["error"])
                    yield found
            except ConnectionClosed as error:
                if not failed:
                    raise ServerError(error.rcvd.code if error.rcvd else 1006, "the stream was closed.") from None
            if failed:
                raise failed[0]

    def _post(
        self, path: str, fields: Mapping[str, str], files: Sequence[tuple[str, Path | str | bytes]], accept: str
    ) -> bytes:
        boundary = uuid.uuid4().hex
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": accept} | self._headers
        body = _multipart(boundary, {**fields, "model": self._model}, files)
        request = urllib.request.Request(self._url + path, body, headers, method="POST")
        for number in range(1, self._num_tries + 1):
            seconds = _PAUSE_SECONDS
            try:
                with urllib.request.urlopen(request, timeout=self._timeout, context=self._context) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                refused = _refused(error)
                if error.code not in _PASSING or number == self._num_tries:
                    raise refused from None
                seconds = refused.retry_after or seconds
            except (OSError, http.client.HTTPException):
                if number == self._num_tries:
                    raise
            time.sleep(seconds)
        raise ValueError("num_tries is below 1")


def _send(connection: Any, chunks: Iterable[bytes], failed: list[Exception]) -> None:
    """Sends a voice; what stops it goes to `failed`, for the thread that reads, which would wait forever."""
    from websockets.exceptions import ConnectionClosed

    try:
        for chunk in chunks:
            if not isinstance(chunk, bytes | bytearray | memoryview):
                raise TypeError(f"a chunk is {type(chunk).__name__}, and no bytes of int16 in little-endian order")
            for start in range(0, len(chunk), _MESSAGE_BYTES):
                connection.send(chunk[start : start + _MESSAGE_BYTES])
        connection.send("end")
    except ConnectionClosed:
        pass  # The reader says why.
    except Exception as error:
        failed.append(error)
        connection.close()


def _multipart(boundary: str, fields: Mapping[str, str], files: Sequence[tuple[str, Path | str | bytes]]) -> bytes:
    """Writes fields and files as a form."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, file in files:
        known, content = ("recording", file) if isinstance(file, bytes) else (Path(file).name, Path(file).read_bytes())
        quoted = urllib.parse.quote(known, safe=" ()[]")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{quoted}"\r\n'
        parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), content, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _refused(error: urllib.error.HTTPError) -> ServerError:
    """Finds the sentence of a refusal."""
    with error:
        body = error.read()
    try:
        sentence = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        sentence = f"the server answers {error.code}."
    seconds = error.headers.get("Retry-After", "")
    return ServerError(error.code, sentence, float(seconds) if seconds.isdigit() else None)
