from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock
from unittest.mock import MagicMock

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from retrieval.errors import DataError, IndexLockedError
from server.http.middleware import RequestContext
from server.http.problems import ProblemError, install_handlers
from server.observing.logs import make_logger
from server.routes.tasks import router
from server.schemas.tasks import Task, TaskList
from server.security.access import Access, KeySettings, new_key
from server.settings import ServerSettings
from server.store.store import ServerStore
from server.tasks.manager import TaskCancelled, TaskControl, Tasks
from server.tasks.record import TaskRecord, now
from server.working.admission import Admission
from server.working.pool import WorkPool

SECONDS = 30


def until(condition: Callable[[], object], what: str = "it did not happen") -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


class Gate:
    """Work that tells when it has begun, and ends when it may."""

    def __init__(self, *, stops: bool = True) -> None:
        self.entered, self.open, self.stops = threading.Event(), threading.Event(), stops

    def __call__(self, control: TaskControl) -> dict[str, object]:
        self.entered.set()
        deadline = time.monotonic() + SECONDS
        while not self.open.wait(0.002):
            assert time.monotonic() < deadline, "nobody opened the gate"
            if self.stops:
                control.check()
        return {"done": True}

    def wait(self) -> None:
        assert self.entered.wait(SECONDS), "it did not begin"


class Counted:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def task_ended(self, kind: str, state: str, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((kind, state))


@pytest.fixture
def store() -> Iterator[ServerStore]:
    store = ServerStore(None)
    yield store
    store.close()


@pytest.fixture
def tasks(store) -> Iterator[Tasks]:
    tasks = Tasks(store, make_logger(), max_waiting=3)
    yield tasks
    assert tasks.close(SECONDS)


def ended(tasks: Tasks, task_id: str) -> TaskRecord:
    until(lambda: tasks.get(task_id).final, "it did not end")
    return tasks.get(task_id)


def test_work_succeeds(tasks, store):
    queued = tasks.submit("verify", "a", lambda control: {"ok": True, "score": float("nan")})
    assert (queued.state, queued.kind, queued.collection) == ("queued", "verify", "a")
    record = ended(tasks, queued.id)
    assert record.state == "succeeded" and record.problem is None
    assert record.result == {"ok": True, "score": None}
    assert record.created_at <= record.started_at <= record.finished_at
    assert store.task(queued.id) == record


def test_tasks_stand_in_line_from_being_accepted_to_their_end(store):
    store.add_task(TaskRecord("left", "ingest", "a", "queued", now(), payload={}))
    store.add_task(TaskRecord("other", "verify", "a", "queued", now()))
    places, gate = MagicMock(), Gate()
    tasks = Tasks(store, make_logger())
    tasks.register_kind("ingest", lambda record: gate, places=places)
    assert places.mock_calls == [mock.call.keep("a", "left")]
    new, given_up = (tasks.submit("ingest", "a", gate, payload={}).id for _ in range(2))
    tasks.cancel(given_up)
    tasks.resume_unfinished()
    gate.open.set()
    assert [ended(tasks, task_id).state for task_id in ("left", new)] == ["succeeded"] * 2
    assert tasks.close(SECONDS)
    kept = [mock.call.keep("a", task_id) for task_id in ("left", new, given_up)]
    forgotten = [mock.call.forget("a", task_id) for task_id in (given_up, "left", new)]
    assert places.mock_calls == kept + forgotten


def test_work_without_a_result(tasks):
    assert ended(tasks, tasks.submit("verify", "a", lambda control: None).id).result is None


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DataError("no text", "document 3"), 422, "bad_data"),
        (ProblemError(409, "busy", "wait", errors=[{"pointer": "/a", "detail": "b"}]), 409, "busy"),
        (ZeroDivisionError("secret inside"), 500, "internal"),
    ],
    ids=["engine", "server", "unexpected"],
)
def test_an_error_becomes_a_problem(tasks, capfd, error, status, code):
    def work(control: TaskControl) -> None:
        raise error

    record = ended(tasks, tasks.submit("verify", "a", work).id)
    assert record.state == "failed" and record.result is None
    assert (record.problem["status"], record.problem["code"]) == (status, code)
    assert record.problem["request_id"]
    assert "secret" not in json.dumps(record.problem)
    assert ("secret inside" in capfd.readouterr().err) == (code == "internal")
    Task.model_validate({**_body(record)})


