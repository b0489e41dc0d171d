"""When a request is sent again, and how long to wait before: bounded, jittered, by the server's word.

Sent again is what was refused before anything was done (429, 503, a 409 that names a time), what never
reached the server, and what may be done twice (`Request.may_repeat`).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeAlias, TypeVar

from retrieval.client.errors import ConnectionFailedError, RemoteError, engine_error, error_of_problem
from retrieval.client.exchange import Call, Pause, Reply, Request
from retrieval.errors import ConfigError, RetrievalError

__all__ = ["Attempt", "Patience", "Steps", "error_of_reply", "persistently", "seconds_asked"]

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds, where the server names no time of its own."""
REFUSED = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Nothing was done."""
PASSING = frozenset({HTTPStatus.BAD_GATEWAY})
"""Somebody between client and server failed: nobody knows what was done."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request, to be answered within so many seconds."""

    request: Request
    seconds: float


Steps: TypeAlias = Generator[Attempt | Pause, Reply | None, T]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try: ``timeout_s`` seconds for one request with all its repetitions and
    pauses, at most ``retries`` repetitions.

    Raises:
        ConfigError: no time at all, or a negative number of retries.
    """

    timeout_s: float
    retries: int
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout_s={self.timeout_s!r}: give a number of seconds above 0")
        if not isinstance(self.retries, int) or self.retries < 0:
            raise ConfigError(f"retries={self.retries!r}: give a whole number, 0 for none")

    def pause(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after the attempt with this number (from 0). The chance in it keeps many clients
        that were refused together from coming back together."""
        if asked is not None:
            return asked + FIRST_PAUSE * self.jitter()
        return min(FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE) * (0.5 + self.jitter() / 2)


def persistently(call: Call[T], patience: Patience) -> Steps[T]:
    """The call's steps, each request as the attempts that it takes. Errors are raised inside the call."""
    try:
        step = next(call)
        while True:
            try:
                reply = (yield step) if isinstance(step, Pause) else (yield from _attempts(step, patience))
            except RetrievalError as error:
                step = call.throw(error)
            else:
                step = call.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        call.close()


def _attempts(request: Request, patience: Patience) -> Steps[Reply]:
    deadline = patience.now() + patience.timeout_s
    attempt = 0
    while True:
        asked = None
        try:
            reply = yield Attempt(request, deadline - patience.now())
        except ConnectionFailedError as error:
            failure: RetrievalError = error
            again = request.may_repeat or not error.sent
        else:
            assert reply is not None, "an attempt is answered with a reply"
            if reply.succeeded:
                return reply
            failure, asked = error_of_reply(reply), seconds_asked(reply)
            again = _may_repeat(reply, asked)
        pause = patience.pause(attempt, asked)
        if not again or request.once or attempt >= patience.retries or patience.now() + pause >= deadline:
            raise failure
        yield Pause(pause)
        attempt += 1


def _may_repeat(reply: Reply, asked: float | None) -> bool:
    if reply.status in REFUSED or (reply.status == HTTPStatus.CONFLICT and asked is not None):
        return True
    return reply.status in PASSING and reply.request.may_repeat


def seconds_asked(reply: Reply) -> float | None:
    """What ``Retry-After`` asks for, as seconds or as a date; None where it does not, or not readably."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _date(value)
    if until is None:
        return None
    # By the server's own clock where it tells, so that it need not agree with the one here.
    now = _date(reply.headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def error_of_reply(reply: Reply) -> RetrievalError:
    """The error that an answer other than 2xx stands for."""
    try:
        problem = json.loads(reply.content)
    except ValueError:
        problem = None
    otherwise = (
        f"{reply.request.name} was answered with status {reply.status} and no explanation; "
        "check that the url is that of a retrieval server, and what lies between"
    )
    found = error_of_problem(problem, status=reply.status, request_id=reply.request_id, otherwise=otherwise)
    if isinstance(found, RemoteError) and found.code == "invalid_request" and reply.request.misuse:
        return engine_error(reply.request.misuse, found)
    if isinstance(found, RemoteError) and reply.status == HTTPStatus.UNAUTHORIZED:
        return RemoteError(
            f"{found.detail}; give Client(key=...) or set RETRIEVAL_API_KEY",
            code=found.code,
            status=found.status,
            request_id=found.request_id,
        )
    return found
