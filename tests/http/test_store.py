from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrieval.errors import ConfigError
from server.http.problems import ProblemError
from server.store import file as store_file
from server.store import store as store_module
from server.store import task_rows
from server.store.store import Busy, Claimed, Conflict, Known, ServerStore
from server.tasks.record import TaskProgress, TaskRecord, now

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "server.sqlite"


@pytest.fixture(params=["file", "memory"])
def store(request, path):
    store = ServerStore(path if request.param == "file" else None)
    yield store
    store.close()


def record(number: int = 0, **values: object) -> TaskRecord:
    known = {"id": f"t{number}", "kind": "ingest", "collection": "papers", "state": "queued"}
    return TaskRecord(**{**known, "created_at": now(), **values})


def ids(page) -> list[str]:
    return [each.id for each in page.records]


def test_aliases_are_put_and_deleted_together(store):
    assert store.change_aliases({"main": "a", "old": "b"}) == {"main": None, "old": None}
    assert store.change_aliases({"main": "c"}, ["old", "none"]) == {"old": "b", "none": None, "main": "a"}
    assert store.aliases() == {"main": "c"}
    assert (store.alias("main"), store.alias("old")) == ("c", None)


def test_a_change_that_fails_changes_nothing(path):
    store = ServerStore(path)
    store.change_aliases({"main": "a"})
    with pytest.raises(ProblemError) as caught:
        store.change_aliases({"other": "b", "main": None}, ["main"])
    assert (caught.value.status, caught.value.code) == (500, "store_failed")
    assert store.aliases() == {"main": "a"}
    store.close()
    store = ServerStore(path)
    assert store.aliases() == {"main": "a"}
    store.close()


def test_everything_is_there_after_a_restart(path):
    first = record(1, payload={"file": "x"}, progress=TaskProgress("encode", 0.5, 7, 1.5), attempts=2)
    second = record(2, state="failed", problem={"code": "x"}, finished_at=now(), request_id="r")
    store = ServerStore(path)
    store.change_aliases({"main": "a"})
    for each in (first, second):
        store.add_task(each)
    assert store.claim("k", "digest") == Claimed()
    store.settle("k", 202, b"\x00body", {"location": "/v1/tasks/t1"})
    store.close()
    store.close()
    store = ServerStore(path)
    assert store.aliases() == {"main": "a"} and store.alias("main") == "a"
    assert store.unfinished_tasks() == [first]
    assert store.task("t1") == replace(first, payload=None)
    assert store.task("t2") == second and store.task("t3") is None
    assert store.claim("k", "digest") == Known(202, {"location": "/v1/tasks/t1"}, b"\x00body")
    store.close()


def test_a_claim_dies_with_its_process(path):
    store = ServerStore(path)
    assert store.claim("k", "digest") == Claimed()
    assert store.claim("k", "digest") == Busy()
    store.close()
    store = ServerStore(path)
    assert store.claim("k", "digest") == Claimed()
    store.close()


def test_claims(store):
    assert store.claim("k", "one") == Claimed()
    assert store.claim("k", "two") == Conflict()
    assert store.claim("other", "two") == Claimed()
    store.release("k")
    assert store.claim("k", "two") == Claimed()
    store.settle("k", 200, b"yes")
    assert store.claim("k", "two") == Known(200, {}, b"yes")
    assert store.claim("k", "one") == Conflict()
    store.release("k")
    assert store.claim("k", "two") == Known(200, {}, b"yes")


