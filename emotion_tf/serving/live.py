"""A voice over a WebSocket: samples in, answers about the last seconds and events of the voice gate out."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import numpy as np
import soxr
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from emotion_tf.serving.batching import OverloadedError
from emotion_tf.serving.recordings import as_object, sentence_of
from emotion_tf.serving.served_model import Wanted
from emotion_tf.serving.server_settings import DEFAULT_MODEL
from emotion_tf.serving.service import NotServedError, Service
from emotion_tf.serving.stream import Stream
from pipelines.audio import SAMPLE_RATE
from pipelines.audio.voice import TurnTracker, VoiceGate
from pipelines.command import InputError

ANSWER_SECONDS = 0.5
"""From one answer to the next, counted in samples."""

END = "end"
"""The text message after which the rest is answered and the stream closed."""

MAX_MESSAGE_BYTES = 2**20

# Of the WebSocket protocol.
_NORMAL, _GOING_AWAY, _REFUSED, _LATER = 1000, 1001, 1008, 1013


def make_router(service: Service) -> APIRouter:
    """Makes the route."""
    router = APIRouter()
    open_streams: set[WebSocket] = set()

    @router.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept("bearer" if "bearer" in socket.scope.get("subprotocols", ()) else None)
        if len(open_streams) >= service.settings.max_streams:
            await _close(socket, _LATER, "too many streams are open: come back later.")
            return
        open_streams.add(socket)
        service.metrics.streams.inc()
        try:
            await _Conversation(socket, service).hold()
        except (InputError, NotServedError) as error:
            await _close(socket, _REFUSED, sentence_of(error) if isinstance(error, InputError) else str(error))
        finally:
            open_streams.discard(socket)
            service.metrics.streams.dec()

    return router


async def _close(socket: WebSocket, code: int, sentence: str) -> None:
    """Says why, and closes."""
    with _left():
        await socket.send_json({"error": sentence})
        await socket.close(code)


def _left() -> contextlib.AbstractContextManager[None]:
    """Does without telling a client that has gone meanwhile."""
    return contextlib.suppress(WebSocketDisconnect, RuntimeError)


class _Ears:
    """What of a stream is computed outside of the event loop: the window, and where somebody speaks."""

    def __init__(self, stream: Stream, sample_rate: float):
        self._stream = stream
        self._to_16_khz = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, "float32", quality="HQ")
        self._gate, self._turns = VoiceGate(), TurnTracker()

    def take(self, content: bytes) -> list[tuple[bool, float]]:
        """Takes the next samples, and tells where speech started or stopped."""
        self._stream.add(content)
        samples = np.frombuffer(content, "<i2").astype(np.float32) / 32768
        return self._turns(self._gate(self._to_16_khz.resample_chunk(samples)))

    def finish(self) -> list[tuple[bool, float]]:
        """Ends the voice."""
        rest = self._gate(self._to_16_khz.resample_chunk(np.zeros(0, np.float32), last=True))
        return self._turns(rest) + self._turns.finish()


class _Conversation:
    """One client: a task reads what comes, another answers as fast as the model allows."""

    def __init__(self, socket: WebSocket, service: Service):
        query = socket.query_params
        self._socket, self._service = socket, service
        self._name = query.get("model", DEFAULT_MODEL)
        self._sample_rate = _rate(query.get("sample_rate", str(SAMPLE_RATE)))
        self._stream = service.model(self._name).predictor.stream(self._sample_rate)
        self._ears = _Ears(self._stream, self._sample_rate)
        self._num_samples = self._num_answered = 0
        self._due, self._is_over = asyncio.Event(), False

    async def hold(self) -> None:
        """Reads and answers until the client ends or leaves.

        Raises:
          InputError: What is no stream of samples.
        """
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._answer())]
        try:
            await asyncio.gather(*tasks)
        except WebSocketDisconnect:
            return
        finally:
            for task in tasks:
                task.cancel()
        with _left():
            await self._socket.close(_NORMAL)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", _GOING_AWAY))
            if message.get("bytes") is not None:
                await self._take(message["bytes"])
            elif message.get("text") == END:
                break
            else:
                raise InputError(
                    f"a text message is none that is known: send samples as bytes, and {END!r} at the end."
                )
        await self._tell(await self._service.aside(self._ears.finish))
        self._is_over = True
        self._due.set()

    async def _take(self, content: bytes) -> None:
        await self._tell(await self._service.aside(self._ears.take, content))
        self._num_samples += len(content) // 2
        if self._num_samples - self._num_answered >= ANSWER_SECONDS * self._sample_rate:
            self._due.set()

    async def _tell(self, events: list[tuple[bool, float]]) -> None:
        for is_start, seconds in events:
            kind = "speech_started" if is_start else "speech_stopped"
            await self._socket.send_json({"type": kind, "seconds": round(seconds, 3)})

    async def _answer(self) -> None:
        """Answers about the last seconds; what came due while the model was busy is skipped, and told."""
        while not self._is_over or self._num_answered < self._num_samples:
            await self._due.wait()
            self._due.clear()
            num_samples = self._num_samples
            if num_samples == self._num_answered:
                continue
            num_due = (num_samples - self._num_answered) / (ANSWER_SECONDS * self._sample_rate)
            self._num_answered = num_samples
            about = {
                "type": "answer",
                "end": round(num_samples / self._sample_rate, 3),
                "skipped": max(0, int(num_due) - 1),
            }
            await self._socket.send_json(about | await self._prediction())

    async def _prediction(self) -> dict[str, Any]:
        with self._service.model(self._name) as model:  # A newer version may have come.
            self._stream.predictor = model.predictor
            given = await self._service.aside(self._stream.read)
            try:
                return as_object(await model.queue.submit(Wanted(given, with_changes=False)))
            except OverloadedError as error:
                return {"overloaded": str(error)}


def _rate(text: str) -> float:
    """Reads the sample rate.

    Raises:
      InputError: It is no number.
    """
    try:
        rate = float(text)
    except ValueError:
        raise InputError("sample_rate is no number: give Hz.") from None
    if not math.isfinite(rate):
        raise InputError("sample_rate is no number: give Hz.")
    return int(rate) if rate.is_integer() else rate
