"""Sends malformed requests to a server: `python -m benchmarks.server_fuzz --model RUN`.

Starts `python -m emotion_tf.serve` on this machine and sends --requests of four kinds in turn: what schemathesis makes
of the OpenAPI document (of the right and of wrong types), recordings that are cut off, changed, of wrong lengths, NaN
or bombs, heads that HTTP does not allow, and messages to a WebSocket. Every request must be answered in time and none
with 500; after each handful a good one must get its answer. Writes results/server_fuzz.json beside this file.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import http.client
import io
import itertools
import json
import os
import socket
import struct
import sys
import tempfile
import time
import urllib.parse
import warnings
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.result_files import write_result
from benchmarks.served import Server
from pipelines.command import InputError, run_command

SECONDS_TO_ANSWER = 30.0
HANDFUL = 25
BOUNDARY = "boundary-of-a-form"

_ALLOWED_5XX = (501, 503, 504)


def main(argv: list[str] | None = None) -> None:
    """Sends, prints and writes the result.

    Raises:
      InputError: A model that cannot be served, or a fault that was found.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    with Server(arguments.model, "--timeout", "20") as server:
        found = fuzz(server.url, arguments.requests, arguments.seed)
    result = {"requests": sum(found.sent.values()), "seed": arguments.seed, **vars(found)}
    print(json.dumps(result, indent=1))
    if found.faults:
        raise InputError(f"{len(found.faults)} of the requests found a fault, as printed above.")
    write_result("server_fuzz", result)


@dataclasses.dataclass
class Found:
    """What became of the requests.

    Attributes:
      sent: Kind of request -> how many.
      statuses: Status -> how many; "closed" where the server closed the connection, as it may after a broken head.
      faults: What should not be.
      num_good: Good requests between them that were answered.
      slowest_seconds: Of all of them.
    """

    sent: dict[str, int] = dataclasses.field(default_factory=collections.Counter)
    statuses: dict[str, int] = dataclasses.field(default_factory=collections.Counter)
    faults: list[str] = dataclasses.field(default_factory=list)
    num_good: int = 0
    slowest_seconds: float = 0.0

    def note(self, kind: str, what: str, ask: Callable[[], str]) -> None:
        """Sends one request, and notes what became of it."""
        begin = time.perf_counter()
        try:
            status = ask()
        except (TimeoutError, OSError, http.client.HTTPException) as error:
            status = "closed" if isinstance(error, (ConnectionError, http.client.BadStatusLine)) else repr(error)
        self.sent[kind] += 1
        self.statuses[status] += 1
        self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - begin)
        is_answered = status.isdigit() and (int(status) < 500 or int(status) in _ALLOWED_5XX)
        if not (is_answered or (status == "closed" and kind == "heads") or kind == "streams"):
            self.faults.append(f"{kind}: {status} of {what[:300]}")