def test_a_problem_names_the_request_that_asked(tasks):
    import structlog

    def work(control: TaskControl) -> None:
        assert structlog.contextvars.get_contextvars()["request_id"] == "abc"
        raise DataError("no text")

    with structlog.contextvars.bound_contextvars(request_id="abc"):
        record = tasks.submit("verify", "a", work)
    assert ended(tasks, record.id).problem["request_id"] == "abc"


def test_a_collections_tasks_run_one_at_a_time_in_order(tasks):
    first, order, lock = Gate(), [], threading.Lock()

    def work(name: str) -> Callable[[TaskControl], None]:
        def run(control: TaskControl) -> None:
            assert lock.acquire(blocking=False), "two at a time"
            order.append(name)
            time.sleep(0.005)
            lock.release()

        return run

    tasks.submit("verify", "a", first)
    first.wait()
    last = [tasks.submit("verify", "a", work(name)) for name in "123"][-1]
    assert tasks.counts() == {"queued": 3, "running": 1}
    first.open.set()
    ended(tasks, last.id)
    assert order == ["1", "2", "3"]
    until(lambda: tasks.counts() == {"queued": 0, "running": 0})


def test_documents_are_written_beside_upkeep_but_not_beside_a_restore(tasks):
    def beside(first: str, second: str) -> bool:
        gates = Gate(), Gate()
        ids = [tasks.submit(kind, "a", gate).id for kind, gate in zip((first, second), gates, strict=True)]
        gates[0].wait()
        both = tasks.counts()["running"] == 2
        for gate in gates:
            gate.open.set()
        assert [ended(tasks, each).state for each in ids] == ["succeeded"] * 2
        until(lambda: tasks.counts() == {"queued": 0, "running": 0})
        return both

    assert beside("compact", "ingest")
    assert not beside("ingest", "compact")
    assert not beside("restore", "ingest")
    assert not beside("ingest", "ingest")
    assert not beside("compact", "snapshot")


@pytest.mark.parametrize(
    "kinds",
    [("compact", "restore", "ingest"), ("ingest", "ingest", "compact"), ("compact", "restore", "snapshot")],
    ids="-".join,
)
def test_what_waits_for_others_is_not_overtaken(tasks, kinds):
    """Documents sent after a restore are there after it; those sent before a compact are trained on."""
    gate, order = Gate(), []
    ids = [tasks.submit(kinds[0], "a", gate).id]
    gate.wait()
    ids += [tasks.submit(kind, "a", lambda _, kind=kind: order.append(kind)).id for kind in kinds[1:]]
    assert tasks.counts() == {"queued": 2, "running": 1}
    gate.open.set()
    assert [ended(tasks, each).state for each in ids] == ["succeeded"] * 3
    assert order == [*kinds[1:]]


def test_collections_do_not_wait_for_each_other_up_to_two(tasks):
    gates = [Gate() for _ in range(4)]
    ids = [tasks.submit("verify", name, gate).id for name, gate in zip("aabc", gates, strict=True)]
    gates[0].wait()
    gates[2].wait()  # b overtakes the second of a
    assert [tasks.get(each).state for each in ids] == ["running", "queued", "running", "queued"]
    gates[2].open.set()
    gates[3].wait()
    for gate in gates:
        gate.open.set()
    assert [ended(tasks, each).state for each in ids] == ["succeeded"] * 4


def test_too_many_are_turned_away(tasks):
    gate = Gate()
    tasks.submit("verify", "a", gate)
    gate.wait()
    for _ in range(3):
        tasks.submit("verify", "a", gate)
    with pytest.raises(ProblemError, match="3 tasks wait") as caught:
        tasks.submit("verify", "a", gate)
    assert (caught.value.status, caught.value.code) == (429, "too_many_tasks")
    assert int(caught.value.headers["Retry-After"]) > 0
    assert len(tasks.list().records) == 4
    gate.open.set()


def test_a_waiting_task_is_cancelled_at_once(tasks):
    gate, never = Gate(), Gate()
    removed = []
    tasks.register_kind("ingest", None, ended=removed.append)
    running = tasks.submit("restore", "a", gate)
    gate.wait()
    waiting = tasks.submit("ingest", "a", never, payload={"file": "x"})
    assert waiting.payload is None
    assert tasks.cancel(waiting.id).state == "cancelled"
    assert [(each.state, each.payload) for each in removed] == [("cancelled", {"file": "x"})]
    gate.open.set()
    assert ended(tasks, running.id).state == "succeeded"
    assert not never.entered.is_set()


def test_a_running_task_stops_at_its_next_step(tasks):
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()
    assert tasks.cancel(record.id).id == record.id
    record = ended(tasks, record.id)
    assert (record.state, record.result, record.problem) == ("cancelled", None, None)


