"""Which bodies a route takes, decided before any of the body is read."""

from __future__ import annotations

import email.message
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from server.problems import ProblemError

__all__ = ["JsonRoute"]

JSON = "application/json"


class JsonRoute(APIRoute):
    """A route whose body is JSON, not compressed; anything else is 415."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the check."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            _check_headers(request)
            return await handle(request)

        return checked


def _check_headers(request: Request) -> None:
    given = email.message.Message()
    given["content-type"] = request.headers.get("content-type", "")
    if given.get_content_type() != JSON:
        told = f"send the body as Content-Type: {JSON}"
        raise ProblemError(415, "unsupported_media_type", told, headers={"Accept": JSON})
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        told = "send the body uncompressed, without Content-Encoding"
        raise ProblemError(415, "unsupported_media_type", told, headers={"Accept-Encoding": "identity"})
