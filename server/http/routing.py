"""What a route asks of a request before any of its body is read: who sends it, what it carries, how much.

    @router.post("/{collection}/search")
    @api("read", gate=True)
    async def search(collection: str, body: SearchRequest, context: Context) -> Response: ...

The order is: key (401), right (403), read-only (403), media type (415), declared length (413), room (503).
Only then the body is read, within its limit, and its JSON is parsed within its depth.
"""

from __future__ import annotations

import asyncio
import email.message
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_type_hints

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from server.context import AppContext
from server.http.media import JSON
from server.http.problems import CLIENT_GONE, ProblemError
from server.security.access import Scope
from server.security.limits import parse_json
from server.working.pool import Disconnected

__all__ = ["ApiRoute", "Rules", "UnfitBody", "api", "make_router", "rules_of"]

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
BODY_SECONDS = 30.0
"""How long a body may take, and one second more for every `SLOWEST` bytes of it."""
SLOWEST = 16 << 10

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a route asks. ``scope`` None: no key is needed, for whoever watches the process alone."""

    scope: Scope | None
    takes: tuple[str, ...] = (JSON,)
    gate: bool = False
    large: bool = False
    gzip: bool = False
    browser: bool = False
    changes: bool = False
    direct: bool = False


class UnfitBody(Exception):
    """JSON that is no request; FastAPI says why, from the ``body``."""

    def __init__(self, body: bytes) -> None:
        super().__init__("not a request")
        self.body = body


def api(
    scope: Scope | None,
    *,
    takes: tuple[str, ...] = (JSON,),
    gate: bool = False,
    large: bool = False,
    gzip: bool = False,
    browser: bool = False,
    changes: bool | None = None,
    direct: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Say what a route asks; below the router's decorator.

    ``takes``: media types of its body. ``gate``: it needs room among the requests in flight. ``large``: its
    body may be as large as documents may. ``gzip``: it may be compressed; the route decompresses it.
    ``browser``: a browser may ask its user for the key. ``changes``: a read-only server refuses it (default:
    unless it only reads). ``direct``: it takes ``collection``, ``body``, ``request`` and ``context``, and
    FastAPI need not find that out at each request (`server.http.direct`).
    """
    changing = scope in ("write", "admin") if changes is None else changes
    rules = Rules(scope, takes, gate, large, gzip, browser, changing, direct)

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.rules = rules  # type: ignore[attr-defined]
        return endpoint

    return mark


def make_router(prefix: str, tag: str) -> APIRouter:
    """A router whose routes are all guarded."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=ApiRoute)


class ApiRoute(APIRoute):
    """A route with `Rules`."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler behind the checks."""
        handle = super().get_route_handler()
        rules = rules_of(self.endpoint)
        is_parsed = self.body_field is not None

        async def guarded(request: Request) -> Response:
            context = cast(AppContext, request.app.state.context)
            with _admitted(request, context, rules) as limited:
                if is_parsed:
                    await _parse(limited, context, rules)
                try:
                    return await handle(limited)
                except Disconnected:
                    return Response(status_code=CLIENT_GONE)

        return guarded

    def get_direct_handler(self) -> Handler:
        """The function of a route that is ``direct``, behind the same checks.

        The handler raises `UnfitBody` besides what the function raises.
        """
        rules, endpoint = rules_of(self.endpoint), self.endpoint
        model: type[BaseModel] = get_type_hints(endpoint)["body"]

        async def direct(request: Request) -> Response:
            context = cast(AppContext, request.app.state.context)
            with _admitted(request, context, rules) as limited:
                content = await _parse(limited, context, rules)
                try:
                    body = model.model_validate(limited.parsed)
                except ValidationError:
                    raise UnfitBody(content) from None
                named = request.path_params["collection"]
                answer = await endpoint(collection=named, body=body, request=limited, context=context)
                return cast(Response, answer)

        return direct


