"""Saying no as cheaply as it can be said.

A request that finds no room costs much of what a search costs if it first passes guards, routing, key and
log: at several times the capacity little is left for searches. So while there is no room, whatever asks for
a place among the readers is turned away here, before anything else looks at it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.middleware import REQUEST_ID
from server.http.problems import problem_response
from server.http.routing import rules_of

__all__ = ["Shedding", "gated_names"]


class Shedding:
    """Answers 503 ``overloaded`` to POST requests whose path ends in one of ``names`` while the application's
    gate is full. These are counted and not logged.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http" and scope["method"] == "POST":
            context = getattr(scope["app"].state, "context", None)
            gate = None if context is None else context.gate
            if gate is not None and gate.is_full and scope["path"].rpartition("/")[2] in self._names:
                problem = gate.turn_away()
                request_id = uuid.uuid4().hex
                response = problem_response(problem, request_id)
                response.headers[REQUEST_ID] = request_id
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def gated_names(routers: Collection[Any]) -> set[str]:
    """The last parts of the paths of routes that need room among the readers."""
    return {
        route.path.rpartition("/")[2]
        for router in routers
        for route in router.routes
        if rules_of(route.endpoint).gate and not rules_of(route.endpoint).changes and "POST" in route.methods
    }
