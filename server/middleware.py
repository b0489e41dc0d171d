"""What surrounds every request: its id, its log line, its size limit, its last resort."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.problems import ProblemError, internal_problem, problem_response

__all__ = ["BodyLimit", "RequestContext"]

REQUEST_ID = "X-Request-ID"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


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
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:  # noqa: BLE001 - the last resort: a client never sees a traceback
                self._log.exception("unexpected error", method=scope["method"], path=scope["path"])
                if status is None:
                    await problem_response(internal_problem(), request_id)(scope, receive, send_with_id)
            ms = round((time.perf_counter() - started) * 1000, 3)
            self._log.info("request", method=scope["method"], path=scope["path"], status=status, ms=ms)


class BodyLimit:
    """Refuses a body beyond ``max_bytes`` before it is parsed: by its declared length at once, and
    by what arrives where no length was declared."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            problem = ProblemError(413, "body_too_large", self._told())
            await problem_response(problem, scope["state"]["request_id"])(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._told())
            return message

        await self._app(scope, receive_limited, send)

    def _told(self) -> str:
        return f"the body is larger than {self._max_bytes} bytes"


def _request_id(given: str | None) -> str:
    """The client's id if it is safe to log and send back, else a new one."""
    return given if given and SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
