"""What answers in a server, and what it allows: sizes, times and numbers, who may ask, and from which pages."""

from __future__ import annotations

import dataclasses
import math
import re
from urllib.parse import urlsplit

from emotion_tf.serving.sources import MAX_SECONDS
from pipelines.command import InputError
from pipelines.processes import num_cores

DEFAULT_MODEL = "default"
"""The name of a model that is given without one."""

_FLAGS = {
    "max_bytes": "--max-mib",
    "max_timeline_seconds": "--max-timeline-seconds",
    "max_requests": "--max-requests",
    "max_streams": "--max-streams",
    "max_waiting": "--max-waiting",
    "max_batch": "max_batch",
    "timeout_seconds": "--timeout",
    "num_workers": "--workers",
    "worker_memory_bytes": "--worker-memory-mib",
}
"""Limits above 0, and their flags."""

LEAST_TOKEN_LENGTH = 16

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750, 2.1.

_USUAL_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
      model_format: Of the exports: "savedmodel" or "litert"; None: what their paths name, else the SavedModel.
      max_bytes: Of the body of a request; more is answered with 413.
      max_seconds: Of an utterance; more is answered with 413.
      max_timeline_seconds: Of a recording for a timeline; more is answered with 413.
      max_requests: Under way at once; more are answered with 503 and Retry-After, by their head alone.
      max_streams: Open at once; more are closed with code 1013.
      timeout_seconds: From the head of a request to its answer; then 504.
      batch_wait_seconds: How long an utterance waits for others to be predicted with it.
      max_batch: Utterances that are predicted at once.
      max_waiting: Utterances that wait for a model; more are answered with 503 and Retry-After.
      num_workers: Processes that decode uploads.
      worker_memory_bytes: What each of them may allocate, its libraries included.
      poll_seconds: From one look for a new version of a model to the next; 0: none is looked for.
      tokens: One of them is asked for; none: everybody may ask.
      origins: Other origins whose pages' scripts may ask, such as "https://example.org".

    Raises:
      InputError: Limits that cannot work, or a token that is easily guessed.
    """

    model_format: str | None = None
    max_bytes: float = 32 * 2**20
    max_seconds: float = MAX_SECONDS
    max_timeline_seconds: float = 3600.0
    max_requests: int = 64
    max_streams: int = 32
    timeout_seconds: float = 60.0
    batch_wait_seconds: float = 0.005
    max_batch: int = 32
    max_waiting: int = 256
    num_workers: int = dataclasses.field(default_factory=num_cores)
    worker_memory_bytes: float = 2**30
    poll_seconds: float = 1.0
    tokens: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, flag in _FLAGS.items():
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{flag} cannot work: give a number above 0.")
        if not 0 < self.max_seconds <= MAX_SECONDS:
            raise InputError(
                f"--max-seconds {self.max_seconds:g} cannot work: give more than 0, up to {MAX_SECONDS:g}."
            )
        if not 0 <= self.batch_wait_seconds <= 1:
            raise InputError("--batch-wait-ms must lie between 0 and 1000.")
        if not 0 <= self.poll_seconds < math.inf:
            raise InputError("--poll-seconds cannot work: give a number from 0, which looks for no version.")
        for origin in self.origins:
            if _origin_of(origin) != origin:
                raise InputError(
                    f"--allow-origin {origin} is none that a browser names: give scheme and host, and a port where it"
                    " is not the usual one, as in https://example.org."
                )
        if any(len(token) < LEAST_TOKEN_LENGTH for token in self.tokens):
            raise InputError(f"a token has fewer than {LEAST_TOKEN_LENGTH} characters: make longer ones.")
        if not all(_TOKEN.fullmatch(token) for token in self.tokens):
            raise InputError("a token holds more than letters, digits and ._~+/=-: no client may send it.")


def _origin_of(url: str) -> str | None:
    """Writes the origin of a URL as browsers do (RFC 6454); None: it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, _USUAL_PORTS.get(parts.scheme)) else "")
