from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest

from retrieval import Engine
from retrieval.types import FloatArray
from server.context import ADMINS
from server.documents.ingest import INGEST
from server.documents.writers import Writers
from server.http.problems import ProblemError
from server.routes import collections
from server.store.store import ServerStore
from server.tasks.record import TaskRecord, now
from tests.encoders import HashingDense
from tests.http.papers import PAPERS, paper, read_all, serve_papers, until_ended
from tests.http.test_bodies import as_json, as_lines

NDJSON = {"content-type": "application/x-ndjson"}
LATER = {"ack": "task"}


class Held(HashingDense):
    """Waits inside the encoder while it is to be held."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        self.entered.set()
        assert self.gate.wait(60), "nobody opened the gate"
        return super().encode_document(texts)


@pytest.fixture
def held():
    encoder = Held()
    yield encoder
    encoder.gate.set()


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def spooled(data_dir):
    folder = data_dir / ".spool"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def until_spooled(data_dir, n):
    """Bodies go right after the task has ended, not before."""
    deadline = time.monotonic() + 30
    while len(spooled(data_dir)) != n:
        assert time.monotonic() < deadline, f"still there: {spooled(data_dir)}"
        time.sleep(0.01)


def test_a_task_writes_the_documents_and_leaves_nothing_behind(serve, data_dir):
    given = [paper(i) for i in range(50)]
    with serve_papers(serve, data_dir) as client:
        for body, headers in [
            (as_lines(given), NDJSON),
            (as_json(given), {"content-type": "application/json"}),
        ]:
            response = client.post(PAPERS, content=body, headers=headers, params=LATER)
            assert response.status_code == 202
            accepted = response.json()
            assert response.headers["location"] == f"/v1/tasks/{accepted['id']}"
            assert (accepted["kind"], accepted["collection"]) == ("ingest", "papers")
            task = until_ended(client, accepted["id"])
            assert task["state"] == "succeeded", task
            assert (task["result"]["documents"], task["result"]["errors"]) == (50, [])
            assert (
                task["result"]["generation"] == client.post(f"{PAPERS}/count", json={}).json()["generation"]
            )
        assert task["result"]["replaced"] == 50
        assert read_all(client) == given
        until_spooled(data_dir, 0)


def test_what_is_wrong_is_told_by_the_task(serve, data_dir):
    given = [paper(1), {"id": "x"}, paper(2)]
    with serve_papers(serve, data_dir) as client:
        accepted = client.post(PAPERS, json={"documents": given}, params=LATER).json()
        task = until_ended(client, accepted["id"])
        assert task["state"] == "failed"
        assert task["problem"]["code"] == "bad_documents"
        assert [error["pointer"] for error in task["problem"]["errors"]] == ["/documents/1"]
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == 0
        accepted = client.post(PAPERS, json={"documents": given}, params={**LATER, "on_error": "skip"}).json()
        task = until_ended(client, accepted["id"])
        assert task["state"] == "succeeded"
        assert [(error["index"], error["id"]) for error in task["result"]["errors"]] == [(1, "x")]
        accepted = client.post(PAPERS, content=b"{", headers=NDJSON, params=LATER).json()
        assert until_ended(client, accepted["id"])["problem"]["code"] == "bad_documents"
        until_spooled(data_dir, 0)


def test_more_documents_than_a_request_may_have_go_into_a_task(serve, data_dir):
    with serve_papers(serve, data_dir, max_documents=10) as client:
        body = as_lines([paper(i) for i in range(2500)])
        assert client.post(PAPERS, content=body, headers=NDJSON).status_code == 422
        accepted = client.post(PAPERS, content=body, headers=NDJSON, params=LATER).json()
        task = until_ended(client, accepted["id"])
        assert task["result"]["documents"] == 2500
        assert task["progress"]["fraction"] == 1.0
        assert task["progress"]["documents"] == 2500


def test_who_waits_for_a_task_holds_no_thread(serve, data_dir, held):
    data_dir.mkdir()
    given = {"papers": held, "other": HashingDense()}
    for name, encoder in given.items():
        Engine.create(data_dir / name, encoder).close()
    with serve(given=given, data_dir=data_dir) as client:
        context = client.app.state.context
        held.gate.clear()
        body = as_lines([paper(i) for i in range(300)])
        task = client.post(PAPERS, content=body, headers=NDJSON, params=LATER).json()
        assert held.entered.wait(30)
        with ThreadPoolExecutor(4) as pool:
            doors = ["flush", "flush", "maintain"]
            asked = [pool.submit(client.post, f"/v1/collections/papers/{door}", json={}) for door in doors]
            asked.append(pool.submit(client.post, f"{PAPERS}/delete", json={"ids": ["p7"]}))
            try:
                until_waiting(context, 1 + len(asked))
                assert context.write_pool.running("search") == context.upkeep_pool.running("search") == 0
                other = client.post("/v1/collections/other/documents", json={"documents": [paper(1)]})
                assert other.json()["documents"] == 1
            finally:
                held.gate.set()
            assert [each.result().status_code for each in asked] == [200] * 4
        assert until_ended(client, task["id"])["state"] == "succeeded"
        assert asked[-1].result().json()["deleted"] == 1  # after the task


def test_no_later_write_overtakes_an_accepted_task(serve, data_dir):
    entered, gate = threading.Event(), threading.Event()

    def restore(_: object) -> None:
        entered.set()
        assert gate.wait(60), "nobody opened the gate"

    with serve_papers(serve, data_dir) as client, ThreadPoolExecutor(1) as pool:
        context = client.app.state.context
        context.tasks.submit("restore", "papers", restore)
        try:
            assert entered.wait(30)  # what else is to be done for the collection waits
            task = client.post(PAPERS, json={"documents": [paper(7)]}, params=LATER).json()["id"]
            deleted = pool.submit(client.post, f"{PAPERS}/delete", json={"ids": ["p7"]})
            until_waiting(context, 2)
        finally:
            gate.set()
        answer = deleted.result().json()
        assert (answer["deleted"], answer["waited_for"]) == (1, task)
        assert read_all(client) == []


def test_what_waits_for_a_task_leaves_room_for_other_collections(serve, data_dir, held, assert_problem):
    data_dir.mkdir()
    given = {"papers": held, "other": HashingDense()}
    for name, encoder in given.items():
        Engine.create(data_dir / name, encoder).close()
    with serve(given=given, data_dir=data_dir, max_in_flight=3) as client, ThreadPoolExecutor(1) as pool:
        context = client.app.state.context
        held.gate.clear()
        body = as_lines([paper(i) for i in range(300)])
        task = client.post(PAPERS, content=body, headers=NDJSON, params=LATER).json()["id"]
        try:
            assert held.entered.wait(30)
            waiting = pool.submit(client.post, f"{PAPERS}/delete", json={"ids": ["p7"]})
            until_waiting(context, 2)
            for refused in (
                client.post(PAPERS, json={"documents": [paper(7)]}),
                client.post(f"{PAPERS}/delete", json={"ids": ["p8"]}),
            ):
                assert assert_problem(refused, 503, "collection_busy")["task"] == task
                assert int(refused.headers["retry-after"]) >= 1
            status, key = gone_while_it_waited(client, context)
            assert (status, context.write_gate.in_flight) == (499, 1)
            other = client.post("/v1/collections/other/documents", json={"documents": [paper(1)]})
            assert other.json()["documents"] == 1 and other.json()["waited_for"] is None
        finally:
            held.gate.set()
        assert waiting.result().json() | {"generation": 0} == {
            "deleted": 1,
            "generation": 0,
            "waited_for": task,
        }
        again = client.post(f"{PAPERS}/delete", json={"ids": ["p8"]}, headers={"idempotency-key": key})
        assert again.json()["deleted"] == 1 and "idempotency-replayed" not in again.headers


def until_waiting(context, n: int) -> None:
    deadline = time.monotonic() + 30
    while context.writers.turns.waiting("papers") < n:
        assert time.monotonic() < deadline, "they do not wait"
        time.sleep(0.002)


def gone_while_it_waited(client, context) -> tuple[int, str]:
    """The status for a client that went away while its delete waited, and the key that it sent."""
    key, sent, bodies = "gone", [], [b'{"ids": ["p8"]}']
    headers = {"host": "localhost", "content-type": "application/json", "idempotency-key": key}
    path = f"{PAPERS}/delete"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> dict[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("status"))

    context.writers.turns._most += 1  # room for one more
    try:
        client.portal.call(client.app, scope, receive, send)
    finally:
        context.writers.turns._most -= 1
    return sent[0], key


def test_a_task_that_waits_for_its_turn_holds_no_lock_of_the_engine(serve, data_dir):
    """Whoever has the turn may add many documents too, and would wait for that lock for ever."""
    with serve_papers(serve, data_dir) as client:
        context = client.app.state.context
        with context.registry.lease("papers") as engine:
            engine._writer._max_documents = 10  # more take the engine's lock of adding
            with context.writers.turns.of_task("papers", "t1", lambda: None):
                body = as_lines([paper(i) for i in range(300)])
                task = client.post(PAPERS, content=body, headers=NDJSON, params=LATER).json()
                until_waiting(context, 2)
                assert engine._writer._adding.acquire(blocking=False), "it holds the lock"
                engine._writer._adding.release()
        assert until_ended(client, task["id"])["state"] == "succeeded"


def test_slow_creates_keep_no_write_and_no_alias_waiting(serve, data_dir, monkeypatch):
    begun, gate = threading.Semaphore(0), threading.Event()

    def create(*_: object) -> bool:
        begun.release()
        assert gate.wait(60), "nobody opened the gate"
        raise ProblemError(409, "name_taken", "no")

    monkeypatch.setattr(collections, "create", create)
    with serve_papers(serve, data_dir) as client, ThreadPoolExecutor(ADMINS + 2) as pool:
        puts = [
            pool.submit(client.put, f"/v1/collections/c{i}", json={"encoder": "x"}) for i in range(ADMINS + 2)
        ]
        try:
            assert all(begun.acquire(timeout=30) for _ in range(ADMINS))
            for headers in ({}, {"idempotency-key": "one"}, {"idempotency-key": "one"}):
                written = client.post(PAPERS, json={"documents": [paper(1)]}, headers=headers)
                assert written.status_code == 200
            assert client.get("/v1/aliases").status_code == 200
        finally:
            gate.set()
        assert {put.result().status_code for put in puts} == {409}


def test_a_waiting_task_can_be_cancelled_and_its_documents_go(serve, data_dir, held):
    with serve_papers(serve, data_dir, held) as client:
        held.gate.clear()
        first = client.post(PAPERS, json={"documents": [paper(1)]}, params=LATER).json()
        assert held.entered.wait(30)
        second = client.post(PAPERS, json={"documents": [paper(2)]}, params=LATER).json()
        assert len(spooled(data_dir)) == 2
        assert client.post(f"/v1/tasks/{second['id']}/cancel", json={}).json()["state"] == "cancelled"
        until_spooled(data_dir, 1)
        client.post(f"/v1/tasks/{first['id']}/cancel", json={})
        held.gate.set()
        assert until_ended(client, first["id"])["state"] == "cancelled"
        assert read_all(client) == []
        until_spooled(data_dir, 0)


def test_a_cancelled_large_task_writes_nothing(serve, data_dir, held):
    with serve_papers(serve, data_dir, held) as client:
        held.gate.clear()
        body = as_lines([paper(i) for i in range(3000)])
        accepted = client.post(PAPERS, content=body, headers=NDJSON, params=LATER).json()
        assert held.entered.wait(30)
        client.post(f"/v1/tasks/{accepted['id']}/cancel", json={})
        held.gate.set()
        assert until_ended(client, accepted["id"])["state"] == "cancelled"
        assert read_all(client) == []


def test_too_many_tasks_are_refused_and_leave_nothing(serve, data_dir, held, assert_problem):
    with serve_papers(serve, data_dir, held, max_tasks=1) as client:
        held.gate.clear()
        first = client.post(PAPERS, json={"documents": [paper(1)]}, params=LATER).json()
        assert held.entered.wait(30)
        assert client.post(PAPERS, json={"documents": [paper(2)]}, params=LATER).status_code == 202
        response = client.post(PAPERS, json={"documents": [paper(3)]}, params=LATER)
        assert_problem(response, 429, "too_many_tasks")
        assert "retry-after" in response.headers
        assert len(spooled(data_dir)) == 2
        held.gate.set()
        assert until_ended(client, first["id"])["state"] == "succeeded"


def test_a_body_that_is_refused_leaves_nothing(serve, data_dir, assert_problem):
    with serve_papers(serve, data_dir, max_documents_bytes=2048) as client:
        response = client.post(PAPERS, content=iter([b"x" * 1500] * 2), headers=NDJSON, params=LATER)
        assert_problem(response, 413, "body_too_large")
        until_spooled(data_dir, 0)


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b'{"documents": []}', 422),
        ("application/x-ndjson", b"\n", 422),
        ("application/vnd.apache.arrow.stream", b"no arrow", 422),
    ],
)
def test_a_body_that_cannot_be_read_at_all_makes_no_task(serve, data_dir, media_type, body, status):
    with serve_papers(serve, data_dir) as client:
        response = client.post(PAPERS, content=body, headers={"content-type": media_type}, params=LATER)
        assert response.status_code == status, response.text
        assert client.get("/v1/tasks").json()["tasks"] == []
        assert spooled(data_dir) == []


def test_a_retry_of_an_accepted_request_is_the_same_task(serve, data_dir):
    headers = {"idempotency-key": "one"}
    with serve_papers(serve, data_dir) as client:
        answers = [
            client.post(PAPERS, json={"documents": [paper(1)]}, params=LATER, headers=headers)
            for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        assert answers[0].headers["location"] == answers[1].headers["location"]
        assert until_ended(client, answers[0].json()["id"])["state"] == "succeeded"
        assert len(client.get("/v1/tasks").json()["tasks"]) == 1
        until_spooled(data_dir, 0)


def test_a_server_without_a_folder_of_its_own_takes_no_tasks(serve, tmp_path, assert_problem):
    Engine.create(tmp_path / "papers", HashingDense()).close()
    settings = {"data_dir": None, "collections": {"papers": tmp_path / "papers"}}
    with serve(given={"papers": HashingDense()}, **settings) as client:
        response = client.post(PAPERS, json={"documents": [paper(1)]}, params=LATER)
        assert_problem(response, 409, "no_data_dir")
        assert client.post(PAPERS, json={"documents": [paper(1)]}).status_code == 200


# -- after a restart ------------------------------------------------------------------------------


def left_behind(data_dir, body: bytes, **payload: Any) -> str:
    """What a server leaves that was killed right after it accepted a body; the task's id."""
    folder = data_dir / ".spool"
    folder.mkdir(exist_ok=True)
    (folder / "kept").write_bytes(body)
    (folder / "half").write_bytes(body[:10])
    store = ServerStore(data_dir / "server.sqlite")
    plan = {"file": "kept", "form": "ndjson", "mode": "upsert", "on_error": "stop", **payload}
    store.add_task(TaskRecord("a" * 32, INGEST, "papers", "queued", now(), payload=plan))
    store.close()
    return "a" * 32