def test_to_tell_is_a_step_too(tasks):
    told = threading.Event()

    def work(control: TaskControl) -> None:
        while True:
            control.tell("count", 0.1)
            told.set()

    record = tasks.submit("verify", "a", work)
    assert told.wait(SECONDS)
    tasks.cancel(record.id)
    assert ended(tasks, record.id).state == "cancelled"


def test_work_that_cannot_stop_goes_on(tasks):
    gate = Gate(stops=False)
    record = tasks.submit("verify", "a", gate)
    gate.wait()
    assert tasks.cancel(record.id).state == "running"
    gate.open.set()
    assert ended(tasks, record.id).state == "succeeded"
    assert tasks.cancel(record.id).state == "succeeded"


def test_an_unknown_task(tasks):
    for call in (tasks.get, tasks.cancel):
        with pytest.raises(ProblemError) as caught:
            call("nothing")
        assert (caught.value.status, caught.value.code) == (404, "unknown_task")


def test_progress_is_seen_and_seldom_written(tasks, store, monkeypatch):
    saved = []
    update = store.update_task
    monkeypatch.setattr(store, "update_task", lambda record: (saved.append(record.state), update(record)))
    told, go = threading.Event(), threading.Event()

    def work(control: TaskControl) -> None:
        for i in range(2000):
            control.tell("encode", i / 4000, i)
        told.set()
        assert go.wait(SECONDS)

    began = time.monotonic()
    record = tasks.submit("verify", "a", work)
    assert told.wait(SECONDS)
    seconds = time.monotonic() - began
    progress = tasks.get(record.id).progress
    assert (progress.stage, progress.fraction, progress.documents) == ("encode", 1999 / 4000, 1999)
    assert progress.eta_seconds >= 0
    assert tasks.list().records[0].progress == progress
    go.set()
    assert ended(tasks, record.id).progress.eta_seconds is None
    assert saved.count("running") <= 1 + seconds


def test_what_progress_says(store, monkeypatch):
    from server.tasks import control as task_control

    clock = [100.0]
    monkeypatch.setattr(task_control.time, "monotonic", lambda: clock[0])
    control = TaskControl(TaskRecord("t", "verify", "a", "running", now()), store.update_task)

    def told(after: float, *args: object, **kwargs: object) -> tuple[object, ...]:
        clock[0] += after
        control.tell(*args, **kwargs)
        progress = control.record.progress
        return progress.stage, progress.fraction, progress.documents, progress.eta_seconds

    assert told(1, "read", documents=5) == ("read", None, 5, None)
    assert told(1, fraction=0.0) == ("read", 0.0, 5, None)
    assert told(10, fraction=0.25) == ("read", 0.25, 5, 30.0)
    assert told(10) == ("read", 0.25, 5, 60.0)
    assert told(1, "train") == ("train", None, 5, None)
    assert told(9, "train", 0.5) == ("train", 0.5, 5, None)
    assert told(5, "train", 0.75, 9) == ("train", 0.75, 9, 5.0)
    assert told(5, "train", 0.1) == ("train", 0.1, 9, None)  # it began anew
    assert told(10, "train", 0.2) == ("train", 0.2, 9, 80.0)


def test_metrics_hear_of_the_end(store):
    metrics = Counted()
    tasks = Tasks(store, make_logger(), metrics)
    ended(tasks, tasks.submit("verify", "a", lambda control: None).id)
    assert tasks.close(SECONDS)
    assert metrics.seen == [("verify", "succeeded")]


def test_a_failing_clean_up_changes_nothing(tasks):
    def fail(record: TaskRecord) -> None:
        raise OSError("no")

    tasks.register_kind("ingest", None, ended=fail)
    assert ended(tasks, tasks.submit("ingest", "a", lambda control: None).id).state == "succeeded"
    assert ended(tasks, tasks.submit("ingest", "a", lambda control: None).id).state == "succeeded"


def test_an_end_that_cannot_be_saved_is_seen_all_the_same(tasks, store, monkeypatch):
    update = store.update_task

    def fail(record: TaskRecord) -> None:
        if record.final:
            raise ProblemError(500, "store_failed", "disk full")
        update(record)

    monkeypatch.setattr(store, "update_task", fail)
    record = ended(tasks, tasks.submit("verify", "a", lambda control: {"ok": True}).id)
    assert record.state == "succeeded" and store.task(record.id).state == "running"