def rules_of(endpoint: Callable[..., Any]) -> Rules:
    """The rules of a route's function; a route without any is a mistake of ours."""
    return cast(Rules, endpoint.rules)  # type: ignore[attr-defined]


class _ApiRequest(Request):
    """A request whose JSON has been parsed within its limits."""

    parsed: Any = None

    async def json(self) -> Any:
        """What was parsed."""
        return self.parsed


@contextmanager
def _admitted(request: Request, context: AppContext, rules: Rules) -> Iterator[_ApiRequest]:
    """The request, its body within bounds, in its place among those in flight."""
    _authorise(request, context, rules)
    if request.method in BODY_METHODS:
        _check_media(request, rules)
    limit = context.settings.max_documents_bytes if rules.large else context.settings.max_body_bytes
    _check_length(request, limit)
    with _room(context, rules):
        yield _ApiRequest(request.scope, _limited(request.receive, limit))


async def _parse(request: _ApiRequest, context: AppContext, rules: Rules) -> bytes:
    """Read the body and parse it."""
    body = await _whole(request)
    request.parsed = parse_json(body, context.settings.max_json_depth)
    _check_right(request, context, rules)  # an alias may lead elsewhere by now
    return body


def _room(context: AppContext, rules: Rules) -> AbstractContextManager[None]:
    """A place among the requests in flight; what reads and what writes do not take each other's."""
    if not rules.gate:
        return nullcontext()
    return (context.write_gate if rules.changes else context.gate).enter()


def _authorise(request: Request, context: AppContext, rules: Rules) -> None:
    if rules.scope is None:
        return
    request.state.principal = context.access.authenticate(request.headers, browser=rules.browser)
    _check_right(request, context, rules)
    if rules.changes and context.settings.read_only:
        told = "this server is read-only; send changes to the one that writes"
        raise ProblemError(403, "read_only", told)


def _check_right(request: Request, context: AppContext, rules: Rules) -> None:
    if rules.scope is None:
        return
    named = request.path_params.get("collection")
    own = None if named is None else context.registry.true_name(named)
    request.state.principal.require(rules.scope, own, called=named)


def _check_media(request: Request, rules: Rules) -> None:
    if _media_type(request.headers.get("content-type", "")) not in rules.takes:
        accepted = ", ".join(rules.takes)
        told = f"send the body as Content-Type: {' or '.join(rules.takes)}"
        raise ProblemError(415, "unsupported_media_type", told, headers={"Accept": accepted})
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity" and not (rules.gzip and encoding == "gzip"):
        known = "gzip, identity" if rules.gzip else "identity"
        told = f"Content-Encoding '{encoding[:40]}' is not taken here; there is: {known}"
        raise ProblemError(415, "unsupported_media_type", told, headers={"Accept-Encoding": known})


def _media_type(header: str) -> str:
    if header == JSON:  # nearly always
        return header
    given = email.message.Message()
    given["content-type"] = header
    return given.get_content_type()


def _check_length(request: Request, limit: int) -> None:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)


def _limited(receive: Receive, limit: int) -> Receive:
    """``receive``, until more has come than may, where no length was declared; or until the body takes longer
    than it may, and with it a place among the requests in flight."""
    received, is_whole = 0, False
    began = time.monotonic()

    async def receive_limited() -> Message:
        nonlocal received, is_whole
        if is_whole:  # what comes now is that the client has gone
            return await receive()
        patience = BODY_SECONDS + received / SLOWEST - (time.monotonic() - began)
        try:
            async with asyncio.timeout(patience):
                message = await receive()
        except TimeoutError:
            told = f"the body comes too slowly: {received} bytes in {time.monotonic() - began:.0f} s"
            raise ProblemError(408, "body_too_slow", told, headers={"Connection": "close"}) from None
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
        return message

    return receive_limited


async def _whole(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        raise ProblemError(400, "body_cut_off", "the client went away before the body had come") from None


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, "body_too_large", f"the body is larger than {limit} bytes")