def fuzz(url: str, count: int, seed: int = 0) -> Found:
    """Sends malformed requests.

    Args:
      url: Of a server on this machine.
      count: How many.
      seed: Of what is drawn.
    """
    found, rng = Found(), np.random.default_rng(seed)
    kinds = {
        "schema": _of_schema(url, count // 4, seed),
        "recordings": (_recording(url, rng) for _ in range(count)),
        "heads": (_head(url, rng) for _ in range(count)),
        "streams": (_stream(url, rng) for _ in range(count)),
    }
    while (num_sent := sum(found.sent.values())) < count:
        if num_sent % (4 * HANDFUL) < len(kinds):
            print(f"{num_sent} of {count} requests, {len(found.faults)} faults", file=sys.stderr, flush=True)
        for kind, requests in kinds.items():
            if (request := next(requests, None)) is not None and sum(found.sent.values()) < count:
                found.note(kind, *request)
        if sum(found.sent.values()) % HANDFUL < len(kinds):
            _good(url, found)
    _good(url, found)
    return found


def _good(url: str, found: Found) -> None:
    """Sends a request that must get its answer."""
    status = _post(url, "/v1/classify", _form(recording(1.0)))
    if status == "200":
        found.num_good += 1
    else:
        found.faults.append(f"a good request got {status}")


_Request = tuple[str, Callable[[], str]]
"""What is sent, in words, and what sends it and returns the status."""


def _of_schema(url: str, count: int, seed: int) -> Iterator[_Request]:
    """Makes requests of the OpenAPI document, of right and of wrong types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from schemathesis import openapi
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=SECONDS_TO_ANSWER)
    connection.request("GET", "/openapi.json")
    schema = openapi.from_dict(json.loads(connection.getresponse().read()))
    connection.close()
    operations = [found.ok() for found in cast(Any, schema.get_all_operations())]
    # All examples at once, operation by operation, and then in turn: hypothesis gives no single ones.
    drawn = [_examples(one, -(-count // len(operations)), seed) for one in operations]
    for case in filter(None, itertools.chain.from_iterable(itertools.zip_longest(*drawn))):
        yield f"{case.method} {case.formatted_path} {case.body!r}", functools.partial(_call, case, url)


def _examples(operation: Any, count: int, seed: int) -> list[Any]:
    """Draws requests of one operation: half of wrong types where it takes a body; anything is a right name."""
    import hypothesis.configuration
    from schemathesis import GenerationMode

    # What it keeps of this machine's Unicode goes into the current folder otherwise.
    hypothesis.configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "emotion-tf-hypothesis")

    cases: list[Any] = []
    modes = (GenerationMode.NEGATIVE, GenerationMode.POSITIVE) if operation.method == "post" else ()
    for mode in modes or (GenerationMode.POSITIVE,):

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=-(-count // 2),
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def collect(case: Any) -> None:
            cases.append(case)

        collect()
    return cases


def _call(case: Any, url: str) -> str:
    import requests

    try:
        return str(case.call(base_url=url, timeout=SECONDS_TO_ANSWER).status_code)
    except requests.exceptions.InvalidHeader:
        return "400"  # Not sent: the client itself refuses it.
    except requests.exceptions.ConnectionError as error:
        raise ConnectionError(str(error)) from None
    except requests.exceptions.Timeout:
        raise TimeoutError from None


def recording(seconds: float, sample_rate: int = 16000, channels: int = 1) -> bytes:
    """Makes a WAV of noise."""
    samples = np.random.default_rng(0).integers(-3000, 3000, round(seconds * sample_rate) * channels)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((channels, 2, sample_rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def malformed(rng: np.random.Generator) -> bytes:
    """Makes the content of a file that decoders should not like."""
    content = bytearray(_kinds()[rng.integers(len(_kinds()))])
    change = rng.integers(6)
    if change == 0:  # Cut off.
        return bytes(content[: rng.integers(len(content))])
    if change == 1:  # Single bytes of its head.
        for place in rng.integers(0, min(200, len(content)), rng.integers(1, 9)):
            content[place] = rng.integers(256)
    elif change == 2:  # A number of its head: huge, negative, zero.
        place = int(rng.integers(0, min(100, len(content) - 4)))
        content[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])))
    elif change == 3:  # Bytes anywhere.
        for place in rng.integers(0, len(content), rng.integers(1, 400)):
            content[place] = rng.integers(256)
    elif change == 4:  # Something before or behind it.
        noise = rng.bytes(int(rng.integers(1, 5000)))
        return noise + bytes(content) if rng.integers(2) else bytes(content) + noise
    else:
        return rng.bytes(int(rng.integers(0, 20000)))
    return bytes(content)


@functools.cache
def _kinds() -> list[bytes]:
    """Makes recordings of many kinds, good ones and bombs."""
    import soundfile

    def encoded(samples: np.ndarray, kind: str, subtype: str, sample_rate: int = 16000) -> bytes:
        content = io.BytesIO()
        soundfile.write(content, samples, sample_rate, format=kind, subtype=subtype)
        return content.getvalue()

    noise = np.random.default_rng(1).standard_normal(16000).astype(np.float32) / 10
    odd = [np.concatenate([noise, [np.float32(value)]]) for value in (0.0, np.nan, np.inf, 1e30)]
    kinds = (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_24"))
    return [
        *(encoded(samples, "WAV", "FLOAT") for samples in odd),
        *(encoded(noise, kind, subtype) for kind, subtype in kinds),
        encoded(np.zeros(3600 * 8000, np.int16), "FLAC", "PCM_16", 8000),  # An hour of zeros in a few kB.
        recording(0.5, 192000, 8),
        recording(0.0),
        zlib.compress(bytes(10**7)),
    ]


def _recording(url: str, rng: np.random.Generator) -> _Request:
    path = str(rng.choice(["/v1/classify", "/v1/timeline", "/v1/batch"], p=[0.6, 0.2, 0.2]))
    content = malformed(rng)
    name = "files" if path == "/v1/batch" else "file"
    return f"{path}: {content[:60].hex()} ({len(content)} bytes)", lambda: _post(url, path, _form(content, name))


def _form(content: bytes, name: str = "file") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'.encode()
    return head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def _post(url: str, path: str, body: bytes) -> str:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=SECONDS_TO_ANSWER)
    try:
        connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    finally:
        connection.close()


_LINES = (
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Type: multipart/form-data",
    b"Content-Type: multipart/form-data; boundary=" + b"b" * 5000,
    b"Content-Type: \xff\xfe",
    b"Accept: " + b"text/vtt;q=" * 2000,
    b"Authorization: Bearer \x80",
    b"Origin: http://[",
    b"X: " + b"a" * 70000,
    b"\x00: y",
    b"no colon",
    b"Expect: 100-continue",
    b"Content-Encoding: gzip",
    b"Upgrade: websocket\r\nConnection: Upgrade",
)
_STARTS = (
    b"POST /v1/classify HTTP/1.1",
    b"POST /v1/models/default:predict HTTP/1.1",
    b"GET /v1/models/" + b"%2e%2e%2f" * 30 + b" HTTP/1.1",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1",
    b"POST /v1/batch HTTP/9.9",
    b"\xff\xff /v1/classify HTTP/1.1",
    b"GET /v1/stream HTTP/1.1",
    b"DELETE /v1/models/default HTTP/1.1",
)


def _head(url: str, rng: np.random.Generator) -> _Request:
    """Makes a request as bytes, whose head is odd."""
    lines = [_LINES[place] for place in rng.integers(0, len(_LINES), rng.integers(1, 4))]
    start = _STARTS[rng.integers(len(_STARTS))]
    content = b"\r\n".join([start, b"Host: 127.0.0.1", *lines, b"", rng.bytes(int(rng.integers(0, 2000)))])
    return repr(content), lambda: _send(url, content)


def _send(url: str, content: bytes) -> str:
    """Sends bytes, closes this half, and reads the status."""
    host = urllib.parse.urlsplit(url)
    with socket.create_connection((host.hostname, host.port), timeout=SECONDS_TO_ANSWER) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return str(answer.status)


def _stream(url: str, rng: np.random.Generator) -> _Request:
    """Makes a WebSocket of odd parameters and messages; what is refused is closed with a code."""
    rate = str(rng.choice(["16000", "-1", "nan", "1e7", "", "7", "48000"]))
    messages = [_message(rng) for _ in range(rng.integers(1, 4))]
    return f"sample_rate={rate} {messages!r}", lambda: _talk(url, rate, messages)


def _message(rng: np.random.Generator) -> bytes | str:
    kind = rng.integers(4)
    if kind == 0:
        return str(rng.choice(["end", "", "{}", "x" * 1000]))
    return rng.bytes(int(rng.choice([0, 1, 3, 3200, 32000])) * (1 if kind < 3 else 2))


def _talk(url: str, rate: str, messages: list[bytes | str]) -> str:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    query = urllib.parse.urlencode({"sample_rate": rate})
    try:
        with connect(f"ws{url.removeprefix('http')}/v1/stream?{query}", open_timeout=SECONDS_TO_ANSWER) as connection:
            for message in messages:
                connection.send(message)
            connection.send("end")
            while True:
                connection.recv(SECONDS_TO_ANSWER)
    except ConnectionClosed as error:
        return f"stream {error.rcvd.code if error.rcvd else 1006}"
    except InvalidStatus as error:
        return str(error.response.status_code)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    sys.exit(run_command(main))
