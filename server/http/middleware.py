"""What surrounds every request: its id, its log line, its last resort."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from random import getrandbits
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.problems import CLIENT_GONE, internal_problem, problem_response

__all__ = ["REQUEST_ID", "RequestContext", "request_id_of"]

REQUEST_ID = b"x-request-id"
NO_ROUTE = "none"
SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """Gives each request an id, logs one line for it, and answers 500 when the code below failed."""

    def __init__(self, app: ASGIApp, log: Any) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(scope["headers"])
        header = (REQUEST_ID, request_id.encode())
        scope.setdefault("state", {}).update(request_id=request_id, began=started)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:  # noqa: BLE001 - the last resort: a client never sees a traceback
                self._log.exception("unexpected error", method=scope["method"], path=scope["path"])
                if status is None:
                    await problem_response(internal_problem(), request_id)(scope, receive, send_with_id)
            seconds = time.perf_counter() - started
            _count(scope, status, seconds)
            ms = round(seconds * 1000, 3)
            self._log.info("request", method=scope["method"], path=scope["path"], status=status, ms=ms)


def _count(scope: Scope, status: int | None, seconds: float) -> None:
    """Under the route's template: a path that was sent could be anything."""
    context = getattr(scope["app"].state, "context", None)
    if context is not None:
        template = getattr(scope.get("route"), "path", NO_ROUTE)
        context.metrics.request(template, scope["method"], status or CLIENT_GONE, seconds)


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's id if it is safe to log and send back, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID and SANE_REQUEST_ID.fullmatch(value):
            return value.decode()
    return f"{getrandbits(128):032x}"
