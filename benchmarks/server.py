"""Measures a server under load: `python -m benchmarks.server --model RUN --source DIR`.

DIR holds `ravdess/` (default: what EMOTION_TF_REAL_DATA names). Starts a plain FastAPI endpoint that decodes and calls
the SavedModel clip by clip, and behind it `python -m emotion_tf.serve`, with the SavedModel and with each LiteRT file
that the export holds; this process asks each over loopback. The rate of requests is raised until the 99th percentile
of their time reaches 250 ms or one fails; the highest rate that held is then held for --seconds. After that the server
with the SavedModel gets twice its rate for --overload-seconds: every
request must get an answer or its refusal, and the memory of all its processes is watched. Then --streams WebSocket
clients speak at once, and at last it is killed under load and started again. Writes results/server.json beside this
file.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import itertools
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import children_of, processor_seconds, resident_mib
from benchmarks.result_files import read_result, write_result
from benchmarks.served import Server
from emotion_tf.serving.loading import find_version
from pipelines import audio
from pipelines.command import InputError, run_command

LONGEST_P99 = 0.25
TRIAL_SECONDS = 8.0
BOUNDARY = "boundary-of-a-form"

_START_RATE, _FACTOR = 16.0, 1.25
_STREAM_SECONDS = 20.0
_PARTS = ("server", "decoding", "client")
_CHUNK_SECONDS = 0.1
_LATE_SECONDS = 0.5


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result.

    Raises:
      InputError: No recordings, or a model that cannot be served.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--source", type=Path, default=os.environ.get("EMOTION_TF_REAL_DATA"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--overload-seconds", type=float, default=600.0)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--only-overload", action="store_true", help="at twice the rate of the result that is there")
    arguments = parser.parse_args(argv)
    if arguments.source is None:
        raise InputError("there is no folder of recordings: give --source, or set EMOTION_TF_REAL_DATA.")
    files = sorted((Path(arguments.source) / "ravdess").rglob("*.flac"))[:64]
    if not files:
        raise InputError(f"{arguments.source} holds no ravdess/ with .flac files: name the folder above it.")
    bodies = [_form(path.read_bytes()) for path in files]
    result = read_result("server") if arguments.only_overload else _rates(arguments, bodies)
    with Server(arguments.model) as server:
        asyncio.run(_load(server.url, bodies, _START_RATE, TRIAL_SECONDS))  # Kernels are compiled.
        result["overload"] = _overload(server, bodies, 2 * result["server"]["rate"], arguments.overload_seconds)
        if not arguments.only_overload:
            result["streams"] = asyncio.run(_streams(server.url, arguments.streams, files[0]))
            result["restart"] = _restart(server, bodies)
    write_result("server", result)
    print(json.dumps(result, indent=1))


def _rates(arguments: argparse.Namespace, bodies: Sequence[bytes]) -> dict[str, Any]:
    """Finds the highest rates of the plain endpoint, of the server, and of the server with files of LiteRT."""
    result: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load_average": round(os.getloadavg()[0], 1)}
    with Server(arguments.model, module="benchmarks.plain_server") as plain:
        result["plain"] = _highest(plain, bodies, arguments.seconds)
    with Server(arguments.model) as server:
        result["server"] = _highest(server, bodies, arguments.seconds)
    result["times_plain"] = round(result["server"]["rate"] / result["plain"]["rate"], 2)
    result["litert"] = {}
    for file in sorted((find_version(arguments.model) / "litert").glob("model*.tflite")):
        with Server(file) as server:
            found = _highest(server, bodies, arguments.seconds)
        times = {"times_plain": round(found["rate"] / result["plain"]["rate"], 2)}
        result["litert"][file.name] = found | times | {"seconds_to_ready": round(server.seconds_to_ready, 2)}
    return result


def _form(content: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'.encode()
    return head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclasses.dataclass
class Load:
    """What became of requests that were sent at a steady rate.

    Attributes:
      seconds: How long they were sent.
      times: Of each that was answered with 200, in seconds from when it was due.
      statuses: Status -> how many; "failed" for those without one.
    """

    seconds: float
    times: list[float] = dataclasses.field(default_factory=list)
    statuses: dict[str, int] = dataclasses.field(default_factory=collections.Counter)

    @property
    def holds(self) -> bool:
        """Whether all were answered, and 99 of 100 in time."""
        return set(self.statuses) == {"200"} and float(np.quantile(self.times, 0.99)) <= LONGEST_P99

    def facts(self, rate: float) -> dict[str, Any]:
        """Makes the numbers of a result."""
        percentiles = np.quantile(self.times, (0.5, 0.99)) if self.times else (float("nan"),) * 2
        facts = {"rate": round(rate, 2), "seconds": self.seconds, "statuses": dict(self.statuses)}
        return facts | {"p50_ms": round(1000 * percentiles[0], 1), "p99_ms": round(1000 * percentiles[1], 1)}


async def _load(url: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Load:
    """Sends requests when they are due, whether the ones before are answered or not."""
    load, loop = Load(seconds), asyncio.get_running_loop()
    begin, sent = loop.time() + 0.1, list[asyncio.Task[None]]()
    for number in range(max(2, round(rate * seconds))):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        sent.append(loop.create_task(_ask(url, bodies[number % len(bodies)], due, load)))
    await asyncio.gather(*sent)
    return load


async def _ask(url: str, body: bytes, due: float, load: Load) -> None:
    try:
        status = await asyncio.wait_for(_post(url, body), 70)
    except (OSError, TimeoutError, ValueError, IndexError):
        status = "failed"
    load.statuses[status] += 1
    if status == "200":
        load.times.append(asyncio.get_running_loop().time() - due)


async def _post(url: str, body: bytes) -> str:
    """Sends one request over a connection of its own, and returns its status."""
    host = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    try:
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: {host.netloc}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.read()
        return answer.split(b" ", 2)[1].decode()
    finally:
        writer.close()


def _highest(server: Server, bodies: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Finds the highest rate that holds, and holds it; a rate that does not hold for so long is lowered."""
    url, rate, tried = server.url, _START_RATE, 0.0
    asyncio.run(_load(url, bodies, _START_RATE, TRIAL_SECONDS / 2))  # Kernels are compiled.
    while asyncio.run(_load(url, bodies, rate, TRIAL_SECONDS)).holds:
        tried, rate = rate, rate * _FACTOR
    rate = tried or _START_RATE
    before = _spent(server)
    while not (load := asyncio.run(_load(url, bodies, rate, seconds))).holds and rate > 0.5:
        rate /= _FACTOR**0.5
        before = _spent(server)
    spent = 1000 * (_spent(server) - before) / sum(load.statuses.values())
    facts = {"holds": load.holds, "memory_mib": round(_memory_mib(server))}
    return load.facts(rate) | facts | {"processor_ms": dict(zip(_PARTS, np.round(spent, 1).tolist(), strict=True))}


