"""What stands before every route of a server: who may ask, how much at once, how long, and what is written down."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion_tf.serving.metrics import Metrics
from emotion_tf.serving.server_settings import ServerSettings

LOG = logging.getLogger("emotion_tf.serve")

RETRY_AFTER = {"Retry-After": "1"}
"""Seconds: the queue of a server that is overloaded is answered within that."""

LEFT = 499
"""Status of a request whose client left, in metrics and logs, as nginx has it."""

FREE = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token and count for no limit: what watches a server asks them."""


def refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Makes the answer to what is refused: TensorFlow Serving's shape of an error, and that of Open Inference."""
    return JSONResponse({"error": sentence}, status, headers)


class Tokens:
    """Knows whether a token is one of those that may ask; takes as long for each.

    Args:
      tokens: None: everybody may ask.
    """

    def __init__(self, tokens: Iterable[str]):
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    def allow(self, headers: Headers) -> bool:
        """Looks into the header Authorization, or, of a WebSocket, into the protocols `bearer, TOKEN`."""
        if not self._digests:
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            kind, _, token = headers.get("sec-websocket-protocol", "").partition(",")
        if kind.strip().lower() != "bearer":
            return False
        digest = hashlib.sha256(token.strip().encode(errors="surrogateescape")).digest()
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


class Guard:
    """An ASGI application around another one.

    Args:
      app: The routes.
      settings: Limits.
      metrics: Counts every answer.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics):
        self._app, self._settings, self._metrics = app, settings, metrics
        self._tokens, self._num_requests = Tokens(settings.tokens), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what is refused itself, and hands the rest on."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket" and self._refused(scope) is not None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # Before it is accepted: status 403.
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin, seen = time.perf_counter(), _Seen(scope, receive, send, self._settings.max_bytes)
        self._metrics.under_way.inc()
        try:
            refused = self._refused(scope)
            if refused is not None:
                await refused(scope, seen.receive, seen.send)
            else:
                await self._let_in(scope, seen)
        finally:
            self._metrics.under_way.dec()
            self._note(scope, seen, time.perf_counter() - begin)

    async def _let_in(self, scope: Scope, seen: _Seen) -> None:
        self._num_requests += 1
        try:
            await self._within_time(scope, seen)
        finally:
            self._num_requests -= 1

    async def _within_time(self, scope: Scope, seen: _Seen) -> None:
        if scope["path"] in FREE:
            await self._app(scope, seen.receive, seen.send)
            return
        try:
            async with asyncio.timeout(self._settings.timeout_seconds) as timer:
                await _while_wanted(self._app(scope, seen.receive, seen.send), seen)
        except TimeoutError:
            if not timer.expired() or seen.status:
                raise
            sentence = (
                f"no answer was found within {self._settings.timeout_seconds:g} s: send less, or ask again later."
            )
            await refusal(504, sentence)(scope, seen.receive, seen.send)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        """Decides by the head of a request alone; None: it may come in."""
        headers = Headers(scope=scope)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MAX_HEADER_BYTES:
            return refusal(431, f"the headers are larger than {_MAX_HEADER_BYTES} bytes: send less.")
        if not self._is_known_origin(headers):
            return refusal(403, "scripts of other pages may not ask: name their origin with --allow-origin.")
        if scope["path"] in FREE:
            return None
        if not self._tokens.allow(headers):
            sentence = "a token lacks or is not known: send the header Authorization: Bearer TOKEN."
            return refusal(401, sentence, {"WWW-Authenticate": "Bearer"})
        if (length := headers.get("content-length", "0")).isdigit() and int(length[:18]) > self._settings.max_bytes:
            return refusal(413, _too_large(self._settings.max_bytes), {"Connection": "close"})
        if (encoded := _encoded(headers)) is not None:
            return refusal(415, encoded)
        if scope["type"] == "http" and self._num_requests >= self._settings.max_requests:
            return refusal(503, "too many requests are under way: ask again in a second.", RETRY_AFTER)
        return None

    def _is_known_origin(self, headers: Headers) -> bool:
        """Browsers name the page whose script asks; others send no origin."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.origins:
            return True
        try:
            return urlsplit(origin).netloc == headers.get("host") != ""
        except ValueError:
            return False

    def _note(self, scope: Scope, seen: _Seen, seconds: float) -> None:
        """Counts and logs an answer, by its route: no content, no query."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        status = seen.status or LEFT
        self._metrics.count_request(route, method, status, seconds)
        facts = {"time": round(time.time(), 3), "method": method, "route": route, "status": status}
        facts |= {"seconds": round(seconds, 4), "bytes": seen.num_bytes}
        LOG.info(json.dumps(facts))


_TAIL_BYTES = 16
_DRAINED_BYTES, _DRAINED_SECONDS = 2**20, 1.0
_MAX_HEADER_BYTES = 32 * 2**10

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _encoded(headers: Headers) -> str | None:
    """Words the fault of a body that would have to be decoded first: what comes of it may be large, or no text."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        return "the body is compressed: send it as it is, without Content-Encoding."
    kind, options = parse_options_header(headers.get("content-type"))
    if kind == b"multipart/form-data" and options.get(b"charset", b"utf-8").lower() != b"utf-8":
        return "the form states another charset than utf-8: send it in that."
    return None


def _too_large(max_bytes: float) -> str:
    return f"the body is larger than {max_bytes:.0f} bytes: send less at once."


async def _while_wanted(answering: Awaitable[None], seen: _Seen) -> None:
    """Awaits an answer, and gives it up when the client leaves."""
    answer, leaving = asyncio.ensure_future(answering), asyncio.ensure_future(seen.left())
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        if answer.done() or seen.status:  # Once it has its answer, a client leaves, too.
            await answer
    finally:
        for task in (answer, leaving):
            task.cancel()
        await asyncio.gather(answer, leaving, return_exceptions=True)


class _Seen:
    """A request as it passes: counts the bytes of its body, stops on too many, and notes the status of the answer.

    Stops on a form without its end, too, of which Starlette would drop the last field without a word.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: float):
        self._receive, self._send, self._max_bytes = receive, send, max_bytes
        headers = Headers(scope=scope)
        self._is_form, self._tail = headers.get("content-type", "").lower().startswith("multipart/form-data"), b""
        self._waits_for_leave = "expect" in headers
        self.num_bytes = self.status = 0
        self._is_whole = asyncio.Event()

    async def left(self) -> None:
        """Waits until the body is read, and then until the client has left."""
        await self._is_whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def receive(self) -> Message:
        message = await self._receive()
        self.num_bytes += len(message.get("body", b""))
        if self.num_bytes > self._max_bytes:
            raise HTTPException(413, _too_large(self._max_bytes))
        self._tail = (self._tail + message.get("body", b""))[-_TAIL_BYTES:]
        if message["type"] == "http.request" and not message.get("more_body"):
            self._is_whole.set()
            if self._is_form and not self._tail.rstrip().endswith(b"--"):
                raise HTTPException(400, "the form is cut off: its last boundary lacks.")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not message.get("more_body"):
            await self._drain()
        await self._send(message)

    async def _drain(self) -> None:
        """Reads what is left of a body before the end of an answer, within bounds.

        A connection that is closed with bytes unread is reset, and the client may lose the answer (RFC 9112, 9.6). One
        that waits for leave to send (Expect: 100-continue) sends nothing.
        """
        left = 0 if self._waits_for_leave else _DRAINED_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_SECONDS):
                while left > 0 and not self._is_whole.is_set():
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        self._is_whole.set()
