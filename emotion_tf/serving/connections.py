"""Connections of a server: one that sends no head of a request in time is closed, for each takes one of its files."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 30.0
"""From the start of a connection, or from an answer, to the end of the next head."""


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Uvicorn's own protocol, which waits forever for the rest of a head."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Waits for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def on_response_complete(self) -> None:
        """Waits for the next one."""
        super().on_response_complete()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._close_without_head)

    def _close_without_head(self) -> None:
        is_stream = self.transport.get_protocol() is not self
        if not is_stream and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
