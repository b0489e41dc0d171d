"""The `Door` of machines without httptools: slower, and it leaves refusals to `server.working.shedding`."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PlainDoor"]


class PlainDoor(H11Protocol):
    """A connection to ``app``, of `server.app.create_app`. It cuts off who takes too long for the head of a
    request; how long a head may be, h11 knows."""

    def __init__(self, *, app: FastAPI, **given: Any) -> None:
        super().__init__(**given)
        self._seconds: float = app.state.head_seconds
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it may take its time for a head, but not for ever."""
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        super().data_received(data)
        self._look()

    def _look(self) -> None:
        """Whatever comes stops uvicorn's clock of a connection without a request: while there is no whole
        head, this one runs in its place."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(self._seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