def test_many_threads_submit_and_cancel(store):
    """Whatever happens at once: two at a time, one a collection, and each task ends once."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    metrics, wrong, busy, guard = Counted(), [], set(), threading.Lock()
    tasks = Tasks(store, make_logger(), metrics, max_waiting=10_000)

    def work(name: str) -> Callable[[TaskControl], None]:
        def run(control: TaskControl) -> None:
            with guard:
                if name in busy or len(busy) >= 2:
                    wrong.append((name, set(busy)))
                busy.add(name)
            try:
                control.tell("work", 0.5)
                control.check()
            finally:
                with guard:
                    busy.discard(name)

        return run

    def client(number: int) -> None:
        rng = random.Random(seed + number)
        mine = []
        for _ in range(60):
            name = rng.choice("abcd")
            mine.append(tasks.submit("verify", name, work(name)).id)
            if rng.random() < 0.4:
                tasks.cancel(rng.choice(mine))
            tasks.list(limit=5)

    threads = [threading.Thread(target=client, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(metrics.seen) == 240)
    assert tasks.close(SECONDS)
    assert wrong == [] and not tasks._live and not tasks._running
    states = [record.state for record in store.tasks(limit=1000).records]
    assert len(states) == 240 and set(states) <= {"succeeded", "cancelled"}
    assert sorted(states) == sorted(state for _, state in metrics.seen)


# After a restart


def restarted(store: ServerStore, **kinds: Callable | None) -> Tasks:
    tasks = Tasks(store, make_logger())
    for kind, resume in kinds.items():
        tasks.register_kind(kind, resume)
    tasks.resume_unfinished()
    return tasks


def resuming(seen: list) -> Callable[[TaskRecord], Callable]:
    def resume(record: TaskRecord) -> Callable[[TaskControl], dict]:
        seen.append((record.id, record.payload))
        return lambda control: {"again": True}

    return resume


def test_a_stop_keeps_what_can_be_begun_anew(tmp_path):
    store = ServerStore(tmp_path / "server.sqlite")
    tasks = restarted(store, ingest=resuming([]), verify=None)
    gates = [Gate() for _ in range(4)]
    kinds = [("ingest", "a"), ("verify", "b"), ("ingest", "a"), ("verify", "b")]
    ids = [
        tasks.submit(*k, g, payload={"n": i}).id for i, (k, g) in enumerate(zip(kinds, gates, strict=True))
    ]
    gates[0].wait()
    gates[1].wait()
    assert tasks.close(SECONDS)
    assert [store.task(each).state for each in ids] == ["queued", "failed", "queued", "queued"]
    store.close()

    store, seen = ServerStore(tmp_path / "server.sqlite"), []
    tasks = restarted(store, ingest=resuming(seen), verify=None)
    assert seen == [(ids[0], {"n": 0}), (ids[2], {"n": 2})]
    assert [ended(tasks, each).state for each in ids] == ["succeeded", "failed", "succeeded", "failed"]
    assert ended(tasks, ids[0]).result == {"again": True} and ended(tasks, ids[0]).attempts == 1
    for each in (ids[1], ids[3]):
        assert ended(tasks, each).problem["code"] == "interrupted"
    assert tasks.close(SECONDS)
    store.close()


def test_a_killed_servers_tasks_go_on_but_not_for_ever(store):
    for i, attempts in enumerate([1, 2, 3]):
        record = TaskRecord(f"t{i}", "ingest", "a", "running", now(), attempts=attempts, payload={"n": i})
        store.add_task(record)
    seen = []
    tasks = restarted(store, ingest=resuming(seen))
    assert [each for each, _ in seen] == ["t0", "t1"]
    assert [ended(tasks, f"t{i}").state for i in range(3)] == ["succeeded", "succeeded", "failed"]
    assert tasks.close(SECONDS)


def test_a_payload_that_cannot_be_resumed_fails_alone(store):
    def resume(record: TaskRecord) -> Callable:
        if record.id == "bad":
            raise KeyError("file")
        return lambda control: None

    for name in ("bad", "good"):
        store.add_task(TaskRecord(name, "ingest", "a", "queued", now(), payload={}))
    store.add_task(TaskRecord("odd", "of-a-newer-version", "a", "queued", now()))
    tasks = restarted(store, ingest=resume)
    assert ended(tasks, "good").state == "succeeded"
    assert ended(tasks, "bad").problem["code"] == "internal"
    assert ended(tasks, "odd").problem["code"] == "interrupted"
    assert tasks.close(SECONDS)


def test_a_stop_does_not_wait_for_ever(store):
    tasks = restarted(store, ingest=resuming([]))
    gate = Gate(stops=False)
    record = tasks.submit("ingest", "a", gate, payload={})
    gate.wait()
    assert not tasks.close(0.01)
    assert store.task(record.id).state == "running"
    with pytest.raises(ProblemError) as caught:
        tasks.submit("ingest", "a", gate)
    assert (caught.value.status, caught.value.code) == (503, "draining")
    gate.open.set()
    assert ended(tasks, record.id).state == "succeeded"


def test_a_cancelled_task_stays_cancelled_though_the_server_stops(store):
    tasks = restarted(store, ingest=resuming([]))
    gate = Gate()
    record = tasks.submit("ingest", "a", gate, payload={})
    gate.wait()
    tasks.cancel(record.id)
    assert tasks.close(SECONDS)
    assert store.task(record.id).state == "cancelled"


# Watching


def listeners(tasks: Tasks, task_id: str) -> set:
    return tasks._live[task_id].control._listeners


def watched(tasks: Tasks, task_id: str) -> list[TaskRecord]:
    async def collect() -> list[TaskRecord]:
        async with asyncio.timeout(SECONDS):
            return [record async for record in tasks.watch(task_id)]

    return asyncio.run(collect())


def test_watching_ends_with_the_final_state(tasks):
    gate = Gate()
    record = tasks.submit("verify", "a", gate, payload={"secret": 1})
    gate.wait()

    async def collect() -> list[TaskRecord]:
        seen = []
        async with asyncio.timeout(SECONDS):
            async for record in tasks.watch(record_id):
                seen.append(record)
                gate.open.set()
        return seen

    record_id = record.id
    seen = asyncio.run(collect())
    assert [each.state for each in seen] == ["running", "succeeded"]
    assert all(each.payload is None for each in seen)
    assert watched(tasks, record.id) == [ended(tasks, record.id)]


def test_watching_hears_of_few_steps(tasks):
    def work(control: TaskControl) -> None:
        stop = time.monotonic() + 0.7
        while time.monotonic() < stop:
            control.tell("count", 0.5)

    began = time.monotonic()
    seen = watched(tasks, tasks.submit("verify", "a", work).id)
    assert 2 <= len(seen) <= 3 + 5 * (time.monotonic() - began)
    assert seen[-1].state == "succeeded"


def test_nothing_new_is_told_again(tasks):
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()

    async def collect() -> list[TaskRecord]:
        async with asyncio.timeout(SECONDS), aclosing(tasks.watch(record.id, heartbeat_s=0.01)) as changes:
            return [await anext(changes) for _ in range(3)]

    seen = asyncio.run(collect())
    assert seen[1] == seen[2] == tasks.get(record.id)
    gate.open.set()


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_a_watcher_that_goes_away_leaves_nothing(tasks, how):
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()

    async def leave() -> None:
        changes = tasks.watch(record.id)
        await anext(changes)
        assert len(listeners(tasks, record.id)) == 1
        if how == "closed":
            await changes.aclose()
            return
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.3)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    assert not listeners(tasks, record.id)
    gate.open.set()
    assert ended(tasks, record.id).state == "succeeded"


def test_watching_ends_when_the_server_drains(tasks):
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()
    timer = threading.Timer(0.3, tasks.drain)
    timer.start()
    assert {each.state for each in watched(tasks, record.id)} == {"running"}
    timer.join()
    assert len(watched(tasks, record.id)) == 1
    gate.open.set()


def test_another_processs_task_is_watched_through_the_disk(tasks, store, monkeypatch):
    from server.tasks import watch as task_watch

    monkeypatch.setattr(task_watch, "STORED_SECONDS", 0.01)
    record = TaskRecord("theirs", "verify", "a", "running", now())
    store.add_task(record)

    async def collect() -> list[str]:
        seen = []
        async with asyncio.timeout(SECONDS):
            async for each in tasks.watch("theirs"):
                seen.append(each.state)
                store.update_task(replace(record, state="succeeded", finished_at=now()))
        return seen

    assert asyncio.run(collect()) == ["running", "succeeded"]


def test_watching_an_unknown_task(tasks):
    with pytest.raises(ProblemError):
        watched(tasks, "nothing")


# Over HTTP


def _body(record: TaskRecord) -> dict:
    from server.tasks.answer import task_body

    return task_body(record)


@pytest.fixture
def keys() -> dict[str, str]:
    return {}


@pytest.fixture
def app(tmp_path, store, tasks, keys) -> Iterator[FastAPI]:
    made = {}
    for name, scope, collections in [
        ("reader", "read", ["a"]),
        ("writer", "write", ["a"]),
        ("admin", "admin", ["*"]),
    ]:
        keys[name], digest = new_key()
        made[name] = KeySettings(sha256=digest, scope=scope, collections=collections)
    pool = WorkPool(2)
    app = FastAPI()
    app.include_router(router)
    install_handlers(app)
    app.add_middleware(RequestContext, log=make_logger())
    app.state.context = SimpleNamespace(
        settings=ServerSettings(data_dir=tmp_path),
        access=Access(made),
        registry=SimpleNamespace(true_name=lambda name: {"alias": "a"}.get(name, name)),
        gate=Admission(8),
        streams=Admission(1),
        store=store,
        tasks=tasks,
        metrics=MagicMock(),
        pool=pool,
    )
    yield app
    pool.close()


@pytest.fixture
def ask(app, keys) -> Iterator[Callable]:
    with TestClient(app) as client:

        def send(method: str, path: str, key: str = "admin", **more: object):
            return client.request(method, path, headers={"api-key": keys[key]}, **more)

        yield send


def test_a_task_over_http(ask, tasks, assert_problem):
    record = ended(tasks, tasks.submit("verify", "a", lambda control: {"ok": True}).id)
    body = ask("GET", f"/v1/tasks/{record.id}").json()
    assert body == _body(record) and body["result"] == {"ok": True}
    assert set(body) == set(Task.model_fields)
    Task.model_validate(body)
    assert_problem(ask("GET", "/v1/tasks/unknown"), 404, "unknown_task")


def test_the_list_over_http(ask, tasks, assert_problem):
    names = "abab"
    ids = [tasks.submit("verify", name, lambda control: None).id for name in names]
    for each in ids:
        ended(tasks, each)
    body = ask("GET", "/v1/tasks").json()
    TaskList.model_validate(body)
    assert [each["id"] for each in body["tasks"]] == ids[::-1] and body["next_cursor"] is None

    first = ask("GET", "/v1/tasks", params={"limit": 3}).json()
    second = ask("GET", "/v1/tasks", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in first["tasks"] + second["tasks"]] == ids[::-1]
    assert second["next_cursor"] is None

    def listed(**params: object) -> list[str]:
        return [each["id"] for each in ask("GET", "/v1/tasks", params=params).json()["tasks"]]

    assert listed(collection="alias") == [ids[2], ids[0]]
    assert listed(state="failed") == [] and len(listed(state="succeeded")) == 4
    for bad in (
        {"limit": 0},
        {"limit": 1001},
        {"cursor": "x"},
        {"cursor": "9" * 19},
        {"state": "gone"},
        {"x": 1},
    ):
        assert_problem(ask("GET", "/v1/tasks", params=bad), 422, "invalid_request")


def test_a_key_sees_only_its_collections(ask, tasks, assert_problem):
    mine = ended(tasks, tasks.submit("verify", "a", lambda control: None).id)
    theirs = ended(tasks, tasks.submit("verify", "b", lambda control: None).id)
    assert [each["id"] for each in ask("GET", "/v1/tasks", "reader").json()["tasks"]] == [mine.id]
    assert ask("GET", f"/v1/tasks/{mine.id}", "reader").status_code == 200
    for path in (theirs.id, f"{theirs.id}/events"):
        assert_problem(ask("GET", f"/v1/tasks/{path}", "reader"), 404, "unknown_task")
    assert_problem(ask("POST", f"/v1/tasks/{theirs.id}/cancel", "writer", json={}), 404, "unknown_task")
    found = ask("GET", "/v1/tasks", "reader", params={"collection": "b"})
    assert_problem(found, 403, "forbidden")


def test_who_may_cancel(ask, tasks, assert_problem):
    gate = Gate()
    running = tasks.submit("restore", "a", gate)
    gate.wait()
    ingest, compact = (tasks.submit(kind, "a", gate) for kind in ("ingest", "compact"))

    def cancel(record: TaskRecord, key: str):
        return ask("POST", f"/v1/tasks/{record.id}/cancel", key, json={})

    assert_problem(cancel(ingest, "reader"), 403, "forbidden")
    assert_problem(cancel(compact, "writer"), 403, "forbidden")
    assert cancel(ingest, "writer").json()["state"] == "cancelled"
    assert cancel(compact, "admin").json()["state"] == "cancelled"
    assert cancel(running, "admin").status_code == 200
    assert ended(tasks, running.id).state == "cancelled"


def test_no_key_sees_nothing(app, assert_problem):
    with TestClient(app) as client:
        for path in ("", "/x", "/x/events"):
            assert_problem(client.get("/v1/tasks" + path), 401, "unauthorized")
        assert_problem(client.post("/v1/tasks/x/cancel"), 401, "unauthorized")


def events(text: str) -> list[dict]:
    blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(first == "event: task" and second.startswith("data: ") for first, second in blocks)
    return [json.loads(second.removeprefix("data: ")) for _, second in blocks]


def opening(tasks: Tasks, gate: Gate, after: int, heartbeat_s: float) -> Callable:
    """``Tasks.watch`` that lets the work end when so many records have been sent."""
    watch = tasks.watch

    async def watching(task: str) -> AsyncGenerator[TaskRecord, None]:
        seen = 0
        async with aclosing(watch(task, heartbeat_s)) as changes:
            async for each in changes:
                yield each
                seen += 1
                if seen == after:
                    gate.open.set()

    return watching


def test_events(ask, tasks, monkeypatch):
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()
    monkeypatch.setattr(tasks, "watch", opening(tasks, gate, 1, SECONDS))
    response = ask("GET", f"/v1/tasks/{record.id}/events", "reader")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"]
    told = events(response.text)
    assert [each["state"] for each in told] == ["running", "succeeded"]
    assert told[-1] == _body(ended(tasks, record.id))
    again = ask("GET", f"/v1/tasks/{record.id}/events")
    assert events(again.text) == told[-1:]


def test_silence_is_filled_with_comments(ask, tasks, monkeypatch):
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()
    monkeypatch.setattr(tasks, "watch", opening(tasks, gate, 2, 0.01))
    response = ask("GET", f"/v1/tasks/{record.id}/events")
    assert ": nothing new\n\n" in response.text
    assert [each["state"] for each in events(response.text)] == ["running", "succeeded"]


def test_one_stream_more_than_may_be_is_refused(app, ask, tasks, assert_problem):
    record = ended(tasks, tasks.submit("verify", "a", lambda control: None).id)
    streams, path = app.state.context.streams, f"/v1/tasks/{record.id}/events"
    with streams.enter():
        refused = ask("GET", path)
        body = assert_problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] and "1 streams of events" in body["detail"]
    assert ask("GET", path).status_code == 200 and streams.in_flight == 0


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_a_client_that_disconnects_leaves_nothing(app, tasks, keys, spec_version, monkeypatch):
    """As uvicorn says it (a message), and as newer servers do (sending fails)."""
    gate = Gate()
    record = tasks.submit("verify", "a", gate)
    gate.wait()
    watch = tasks.watch
    monkeypatch.setattr(tasks, "watch", lambda task: watch(task, 0.01))

    async def visit() -> None:
        gone = anyio.Event()
        asked = False

        async def receive() -> dict:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            if gone.is_set() and spec_version == "2.4":
                raise OSError("connection lost")
            if message.get("body"):
                assert len(listeners(tasks, record.id)) == 1
                gone.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec_version},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/v1/tasks/{record.id}/events",
            "raw_path": b"",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"api-key", keys["admin"].encode())],
        }
        with anyio.fail_after(SECONDS):
            await app(scope, receive, send)
        assert app.state.context.streams.in_flight == 0
        await asyncio.sleep(0)

    asyncio.run(visit())
    assert not listeners(tasks, record.id)
    gate.open.set()


def test_work_may_raise_the_stop_by_itself(tasks):
    def work(control: TaskControl) -> None:
        raise TaskCancelled

    assert ended(tasks, tasks.submit("verify", "a", work).id).state == "cancelled"


def test_what_came_since_the_start_is_not_taken_for_what_was_left_behind(tasks, store):
    work, begun_again = Gate(), []
    tasks.register_kind("ingest", begun_again.append)
    tasks.register_kind("compact", None)
    running = tasks.submit("ingest", "a", work, payload={"file": "body"})
    work.wait()
    waiting = tasks.submit("compact", "a", lambda control: {"compacted": True})
    tasks.resume_unfinished()  # when all collections have been opened at last
    assert begun_again == []
    work.open.set()
    assert ended(tasks, running.id).state == "succeeded"
    assert ended(tasks, waiting.id).state == "succeeded"


def test_what_was_left_behind_can_be_cancelled_before_it_is_taken_up(store):
    left = TaskRecord("left", "ingest", "a", "queued", now(), payload={"file": "body"})
    store.add_task(left)
    removed, begun_again = [], []
    tasks = Tasks(store, make_logger())
    tasks.register_kind("ingest", begun_again.append, ended=removed.append)
    assert tasks.cancel("left").state == "cancelled"
    tasks.resume_unfinished()
    assert begun_again == [] and [each.payload for each in removed] == [{"file": "body"}]
    assert tasks.close(SECONDS)


def test_what_is_cancelled_while_it_is_taken_up_is_cancelled(store):
    store.add_task(TaskRecord("left", "ingest", "a", "queued", now(), payload={}))
    tasks, done = Tasks(store, make_logger()), []

    def resume(record: TaskRecord) -> Callable[[TaskControl], None]:
        tasks.cancel(record.id)
        return lambda control: done.append(record.id)

    tasks.register_kind("ingest", resume)
    tasks.resume_unfinished()
    assert ended(tasks, "left").state == "cancelled" and done == []
    assert tasks.close(SECONDS)


def test_what_was_accepted_waits_for_what_is_not_there_now(tasks, monkeypatch):
    monkeypatch.setattr("server.tasks.manager.FIRST_PAUSE", 0.02)
    tries, removed = [], []
    tasks.register_kind("ingest", lambda record: None, ended=removed.append)

    def work(control: TaskControl) -> dict[str, object]:
        tries.append(tasks.get(accepted.id).progress.stage)
        if len(tries) < 3:
            raise IndexLockedError("another process is writing")
        return {"documents": 1}

    gate = Gate()
    before = tasks.submit("restore", "a", gate)
    accepted = tasks.submit("ingest", "a", work, payload={"file": "body"})
    gate.open.set()
    record = ended(tasks, accepted.id)
    assert (record.state, record.result, len(tries)) == ("succeeded", {"documents": 1}, 3)
    assert [each.id for each in removed] == [accepted.id]  # and not before
    assert ended(tasks, before.id).state == "succeeded"


def test_what_is_tried_again_keeps_its_place_before_others_of_its_kind(tasks, monkeypatch):
    monkeypatch.setattr("server.tasks.manager.FIRST_PAUSE", 0.05)
    done: list[str] = []

    def work(name: str) -> Callable[[TaskControl], None]:
        def once(control: TaskControl) -> None:
            done.append(name)
            if done.count("old") == 1 and name == "old":
                raise IndexLockedError("another process is writing")

        return once

    tasks.register_kind("ingest", lambda record: None)
    gate = Gate()
    tasks.submit("restore", "a", gate)
    submitted = [("ingest", "old"), ("ingest", "new"), ("compact", "other")]
    ids = [tasks.submit(kind, "a", work(name)).id for kind, name in submitted]
    gate.open.set()
    assert {ended(tasks, each).state for each in ids} == {"succeeded"}
    assert done == ["old", "other", "old", "new"]


def test_what_was_left_behind_comes_before_what_was_submitted_since(store):
    done: list[str] = []
    store.add_task(TaskRecord("left", "ingest", "a", "queued", now(), payload={}))
    tasks = Tasks(store, make_logger())
    tasks.register_kind("ingest", lambda record: lambda control: done.append("left"))
    since = tasks.submit("ingest", "a", lambda control: done.append("since"))
    other = tasks.submit("verify", "a", lambda control: done.append("other"))
    assert ended(tasks, other.id).state == "succeeded"
    tasks.resume_unfinished()
    assert ended(tasks, since.id).state == "succeeded"
    assert done == ["other", "left", "since"]
    assert tasks.close(SECONDS)


def test_what_waits_for_that_can_be_cancelled_and_other_kinds_fail_at_once(tasks):
    tasks.register_kind("ingest", lambda record: None)

    def work(control: TaskControl) -> None:
        raise ProblemError(503, "collection_failed", "it could not be opened")

    waiting = tasks.submit("ingest", "a", work)
    until(lambda: (tasks.get(waiting.id).progress.stage or "").startswith("waiting: it could not"))
    tasks.cancel(waiting.id)
    assert ended(tasks, waiting.id).state == "cancelled"
    failed = ended(tasks, tasks.submit("verify", "a", work).id)
    assert (failed.state, failed.problem["code"]) == ("failed", "collection_failed")


def test_nothing_is_removed_for_an_end_that_is_not_on_disk(tasks, store, monkeypatch):
    removed = []
    tasks.register_kind("ingest", lambda record: None, ended=removed.append)
    work = Gate()
    record = tasks.submit("ingest", "a", work, payload={"file": "body"})
    work.wait()

    def full(*_: object) -> None:
        raise ProblemError(500, "store_failed", "the disk is full")

    control = tasks._live[record.id].control
    monkeypatch.setattr(control, "_save", full)
    work.open.set()
    until(lambda: not tasks.counts()["running"])
    assert removed == []
    assert [each.id for each in store.unfinished_tasks()] == [record.id]
