"""The short way to the routes that must be fast: past FastAPI's routing and its search for arguments, which
cost about as much as a small search.

What is asked of a request, and what a client is told, are the same on both ways (`ApiRoute`). A body that is
no request goes the long way, where FastAPI says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection

from fastapi import APIRouter, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.problems import problem_of
from server.http.routing import ApiRoute, UnfitBody, rules_of

__all__ = ["Direct"]


class Direct:
    """Serves POST requests to the routes that are ``direct``; the application behind it serves all else."""

    def __init__(self, app: ASGIApp, routers: Collection[APIRouter]) -> None:
        self._app = app
        routes = [route for router in routers for route in router.routes if isinstance(route, ApiRoute)]
        self._routes = [
            (route.path_regex, route, route.get_direct_handler())
            for route in routes
            if rules_of(route.endpoint).direct
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path"):
            for pattern, route, handle in self._routes:
                if found := pattern.match(scope["path"]):
                    scope["route"], scope["path_params"] = route, found.groupdict()
                    request = Request(scope, receive)
                    try:
                        response = await handle(request)
                    except UnfitBody as unfit:
                        await self._app(scope, _again(unfit.body, receive), send)
                        return
                    except Exception as error:  # noqa: BLE001 - what is no problem is raised again
                        response = await problem_of(request, error)
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """``receive``, from the beginning of a body that has been read."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again
