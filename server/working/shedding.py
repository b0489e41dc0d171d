"""Saying no as cheaply as it can be said.

A request that finds no room costs much of what a search costs if it first passes guards, routing, key and
log: at several times the capacity little is left for searches. So while there is no room, whatever asks for
a place among the readers is turned away before anything else looks at it: by the connection itself where it
can (`server.working.door`), else here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.middleware import REQUEST_ID, request_id_of
from server.http.problems import MEDIA_TYPE, problem_body
from server.http.routing import rules_of
from server.security.guard import cors_headers
from server.working.admission import Admission

__all__ = ["Headers", "Refusal", "Shedding", "gated_names"]

Headers = list[tuple[bytes, bytes]]
Parts = tuple[bytes, bytes, bytes]
STATUS = 503
_PLACE = "{id}"
_SOME_ID = b"-" * 32
"""As long as one that is made, and found nowhere else in an answer."""


class Refusal:
    """503 ``overloaded`` for POST requests whose path ends in one of ``names``; these are counted and not
    logged. ``origins``: of web pages that may call, and so may read it.

    ``coming`` is how many of them have been let in, but have not begun. Belongs to the event loop: no lock.
    """

    def __init__(self, names: Collection[str], origins: Collection[str] = ()) -> None:
        self._names = frozenset(names)
        self._origins = frozenset(origin.encode() for origin in origins)
        self._made: WeakKeyDictionary[Admission, tuple[Headers, bytes, bytes]] = WeakKeyDictionary()
        self._usual: tuple[Admission, object, Parts] | None = None
        self.coming = 0

    def has_come(self) -> None:
        """One that was let in has begun."""
        self.coming -= 1

    def concerns(self, method: str, path: str) -> bool:
        """Whether such a request is turned away where there is no room."""
        return method == "POST" and path.rpartition("/")[2] in self._names

    def answer(self, gate: Admission, asked: Iterable[tuple[bytes, bytes]]) -> tuple[Headers, bytes]:
        """Headers and body for a request with the headers ``asked``, which is counted."""
        gate.turned_away += 1
        return self._answer(gate, asked)

    def usual(
        self,
        gate: Admission,
        asked: Iterable[tuple[bytes, bytes]],
        beside: object,
        written: Callable[[Headers, bytes], bytes],
    ) -> bytes | None:
        """All that is sent for a request that is counted; None for one that names an id or may come from a
        web page: those get an `answer` of their own, all others differ in the id alone.

        ``written`` makes bytes of an answer; they are the same as long as ``beside`` is the same object.
        """
        if self._origins or any(name == REQUEST_ID for name, _ in asked):
            return None
        if self._usual is None or self._usual[0] is not gate or self._usual[1] is not beside:
            whole = written(*self._answer(gate, [(REQUEST_ID, _SOME_ID)]))
            before, between, after = whole.split(_SOME_ID)
            self._usual = gate, beside, (before, between, after)
        gate.turned_away += 1
        return request_id_of(()).encode().join(self._usual[2])

    def _answer(self, gate: Admission, asked: Iterable[tuple[bytes, bytes]]) -> tuple[Headers, bytes]:
        request_id = request_id_of(asked).encode()
        common, before, after = self._parts(gate)
        headers = [
            *common,
            (b"content-length", b"%d" % (len(before) + len(request_id) + len(after))),
            (REQUEST_ID, request_id),
        ]
        if self._origins:
            origin = next((value for name, value in asked if name == b"origin"), b"")
            headers += cors_headers(origin, self._origins)
        return headers, before + request_id + after

    def _parts(self, gate: Admission) -> tuple[Headers, bytes, bytes]:
        """Headers, and the body before and after the request's id: the same for all."""
        if gate not in self._made:
            problem = gate.refusal
            headers = {"content-type": MEDIA_TYPE, **problem.headers}
            before, _, after = json.dumps(problem_body(problem, _PLACE)).partition(_PLACE)
            common = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            self._made[gate] = common, before.encode(), after.encode()
        return self._made[gate]


class Shedding:
    """Gives the `Refusal` while the application's gate is full."""

    def __init__(self, app: ASGIApp, refusal: Refusal) -> None:
        self._app, self._refusal = app, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        context = getattr(scope["app"].state, "context", None) if scope["type"] == "http" else None
        is_full = context is not None and context.gate.is_full
        if context is not None and is_full and self._refusal.concerns(scope["method"], scope["path"]):
            headers, body = self._refusal.answer(context.gate, scope["headers"])
            await send({"type": "http.response.start", "status": STATUS, "headers": headers})
            await send({"type": "http.response.body", "body": body})
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
