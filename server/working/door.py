"""Connections that turn away what finds no room before it becomes a request, and whose heads are bounded.

A request that is refused here costs the parsing of its head and one write: no task is made, nothing of the
application is called, and the connection stays open for the next one.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.http.middleware import REQUEST_ID, request_id_of
from server.http.problems import MEDIA_TYPE, ProblemError, problem_body
from server.security.guard import HEADERS
from server.working.admission import Admission
from server.working.shedding import STATUS, Headers, Refusal

__all__ = ["CLOSE", "Door"]

MAX_HEAD = 64 << 10
"""Bytes of a request's line and headers, of those that come in pieces."""
INVALID = "Invalid HTTP request received."
"""uvicorn's own words."""
MALFORMED = "this is no HTTP request: its method, its path or a header is malformed"
CLOSE = (b"connection", b"close")
ALWAYS = b"".join(b"%b: %b\r\n" % pair for pair in HEADERS) + b"\r\n"


class _Answered:
    """In the place of a request that the application answers: the answer has been sent, and what still comes
    of the body is dropped."""

    response_complete = True
    disconnected = False

    message_event = asyncio.Event()


ANSWERED = _Answered()


class Door(HttpToolsProtocol):
    """A connection to ``app``, of `server.app.create_app`. It gives the `Refusal` itself, and cuts off who
    takes too long for the head of a request."""

    def __init__(self, *, app: FastAPI, **given: Any) -> None:
        super().__init__(**given)
        self._state = app.state
        self._refusal: Refusal = app.state.refusal
        self._is_in_head, self._head_bytes = True, 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it may take its time for a head, but not for ever."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._is_in_head:
            self._stop_waiting()
            self._rest()
        elif self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(f"the head of the request is larger than {MAX_HEAD} bytes")
        else:
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:
        """What is no request is told so as everything else is, and that is the end of the connection."""
        told = MALFORMED if msg == INVALID else msg
        request_id = request_id_of(())
        body = json.dumps(problem_body(ProblemError(400, "bad_request", told), request_id)).encode()
        headers = [(b"content-type", MEDIA_TYPE.encode()), (REQUEST_ID, request_id.encode()), CLOSE]
        self._write(400, [*headers, (b"content-length", b"%d" % len(body))], body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there: turn it away, or make a request of it."""
        self._is_in_head = False
        if self._is_refused():
            self._refuse()
            return
        super().on_headers_complete()
        if self._is_concerned():
            # It takes its place in the first step of its task, which comes before this call.
            self._refusal.coming += 1
            self.loop.call_soon(self._refusal.has_come)

    def _is_refused(self) -> bool:
        """Whether there is no room for it. What is not as simple as nearly all of them takes the long way."""
        return (
            self._is_full()
            and (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused  # who does not read answers waits
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and self._is_concerned()
        )

    def _is_concerned(self) -> bool:
        path = self.url.partition(b"?")[0].decode("latin-1")
        return self._refusal.concerns(self.parser.get_method().decode(), path)

    def _is_full(self) -> bool:
        """Whether as many are in flight as may be, those included that have been read but not begun."""
        context = getattr(self._state, "context", None)
        if context is None:
            return False
        gate: Admission = context.gate
        return not gate.has_room_for(gate.in_flight + self._refusal.coming)

    def _refuse(self) -> None:
        gate, given = self._state.context.gate, self.server_state.default_headers
        is_last, usual = CLOSE in given or not self.parser.should_keep_alive(), None
        if not is_last:
            usual = self._refusal.usual(gate, self.headers, given, self._refused)
        if usual is not None:
            self.transport.write(usual)
        else:
            headers, body = self._refusal.answer(gate, self.headers)
            self._write(STATUS, [*headers, CLOSE] if is_last else headers, body)
        self.cycle = ANSWERED  # type: ignore[assignment]
        if is_last:
            self.transport.close()
        self.on_response_complete()

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        self.transport.write(self._written(status, headers, body))

    def _refused(self, headers: Headers, body: bytes) -> bytes:
        return self._written(STATUS, headers, body)

    def _written(self, status: int, headers: Headers, body: bytes) -> bytes:
        given = (pair for pair in self.server_state.default_headers if pair not in headers)
        lines = [b"%b: %b\r\n" % pair for pair in (*given, *headers)]
        return b"".join((STATUS_LINE[status], *lines, ALWAYS, body))

    def _rest(self) -> None:
        """Start the clock of a connection without a request. uvicorn stops it at each byte, also of a body
        that nobody reads, and starts it with an answer alone."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        if is_answered and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _wait_for_head(self) -> None:
        if self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(self._state.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
