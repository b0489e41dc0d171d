"""What goes over the wire, as values: nothing here knows a socket, a clock or an event loop.

A *call* is a generator: it yields a `Request` or a `Pause`, is sent the `Reply`, and returns the
result. The sync and the async session drive the same calls.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast
from urllib.parse import quote

from pydantic_core import to_json

from retrieval.client.errors import RemoteError
from retrieval.errors import DataError, RetrievalError

__all__ = [
    "ARROW",
    "JSON",
    "NDJSON",
    "Call",
    "Pause",
    "Reply",
    "Request",
    "ask",
    "idempotency_key",
    "json_request",
    "path_of",
    "understood",
]

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. ``path`` is relative to the service's address, its parts percent-encoded.

    ``repeatable``: doing it twice is the same as doing it once, as of every GET, so that it may be sent again
    where nobody can tell whether it arrived. ``content`` is bytes, or an open file that is sent from its
    beginning. ``sink`` is a file that takes the body of a successful answer, in place of the reply. ``once``:
    a refusal is the answer, not to be tried again. ``misuse`` is the engine's error for what the service
    calls an invalid request, if there is one.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | BinaryIO | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    sink: BinaryIO | None = None
    once: bool = False
    misuse: type[RetrievalError] | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.repeatable or self.method == "GET"

    @property
    def name(self) -> str:
        """For messages: ``POST /v1/collections/papers/search``."""
        return f"{self.method} /{self.path}"


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds before going on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``headers`` are looked up in lower case."""

    request: Request
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """What the server's log knows the request by."""
        return self.headers.get("x-request-id")

    def read(self, parse: Callable[[Any], T]) -> T:
        """What ``parse`` makes of the JSON body.

        Raises:
            RemoteError: no JSON, or not what ``parse`` expects: perhaps another service, or another version.
        """
        return understood(
            lambda: parse(json.loads(self.content)),
            f"the answer to {self.request.name}",
            status=self.status,
            request_id=self.request_id,
        )


def understood(read: Callable[[], T], what: str, **facts: Any) -> T:
    """What ``read`` makes of an answer; ``facts`` are the error's status and request id.

    Raises:
        RemoteError: it is not what ``read`` expects.
    """
    try:
        return read()
    except (ValueError, LookupError, TypeError, AttributeError):
        raise RemoteError(
            f"{what} is not one that this client understands; check the url, and that client and server are "
            "of one version",
            code="bad_answer",
            **facts,
        ) from None


Call: TypeAlias = Generator[Request | Pause, Reply | None, T]


def ask(request: Request) -> Call[Reply]:
    """The reply to one request; a status other than 2xx is an error raised here."""
    return cast(Reply, (yield request))


def idempotency_key() -> dict[str, str]:
    """The header that makes a write one and the same, however often it is sent: make it once a write."""
    return {"Idempotency-Key": uuid.uuid4().hex}


def path_of(*parts: str) -> str:
    """``v1`` and the parts below it, each percent-encoded, so that an id may hold any character."""
    # A dot is left as it is by `quote`, and "." and ".." would be taken for steps of the path.
    encoded = [quote(part, safe="") if part.strip(".") else part.replace(".", "%2E") for part in parts]
    return "/".join(["v1", *encoded])


def json_request(
    method: str, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool = False
) -> Request:
    """A request with a JSON body, or with none.

    Raises:
        DataError: the body holds NaN or infinity, which JSON cannot say, or an object that is no JSON value.
    """
    if body is None:
        return Request(method, path, repeatable=repeatable)
    try:
        content = to_json(body)  # ten times as fast as `json` where vectors are in it
        if b"NaN" in content or b"Infinity" in content:
            json.dumps(body, allow_nan=False)  # which knows numbers from words
    except (TypeError, ValueError) as error:
        raise DataError(f"{method} /{path} cannot be written as JSON: {error}") from None
    return Request(method, path, {}, content, JSON, repeatable=repeatable)