def test_an_accepted_request_is_done_after_a_restart(serve, data_dir):
    with serve_papers(serve, data_dir):
        pass
    given = [paper(i) for i in range(20)]
    task_id = left_behind(data_dir, as_lines(given))
    with serve_papers(serve, data_dir) as client:
        assert until_ended(client, task_id)["state"] == "succeeded"
        assert read_all(client) == given
        until_spooled(data_dir, 0)


def test_an_interrupted_task_stays_for_the_next_start(serve, data_dir, held):
    given = [paper(i) for i in range(3000)]
    with serve_papers(serve, data_dir, held, drain_seconds=0) as client:
        held.gate.clear()
        body = as_lines(given)
        accepted = client.post(PAPERS, content=body, headers=NDJSON, params=LATER).json()
        assert held.entered.wait(30)
        threading.Timer(0.2, held.gate.set).start()
    assert len(spooled(data_dir)) == 1
    with serve_papers(serve, data_dir, held) as client:
        assert until_ended(client, accepted["id"])["state"] == "succeeded"
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == len(given)
        until_spooled(data_dir, 0)


def test_a_body_that_was_lost_is_told(serve, data_dir):
    with serve_papers(serve, data_dir):
        pass
    task_id = left_behind(data_dir, as_lines([paper(1)]))
    (data_dir / ".spool" / "kept").unlink()
    with serve_papers(serve, data_dir) as client:
        task = until_ended(client, task_id)
        assert (task["state"], task["problem"]["code"]) == ("failed", "body_lost")


