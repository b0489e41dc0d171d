"""What every request passes before any route: is it for this server, and does a foreign web page send it?

A server on a loopback address is within reach of every page that its user's browser shows. `HostGuard` stops
a page whose own name was pointed at this address, `OriginGuard` one that sends requests across origins.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.problems import ProblemError, problem_response
from server.settings import ServerSettings

__all__ = ["HEADERS", "Guard", "HostGuard", "OriginGuard", "SecurityHeaders", "cors_headers"]

HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
READING = frozenset({"GET", "HEAD"})
# As they are sent; of whatever the route has not set itself.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CORS_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "X-Request-ID",
    "api-key",
)
CORS_EXPOSED = ("Location", "Retry-After", "WWW-Authenticate", "X-Request-ID")


class Guard:
    """All guards around an application, as the settings say.

    It stands within `server.http.middleware.RequestContext`: the problems it answers with need the
    request's id.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=CORS_METHODS,
                allow_headers=CORS_HEADERS,
                expose_headers=CORS_EXPOSED,
                allow_credentials=False,
            )
        app = OriginGuard(app, settings.cors_origins)
        self._app = HostGuard(app, settings.host_names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        await self._app(scope, receive, send)


class HostGuard:
    """Refuses a request whose ``Host`` header names another server: 400 ``bad_host``.

    ``allowed`` holds names in lower case, without port: ``api.example.org``, ``*.example.org``, ``[::1]``, or
    ``*`` for any.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._any = "*" in allowed
        self._names = frozenset(allowed)
        self._suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http" or self._any or self._is_ours(Headers(scope=scope).getlist("host")):
            await self._app(scope, receive, send)
            return
        told = (
            "the Host header does not name this server; call it by its name, or add that name to the "
            "setting 'allowed_hosts'"
        )
        await _refuse(ProblemError(400, "bad_host", told), scope, receive, send)

    def _is_ours(self, given: list[str]) -> bool:
        found = HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            return False
        name = found["name"].lower().removesuffix(".")
        return name in self._names or name.endswith(self._suffixes)


class OriginGuard:
    """Refuses what a web page of another origin sends, except GET and HEAD: 403 ``cross_site``.

    ``allowed`` holds origins in lower case (``https://example.org``) that may. Reading needs no guard:
    without CORS the browser does not show that page the answer.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http" or scope["method"] in READING or self._may(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        told = (
            "a web page of another origin sent this; if that page may, add its origin to the setting "
            "'cors_origins'"
        )
        await _refuse(ProblemError(403, "cross_site", told), scope, receive, send)

    def _may(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None and origin.lower() in self._allowed:
            return True
        site = headers.get("sec-fetch-site")
        if site is not None:
            # The browser says so itself, no page can; right also where a proxy changes the Host header.
            return site.lower() in {"same-origin", "none"}
        # Browsers name the origin of whatever may write; other programs send none.
        return origin is None or _is_origin_of(origin, headers.get("host", ""))


class SecurityHeaders:
    """Adds `HEADERS` to every answer that does not have its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message["headers"]
                names = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(pair for pair in HEADERS if pair[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def cors_headers(origin: bytes, allowed: Collection[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """What `CORSMiddleware` adds for a page of ``origin``, to be added to an answer that does not pass it.
    ``allowed`` are the origins that may call."""
    if origin not in allowed:
        return ()
    exposed = ", ".join(CORS_EXPOSED).encode()
    return (
        (b"access-control-expose-headers", exposed),
        (b"access-control-allow-origin", origin),
        (b"vary", b"Origin"),
    )


def _is_origin_of(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` was served under this ``Host``. The scheme does not count: a proxy in
    front may speak HTTPS for us."""
    try:
        page = urlsplit(origin.lower())
        ours = urlsplit(f"{page.scheme}://{host.lower()}")
        default = DEFAULT_PORTS.get(page.scheme)
        same_port = (page.port or default) == (ours.port or default)
        return page.hostname is not None and page.hostname == ours.hostname and same_port
    except ValueError:  # a port that is no number, a bracket that does not close
        return False


async def _refuse(problem: ProblemError, scope: Scope, receive: Receive, send: Send) -> None:
    request_id = scope.get("state", {}).get("request_id")
    await problem_response(problem, request_id)(scope, receive, send)