def _spent(server: Server) -> np.ndarray:
    """Processor seconds so far of `_PARTS`: the process of the model, those that decode for it, and this one."""
    number = server.process.pid
    return np.array([processor_seconds(number), sum(map(processor_seconds, children_of(number))), time.process_time()])


def _overload(server: Server, bodies: Sequence[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Sends more than the server can answer, minute by minute, and watches its memory."""
    parts, memory = [], list[tuple[float, float]]()
    step, begin = min(60.0, seconds / 5), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        parts.append(asyncio.run(_load(server.url, bodies, rate, step)))
        memory.append((time.perf_counter() - begin, _memory_mib(server)))
    times = list(itertools.chain.from_iterable(part.times for part in parts))
    statuses = sum((collections.Counter(part.statuses) for part in parts), collections.Counter[str]())
    facts = Load(seconds, times, statuses).facts(rate)
    # The first parts fill caches.
    minutes, mib = np.array(memory[len(memory) // 3 :]).T / np.array([[60.0], [1.0]])
    slope = float(np.polyfit(minutes, mib, 1)[0]) if len(mib) > 1 else float("nan")
    return facts | {"memory_mib": [round(one) for _, one in memory], "mib_a_minute": round(slope, 2)}


def _memory_mib(server: Server) -> float:
    return sum(resident_mib(one) for one in (server.process.pid, *children_of(server.process.pid)))


async def _streams(url: str, count: int, file: Path) -> dict[str, Any]:
    """Lets clients speak at once, in real time, and measures how late their answers come."""
    waveform = audio.read_recording(file).waveform
    repeated = np.resize(waveform, round(_STREAM_SECONDS * audio.SAMPLE_RATE))
    found = await asyncio.gather(*(_speak(url, repeated, number / count) for number in range(count)))
    late = [seconds for delays, _ in found for seconds in delays]
    due = count * int(_STREAM_SECONDS / 0.5)
    return {
        "clients": count,
        "answers": len(late),
        "answers_due": due,
        "skipped": sum(skipped for _, skipped in found),
        "share_in_half_a_second": round(sum(one <= _LATE_SECONDS for one in late) / due, 4),
        "p95_ms": round(1000 * float(np.quantile(late, 0.95)), 1),
    }


async def _speak(url: str, waveform: np.ndarray, delay: float) -> tuple[list[float], int]:
    """Sends samples as they are spoken; returns how late each answer came, and how many were skipped."""
    from websockets.asyncio.client import connect

    await asyncio.sleep(delay)
    loop, delays, skipped = asyncio.get_running_loop(), list[float](), 0
    size = round(_CHUNK_SECONDS * audio.SAMPLE_RATE)
    async with connect(f"ws{url.removeprefix('http')}/v1/stream?sample_rate={audio.SAMPLE_RATE}") as socket:
        begin = loop.time()

        async def send() -> None:
            for number, start in enumerate(range(0, len(waveform), size), 1):
                await asyncio.sleep(max(0.0, begin + number * _CHUNK_SECONDS - loop.time()))
                await socket.send(waveform[start : start + size].tobytes())
            await socket.send("end")

        sending = loop.create_task(send())
        async for message in socket:
            answer = json.loads(message)
            if answer["type"] == "answer" and "emotion" in answer:
                delays.append(loop.time() - begin - answer["end"])
                skipped += answer["skipped"]
        await sending
    return delays, skipped


def _restart(server: Server, bodies: Sequence[bytes]) -> dict[str, Any]:
    """Kills the server while it is asked, and starts it again."""

    async def killed() -> Load:
        asking = asyncio.create_task(_load(server.url, bodies, 5.0, 2.0))
        await asyncio.sleep(1)
        server.process.kill()
        server.process.wait()
        return await asking

    lost = asyncio.run(killed())
    server.start()
    again = asyncio.run(_load(server.url, bodies, 2.0, 5.0))
    facts = {"seconds_to_ready": round(server.seconds_to_ready, 2), "lost": lost.statuses.get("failed", 0)}
    return facts | {"statuses_after": dict(again.statuses)}


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    sys.exit(run_command(main))