def test_a_server_that_only_reads_leaves_the_bodies_of_others_alone(serve, data_dir):
    with serve_papers(serve, data_dir):
        pass
    left_behind(data_dir, as_lines([paper(1)]))
    with serve_papers(serve, data_dir, read_only=True) as client:
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == 0
    assert spooled(data_dir) == ["half", "kept"]


# -- taking turns ---------------------------------------------------------------------------------


def writers_with(run: Callable[[Callable[[], Any]], Any]) -> Writers:
    class Pool:
        async def run(self, job: Callable[[], Any]) -> Any:
            return await run(job)

    class Leases:
        def lease(self, name: str) -> Any:
            return nullcontext(name)

    return Writers(Leases(), None, Pool(), 100)  # type: ignore[arg-type]


def test_writes_to_one_collection_take_turns_in_order():
    running: set[str] = set()
    log: list[tuple[str, int]] = []

    async def run(job: Callable[[], Any]) -> Any:
        name, number = job()
        assert name not in running, "two at one time"
        running.add(name)
        for _ in range(5):
            await asyncio.sleep(0)
        running.discard(name)
        log.append((name, number))
        return number

    async def all_of_them() -> list[int]:
        writers = writers_with(run)
        jobs = [(name, number) for number in range(10) for name in ("a", "b")]
        return await asyncio.gather(
            *(
                writers.in_turn(name, lambda engine, _, number=number: (engine, number))
                for name, number in jobs
            )
        )

    assert asyncio.run(all_of_them()) == [number for number in range(10) for _ in range(2)]
    for name in ("a", "b"):
        assert [number for whose, number in log if whose == name] == list(range(10))
    assert [whose for whose, _ in log[:4]] == ["a", "b", "a", "b"]


def test_a_slow_collection_keeps_no_other_one_waiting(serve, data_dir, held):
    data_dir.mkdir()
    Engine.create(data_dir / "papers", held).close()
    Engine.create(data_dir / "notes", HashingDense()).close()
    with serve(given={"papers": held, "notes": HashingDense()}, data_dir=data_dir) as client:
        held.gate.clear()
        writers = [
            threading.Thread(target=client.post, args=(PAPERS,), kwargs={"json": {"documents": [paper(i)]}})
            for i in range(6)
        ]
        for writer in writers:
            writer.start()
        assert held.entered.wait(30)
        notes = PAPERS.replace("papers", "notes")
        assert client.post(notes, json={"documents": [paper(1)]}).status_code == 200
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == 0
        held.gate.set()
        for writer in writers:
            writer.join()
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == 6


def test_a_failed_write_lets_the_next_one_in():
    async def run(job: Callable[[], Any]) -> Any:
        return job()

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    async def both() -> Any:
        writers = writers_with(run)
        with pytest.raises(ZeroDivisionError):
            await writers.in_turn("a", fail)
        return await writers.in_turn("a", lambda engine, _: json.dumps(engine))

    assert asyncio.run(both()) == '"a"'
