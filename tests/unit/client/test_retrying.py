"""When a request is sent again: by a clock that the test turns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from retrieval.client import ConnectionFailedError, RemoteError
from retrieval.client.exchange import Pause, Reply, Request, ask
from retrieval.client.retrying import Attempt, Patience, persistently, seconds_asked
from retrieval.errors import ConfigError, IndexLockedError, RetrievalError
from tests.unit.client.service import answer, problem

READ = Request("GET", "v1/models")
WRITE = Request("POST", "v1/collections/c/flush", content=b"{}")
SAFE = Request("POST", "v1/collections/c/search", content=b"{}", repeatable=True)
OK = answer({"fine": True})
LOST, UNSENT = ConnectionFailedError("it broke", sent=True), ConnectionFailedError("nobody there", sent=False)


class Clock:
    """Time passes in pauses, and ``seconds`` with every attempt."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.at, self.seconds = 100.0, seconds
        self.pauses: list[float] = []
        self.limits: list[float] = []

    def __call__(self) -> float:
        return self.at

    def drive(
        self, request: Request, answers: list[Any], *, timeout_s: float = 30, retries: int = 3
    ) -> Reply:
        """What comes of the request when it is answered so, one after the other."""
        waiting: Iterator[Any] = iter(answers)
        patience = Patience(timeout_s, retries, now=self, jitter=lambda: 1.0)
        steps = persistently(ask(request), patience)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.at += step.seconds
                    step = steps.send(None)
                    continue
                assert isinstance(step, Attempt) and step.request is request
                self.limits.append(step.seconds)
                self.at += self.seconds
                given = next(waiting)
                if isinstance(given, Exception):
                    step = steps.throw(given)
                else:
                    step = steps.send(Reply(request, given.status_code, dict(given.headers), given.content))
        except StopIteration as stop:
            assert list(waiting) == [], "it asked fewer times than there were answers"
            return stop.value


BUSY = problem(503, "overloaded")
FULL = problem(429, "too_many_tasks")


@pytest.mark.parametrize("request_", [READ, WRITE, SAFE])
@pytest.mark.parametrize("refusal", [BUSY, FULL, UNSENT])
def test_what_was_refused_is_sent_again_whatever_it_is(request_: Request, refusal: Any) -> None:
    assert Clock().drive(request_, [refusal, refusal, OK]).read(dict) == {"fine": True}


@pytest.mark.parametrize("lost", [LOST, problem(502, "bad_gateway")])
def test_what_may_have_arrived_is_sent_again_only_if_that_does_no_harm(lost: Any) -> None:
    for harmless in (READ, SAFE):
        assert Clock().drive(harmless, [lost, OK]).status == 200
    with pytest.raises(RetrievalError):
        Clock().drive(WRITE, [lost])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 504])
def test_what_will_not_change_is_not_sent_again(status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        Clock().drive(READ, [problem(status, "some_code")])
    assert caught.value.status == status


def test_a_conflict_that_passes_names_a_time() -> None:
    clock = Clock()
    passing = problem(409, "idempotency_in_progress", headers={"Retry-After": "2"})
    assert clock.drive(SAFE, [passing, OK]).status == 200
    assert clock.pauses == [2.1]


def test_pauses_double_and_retries_are_bounded() -> None:
    clock = Clock()
    with pytest.raises(RemoteError, match="it cannot be"):
        clock.drive(READ, [BUSY] * 4)
    assert clock.pauses == [0.1, 0.2, 0.4]
    clock = Clock()
    with pytest.raises(RemoteError):
        clock.drive(READ, [BUSY] * 10, retries=9, timeout_s=1000)
    assert clock.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    with pytest.raises(RemoteError):
        Clock().drive(READ, [BUSY], retries=0)


def test_chance_spreads_pauses() -> None:
    lowest, highest = Patience(1, 1, jitter=lambda: 0.0), Patience(1, 1, jitter=lambda: 1.0)
    assert (lowest.pause(2, None), highest.pause(2, None)) == (0.2, 0.4)
    assert (lowest.pause(2, 7.0), highest.pause(2, 7.0)) == (7.0, 7.1)


def test_the_server_names_the_time() -> None:
    clock = Clock()
    clock.drive(READ, [problem(503, "loading", headers={"Retry-After": "7"}), OK])
    assert clock.pauses == [7.1]


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    clock = Clock()
    with pytest.raises(RemoteError, match="it cannot be"):
        clock.drive(READ, [problem(503, "loading", headers={"Retry-After": "31"})])
    assert clock.pauses == []


def test_the_deadline_is_that_of_all_attempts_together() -> None:
    clock = Clock(seconds=4)
    with pytest.raises(ConnectionFailedError):
        clock.drive(READ, [LOST, LOST, LOST], timeout_s=10)
    assert [round(limit, 6) for limit in clock.limits] == [10.0, 5.9, 1.7]
    assert clock.pauses == [0.1, 0.2]


def test_errors_are_the_engines_after_the_last_attempt() -> None:
    locked = problem(503, "index_locked", "another process is writing", headers={"Retry-After": "1"})
    with pytest.raises(IndexLockedError, match="another process"):
        Clock().drive(WRITE, [locked] * 4)


NOW = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", "date": NOW}, 30.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:07 GMT", "date": NOW}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:07 GMT", "date": NOW}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:07 GMT"}, 0.0),  # long ago by any clock
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "²"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    assert seconds_asked(Reply(READ, 503, headers, b"")) == expected


@pytest.mark.parametrize(
    "given",
    [{"timeout_s": 0}, {"timeout_s": -1}, {"timeout_s": math.nan}, {"retries": -1}, {"retries": 1.5}],
)
def test_patience_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        Patience(**{"timeout_s": 1.0, "retries": 1, **given})


def test_both_clients_pause_and_go_on(engine: Any, service: Any, pauses: list[float]) -> None:
    service.on(
        "POST /collections/papers/documents/count",
        problem(503, "overloaded", headers={"Retry-After": "2"}),
        httpx.ReadError("reset"),
        answer({"count": 3, "generation": 1}),
    )
    assert engine.count() == 3
    assert len(service.asked) == 3 and 2.0 <= pauses[0] <= 2.1 and 0.1 <= pauses[1] <= 0.2


@pytest.mark.parametrize(
    ("error", "told", "sent"),
    [
        (httpx.ConnectError("Connection refused"), "no connection .Connection refused.", False),
        (httpx.ConnectTimeout("slow"), "no connection", False),
        (httpx.ReadTimeout("slow"), "no answer in time; give a larger timeout_s", True),
        (httpx.RemoteProtocolError("hung up"), "the connection broke .hung up.", True),
    ],
)
def test_a_broken_connection_is_one_sentence(
    engine: Any, service: Any, error: Exception, told: str, sent: bool
) -> None:
    service.on("POST /collections/papers/flush", error)
    with pytest.raises(ConnectionFailedError, match=told) as caught:
        engine.flush()
    assert "http://service.test/api" in str(caught.value) and caught.value.sent is sent
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert len(service.asked) == (1 if sent else 4)
