"""A service that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx

URL = "http://service.test/api"
KEY = "rk_secret-of-the-test"

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def answer(body: Any = None, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body if body is not None else {}, headers=named)


def problem(status: int, code: str, detail: str = "it cannot be", **more: Any) -> httpx.Response:
    headers = {"content-type": "application/problem+json", **more.pop("headers", {})}
    body = {
        "type": f"urn:retrieval:problem:{code}",
        "title": "Problem",
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "req-1",
        **more,
    }
    return httpx.Response(status, content=json.dumps(body), headers=headers)


class Service:
    """Answers by ``METHOD /path`` (below ``/v1``); of a list one after the other, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[httpx.Request] = []

    def on(self, route: str, *answers: Answer) -> None:
        self.answers[route] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read() if not isinstance(request.stream, httpx.AsyncByteStream) else None
        self.asked.append(request)
        path = request.url.raw_path.decode().partition("?")[0].removeprefix("/api").removeprefix("/v1")
        waiting = self.answers.get(f"{request.method} {path}")
        if waiting is None:
            return problem(404, "route_not_found", f"there is no route {request.method} {path}")
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(found, Exception):
            raise found
        if callable(found):
            return found(request)
        # A response can be read once.
        return httpx.Response(found.status_code, content=found.content, headers=_plain(found))

    @property
    def last(self) -> httpx.Request:
        return self.asked[-1]

    def body(self, at: int = -1) -> Any:
        return json.loads(self.asked[at].content)

    def lines(self, at: int = -1) -> list[Any]:
        return [json.loads(line) for line in self.asked[at].content.splitlines()]


def _plain(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "content-length"}


class Awaited:
    """An async object whose coroutines are run to their end, so that one test serves both clients."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target, self._runner = target, runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name == "collection":
            return lambda *args: Awaited(found(*args), self._runner)
        if not inspect.iscoroutinefunction(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            result = self._runner.run(found(*args, **named))
            return Awaited(result, self._runner) if name == "create_collection" else result

        return call
