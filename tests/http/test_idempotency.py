from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from retrieval.errors import DataError, IndexLockedError
from server.documents.idempotency import Idempotency, request_digest
from server.http.problems import ProblemError, install_handlers, problem_response
from server.observing.logs import make_logger
from server.store.store import ServerStore

SECONDS = 30


class Work:
    """A route's work: does what it was told to, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.answer: Response | Exception | None = None

    async def __call__(self) -> Response:
        self.calls += 1
        self.entered.set()
        assert await asyncio.to_thread(self.gate.wait, SECONDS), "nobody opened the gate"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or JSONResponse({"call": self.calls})


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.gate.set()


@pytest.fixture
def store() -> Iterator[ServerStore]:
    store = ServerStore(None)
    yield store
    store.close()


def application(store: ServerStore, work: Work) -> FastAPI:
    app = FastAPI()
    install_handlers(app)
    app.state.idempotency = Idempotency(store, make_logger())

    async def write(request: Request) -> Response:
        request.state.principal = SimpleNamespace(name=request.headers.get("who", "anyone"))
        request.state.request_id = request.headers.get("x-request-id", "none")
        digest = request_digest(request)
        async for chunk in request.stream():
            digest.update(chunk)
        target = request.headers.get("target", "")
        return await app.state.idempotency.run(request, digest.hexdigest(), work, target=lambda: target)

    for path in ("/write", "/other"):
        app.add_route(path, write, methods=["POST", "PUT"])
    return app


@pytest.fixture
def client(store, work) -> Iterator[TestClient]:
    with TestClient(application(store, work)) as client:
        yield client


def post(
    client: TestClient, key: str | bytes | None = "k", body: bytes = b"{}", path: str = "/write", **headers
):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        given["Idempotency-Key"] = key
    return client.post(path, content=body, headers=given)


def test_the_second_time_the_same_answer_comes_again(client, work):
    work.answer = Response(b'{"a":  1}', 202, {"Location": "/v1/tasks/t", "X-Other": "x"}, "application/json")
    first = post(client)
    assert "idempotency-replayed" not in first.headers
    second = post(client)
    assert work.calls == 1
    assert (second.status_code, second.content) == (202, first.content)
    for name in ("location", "content-type", "content-length"):
        assert second.headers[name] == first.headers[name]
    assert second.headers["idempotency-replayed"] == "true"


def test_without_a_key_every_request_is_done(client, work):
    assert [post(client, None).json()["call"] for _ in range(3)] == [1, 2, 3]


def test_another_request_under_the_same_key_is_refused(client, work):
    post(client)
    for other in (
        {"body": b"{ }"},
        {"path": "/write?mode=add"},
        {"content_type": "application/x-ndjson"},
        {"content_encoding": "gzip"},
    ):
        response = post(client, **other)
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_conflict")
        assert "'k'" in response.json()["detail"]
    assert work.calls == 1
    assert post(client).headers["idempotency-replayed"] == "true"


def test_keys_are_of_a_principal_a_method_and_a_path(client, work):
    post(client)
    post(client, who="another")
    post(client, path="/other")
    client.put("/write", content=b"{}", headers={"Idempotency-Key": "k"})
    post(client, "K")
    assert work.calls == 5


def test_one_that_is_still_being_done(client, work):
    work.gate.clear()
    answers = []
    first = threading.Thread(target=lambda: answers.append(post(client)))
    first.start()
    assert work.entered.wait(SECONDS)
    busy, conflict = post(client), post(client, body=b"[]")
    work.gate.set()
    first.join()
    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_in_progress")
    assert int(busy.headers["retry-after"]) > 0
    assert conflict.json()["code"] == "idempotency_conflict"
    assert answers[0].status_code == 200 and work.calls == 1
    assert post(client).headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    "error",
    [
        ProblemError(
            422, "bad_documents", "2 are bad", errors=[{"pointer": "/documents/3", "detail": "no id"}]
        ),
        ProblemError(413, "body_too_large", "too large"),
        DataError("no text"),
    ],
    ids=lambda error: getattr(error, "code", "data"),
)
def test_an_error_that_would_come_again_comes_again(client, work, error):
    work.answer = error
    first, second = post(client, x_request_id="one"), post(client, x_request_id="two")
    assert work.calls == 1
    assert second.status_code == first.status_code in (413, 422)
    assert second.headers["content-type"] == first.headers["content-type"] == "application/problem+json"
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json().pop("request_id") == "two"
    assert {**second.json(), "request_id": "one"} == first.json()


@pytest.mark.parametrize(
    "answer",
    [
        ProblemError(429, "too_many_tasks", "wait"),
        ProblemError(503, "overloaded", "wait"),
        ProblemError(404, "unknown_collection", "make it first"),
        ProblemError(409, "busy", "wait"),
        IndexLockedError("wait"),
        problem_response(ProblemError(504, "deadline_exceeded", "slow"), "r"),
        problem_response(ProblemError(500, "internal", "broken"), "r"),
    ],
    ids=lambda answer: str(getattr(answer, "status", None) or getattr(answer, "status_code", "locked")),
)
def test_after_any_other_error_a_retry_is_tried(client, work, answer):
    work.answer = answer
    assert post(client).status_code >= 400
    work.answer = None
    response = post(client)
    assert (response.status_code, work.calls) == (200, 2)
    assert "idempotency-replayed" not in response.headers


def test_after_an_unexpected_error_a_retry_is_tried(store, work):
    work.answer = ZeroDivisionError("x")
    with TestClient(application(store, work), raise_server_exceptions=False) as client:
        assert post(client).status_code == 500
        work.answer = None
        assert post(client).status_code == 200


@pytest.mark.parametrize("key", ["!", "x" * 255, "0d8f4b2f-5c0e", '"quoted"', "~"])
def test_keys_that_may_be(client, key):
    assert post(client, key).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\tb", "é".encode(), b"a\x7f"])
def test_keys_that_may_not_be(client, work, key):
    response = post(client, key)
    assert (response.status_code, response.json()["code"]) == (400, "bad_idempotency_key")
    assert work.calls == 0


def test_two_keys_in_one_request(client, work):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert client.post("/write", content=b"{}", headers=headers).json()["code"] == "bad_idempotency_key"
    assert work.calls == 0


def test_answers_outlive_the_server_and_claims_do_not(tmp_path, work):
    path = tmp_path / "server.sqlite"
    store = ServerStore(path)
    with TestClient(application(store, work)) as client:
        first = post(client)
    store.claim("somebody", "digest")
    store.close()
    store = ServerStore(path)
    with TestClient(application(store, work)) as client:
        second = post(client)
    assert second.headers["idempotency-replayed"] == "true" and second.content == first.content
    store.close()


def test_what_cannot_be_remembered_is_answered_all_the_same(client, store, work, monkeypatch, capfd):
    def fail(*_: object) -> None:
        raise ProblemError(500, "store_failed", "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "settle", fail)
        assert post(client).json() == {"call": 1}
    assert "disk full" in capfd.readouterr().err
    assert post(client).json() == {"call": 2}


def test_a_client_that_goes_away_finds_its_answer_later(store, work):
    """Its request goes on to its end, so that a retry does not write beside it."""
    idempotency = Idempotency(store, make_logger())

    def request() -> Request:
        scope = {"type": "http", "method": "POST", "path": "/write", "query_string": b"", "state": {}}
        request = Request({**scope, "headers": [(b"idempotency-key", b"k")]})
        request.state.principal = SimpleNamespace(name="anyone")
        return request

    async def visit() -> Response:
        work.gate.clear()
        first = asyncio.create_task(idempotency.run(request(), "digest", work))
        assert await asyncio.to_thread(work.entered.wait, SECONDS)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(ProblemError, match="still being done"):
            await idempotency.run(request(), "digest", work)
        work.gate.set()
        await idempotency.finish()
        return await idempotency.run(request(), "digest", work)

    response = asyncio.run(visit())
    assert json.loads(response.body) == {"call": 1} and work.calls == 1


def test_one_that_fails_after_its_client_went_away_can_be_retried(store, work):
    idempotency = Idempotency(store, make_logger())
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "state": {}}
    request = Request({**scope, "headers": [(b"idempotency-key", b"k")]})
    request.state.principal = SimpleNamespace(name="anyone")

    async def visit() -> Response:
        work.gate.clear()
        work.answer = ZeroDivisionError("x")
        first = asyncio.create_task(idempotency.run(request, "digest", work))
        assert await asyncio.to_thread(work.entered.wait, SECONDS)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.gate.set()
        await idempotency.finish()
        work.answer = None
        return await idempotency.run(request, "digest", work)

    assert json.loads(asyncio.run(visit()).body) == {"call": 2}


def test_another_thing_of_the_same_path_has_keys_of_its_own(client, work):
    sent = {"idempotency-key": "first-load"}
    assert client.post("/write", headers={**sent, "target": "people 2026"}).json() == {"call": 1}
    assert client.post("/write", headers={**sent, "target": "people 2027"}).json() == {"call": 2}
    assert client.post("/write", headers={**sent, "target": "people 2026"}).json() == {"call": 1}