def test_only_one_of_many_threads_gets_a_claim(store):
    got = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        got.append(store.claim("k", "digest"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(Claimed()) == 1 and got.count(Busy()) == 7


def test_answers_are_forgotten_after_a_day(store, monkeypatch):
    clock = [1e9]
    monkeypatch.setattr(store_module.time, "time", lambda: clock[0])
    store.claim("k", "digest")
    store.settle("k", 200, b"yes")
    clock[0] += 24 * 3600 - 1
    assert isinstance(store.claim("k", "digest"), Known)
    clock[0] += 1
    assert store.claim("k", "another") == Claimed()
    store.settle("k", 200, b"no")
    assert store.claim("k", "another") == Known(200, {}, b"no")


def test_only_so_many_answers_are_kept(store, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_ANSWERS", 3)
    for i in range(5):
        store.claim(f"k{i}", "d")
        store.settle(f"k{i}", 200, b"")
    kept = [isinstance(store.claim(f"k{i}", "d"), Known) for i in range(5)]
    assert kept == [False, False, True, True, True]


def test_tasks_are_listed_newest_first(store):
    for i in range(7):
        state = "queued" if i % 2 else "succeeded"
        finished = None if i % 2 else now()
        store.add_task(record(i, collection="abc"[i % 3], state=state, finished_at=finished))
    assert ids(store.tasks()) == ["t6", "t5", "t4", "t3", "t2", "t1", "t0"]
    assert ids(store.tasks(state="queued")) == ["t5", "t3", "t1"]
    assert ids(store.tasks(collections=["a", "c"])) == ["t6", "t5", "t3", "t2", "t0"]
    assert ids(store.tasks(collections=[])) == []
    assert store.task_collections() == ["a", "b", "c"]
    first = store.tasks(limit=3)
    store.add_task(record(7))
    second = store.tasks(limit=3, after=first.next_after)
    third = store.tasks(limit=3, after=second.next_after)
    assert [ids(page) for page in (first, second, third)] == [["t6", "t5", "t4"], ["t3", "t2", "t1"], ["t0"]]
    assert third.next_after is None


def test_a_task_that_has_ended_loses_its_payload(path):
    store = ServerStore(path)
    store.add_task(record(1, payload={"documents": "confidential"}))
    assert store.unfinished_tasks()[0].payload == {"documents": "confidential"}
    store.update_task(record(1, state="running"))
    assert store.unfinished_tasks()[0].payload == {"documents": "confidential"}
    store.update_task(record(1, state="succeeded", finished_at=now(), result={"ok": True}))
    assert store.task("t1").result == {"ok": True}
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT payload FROM tasks").fetchall() == [(None,)]
    connection.close()


def test_ended_tasks_are_forgotten_by_age_and_number(store, monkeypatch):
    monkeypatch.setattr(task_rows, "MAX_ENDED_TASKS", 3)
    store.add_task(record(0))
    long_ago = (datetime.now(UTC) - timedelta(days=7, minutes=1)).isoformat(timespec="milliseconds")
    recently = (datetime.now(UTC) - timedelta(days=7, minutes=-1)).isoformat(timespec="milliseconds")
    store.add_task(record(1, state="failed", finished_at=long_ago))
    store.add_task(record(2, state="failed", finished_at=recently))
    for i in (3, 4, 5):
        store.add_task(record(i))
    store.update_task(record(3, state="cancelled", finished_at=now()))
    assert ids(store.tasks()) == ["t5", "t4", "t3", "t2", "t0"]
    for i in (4, 5):
        store.update_task(record(i, state="succeeded", finished_at=now()))
    assert ids(store.tasks()) == ["t5", "t4", "t3", "t0"]


def test_one_server_writes(path):
    with_lock = ServerStore(path)
    with pytest.raises(ConfigError, match=r"another server writes .*; stop it, or set read_only"):
        ServerStore(path)
    closing = threading.Thread(target=with_lock.close)
    closing.start()
    closing.join()
    ServerStore(path).close()


def test_a_reader_sees_what_the_writer_does(path):
    reader = ServerStore(path, read_only=True)
    assert (reader.aliases(), reader.alias("main"), reader.unfinished_tasks()) == ({}, None, [])
    assert reader.tasks().records == [] and reader.task("t1") is None
    writer = ServerStore(path)
    for target in ("a", "b"):
        writer.change_aliases({"main": target})
        assert reader.alias("main") == target and reader.aliases() == {"main": target}
    writer.add_task(record(1))
    assert reader.task("t1").state == "queued"
    with pytest.raises(ProblemError, match="another server's"):
        reader.change_aliases({"main": "c"})
    writer.close()
    assert reader.alias("main") == "b"
    reader.close()


def test_a_reader_reads_aliases_only_when_something_was_committed(path):
    writer, reader = ServerStore(path), ServerStore(path, read_only=True)
    writer.change_aliases({"main": "a"})
    assert reader.alias("main") == "a"
    said: list[str] = []
    reader._followed._following.connection().set_trace_callback(said.append)
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with reader._lock:  # as a long list of tasks would
            holding.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(30)
        assert reader.alias("main") == "a" and reader.alias("none") is None
        assert not any("SELECT" in each for each in said)
        writer.change_aliases({"main": "b"})
        assert reader.alias("main") == "b" and any("SELECT" in each for each in said)
    finally:
        done.set()
        thread.join()
        reader.close()
        writer.close()


def test_a_reader_on_media_that_cannot_be_written(path, monkeypatch):
    writer = ServerStore(path)
    writer.change_aliases({"main": "a"})
    writer.close()
    tried = store_file._tried

    def refusing(uri: str) -> sqlite3.Connection:
        if uri.endswith("mode=ro"):
            raise sqlite3.OperationalError("unable to open database file")
        return tried(uri)

    monkeypatch.setattr(store_file, "_tried", refusing)
    reader = ServerStore(path, read_only=True)
    assert reader.alias("main") == "a"
    writer = ServerStore(path)
    writer.change_aliases({"main": "changed"})
    writer.close()
    assert reader.alias("main") == "changed"
    reader.close()


def test_an_incarnation_ends_with_its_file_and_when_told(store):
    first = store.incarnation("papers", "17")
    assert store.incarnation("papers", "17") == first != store.incarnation("notes", "17")
    second = store.incarnation("papers", "18")
    assert second not in (first, store.incarnation("papers", "18", anew=True))
    assert store.incarnation("papers", "17") != first  # the number has come again


def test_an_older_format_is_brought_up_to_date(path):
    store = ServerStore(path)
    store.change_aliases({"main": "a"})
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE incarnations")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    reader = ServerStore(path, read_only=True)
    assert reader.alias("main") == "a"
    reader.close()
    tokens = set()
    for _ in range(2):
        store = ServerStore(path)
        assert store.alias("main") == "a"
        tokens.add(store.incarnation("a", "1"))
        store.close()
    assert len(tokens) == 1


def test_a_newer_format_is_refused(path):
    ServerStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(ConfigError, match=r"server\.sqlite was written by a newer version .*is 99"):
            ServerStore(path, read_only=read_only)


def test_another_programs_database_is_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(ConfigError, match="is a database of something else"):
            ServerStore(path, read_only=read_only)


BROKEN = {"text": b"x" * 5000, "header": b"SQLite format 3\x00" + b"\xff" * 5000}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"server\.sqlite is damaged .*move it away"):
        ServerStore(path)
    assert path.read_bytes() == content
    path.unlink()
    ServerStore(path).close()  # the lock was given back


def test_a_damaged_page_is_found_at_the_start(path):
    store = ServerStore(path)
    for i in range(200):
        store.add_task(record(i, request_id="r" * 200))
    store.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 12 * 4096] = b"\xa5" * (9 * 4096)
    path.write_bytes(bytes(content))
    with pytest.raises(ConfigError, match=r"server\.sqlite is damaged"):
        ServerStore(path)


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot"):
        ServerStore(tmp_path / "file" / "server.sqlite")


def test_a_store_that_fails_says_so(store):
    store.close()
    calls = [store.tasks, lambda: store.add_task(record()), lambda: store.change_aliases({"a": "b"})]
    for call in calls:
        with pytest.raises(ProblemError) as caught:
            call()
        assert (caught.value.status, caught.value.code) == (500, "store_failed")


CHILD = """
import sys
from pathlib import Path
from server.store.store import ServerStore

store = ServerStore(Path(sys.argv[1]))
start = int(sys.argv[2])
for i in range(start, start + 100_000):
    names = [f"a{i % 2}", "b", "c"]
    store.change_aliases(dict.fromkeys(names, str(i)), [f"a{(i + 1) % 2}"])
    store.claim(f"k{i}", "digest")
    print("aliases", i, flush=True)
    store.settle(f"k{i}", 200, str(i).encode() * 1000)
    print("answer", i, flush=True)
"""


def test_a_kill_leaves_all_or_nothing(path):
    """SIGKILL in the midst of changes: what was acknowledged is there, and nothing is there by half."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    done = {"aliases": -1, "answer": -1}
    for _ in range(6):
        command = [sys.executable, "-c", CHILD, str(path), str(done["aliases"] + 10)]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(rng.randrange(2, 60)):
            what, number = child.stdout.readline().split()
            done[what.decode()] = int(number)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines(keepends=True)
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL
        for line in rest:
            if line.endswith(b"\n"):
                what, number = line.split()
                done[what.decode()] = int(number)
        _check(path, done)


def _check(path, done) -> None:
    store = ServerStore(path)  # and the lock of the dead is free
    aliases = store.aliases()
    number = int(aliases["b"])
    assert number in (done["aliases"], done["aliases"] + 1)
    assert aliases == {f"a{number % 2}": str(number), "b": str(number), "c": str(number)}
    last = done["answer"]
    assert store.claim(f"k{last}", "digest") == Known(200, {}, str(last).encode() * 1000)
    following = store.claim(f"k{last + 1}", "digest")
    assert following in (Claimed(), Known(200, {}, str(last + 1).encode() * 1000))
    store.close()
