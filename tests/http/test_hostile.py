"""Names, paths, bodies and connections of somebody who wishes us ill: nothing escapes, nothing breaks."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from retrieval import Engine
from server.app import create_app
from server.routes import ROUTERS
from server.security.access import new_key
from server.security.keys import KeySettings
from server.settings import ServerSettings
from tests.encoders import HashingDense, HashingLate
from tests.http import hostile
from tests.http.conftest import documents
from tests.http.hostile import Answer, Attack
from tests.http.living import listening
from tests.tiny_models import save_dense

SEED = int(os.environ.get("RETRIEVAL_HOSTILE_SEED", "7"))
COUNT = int(os.environ.get("RETRIEVAL_HOSTILE_COUNT", "1000"))
"""Names, and as many bodies; more by hand."""
BY_DESIGN = {503, 504}
BAIT = "BAIT-6f1d0c"
ENDED = {"succeeded", "failed", "cancelled"}
MOST_MEMORY = 600 << 20
PATIENCE_SECONDS = 120.0
ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
# Bodies for these do what they say; they are sent to collections of their own.
TARGETS = ("dense", "late", "scratch", "no-such")


@dataclass
class Siege:
    """What was seen."""

    answers: list[tuple[Attack, Answer | None]] = field(default_factory=list)
    log: str = ""
    key: str = ""
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    entries: set[str] = field(default_factory=set)
    verified: dict[str, Any] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    threads: list[str] = field(default_factory=list)
    files: tuple[int, int] = (0, 0)
    memory: tuple[int, int] = (0, 0)
    in_flight: int = -1

    def told(self) -> Iterator[tuple[Attack, Answer]]:
        return ((attack, answer) for attack, answer in self.answers if answer is not None)


def listed(folder: Path, *, but: Path) -> dict[str, str]:
    """Every file below a folder with its hash, and every folder, except what is below ``but``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if but != path and but not in path.parents:
            is_file = path.is_file()
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else "folder"
    return found


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def named(rng: random.Random) -> Attack:
    """A route with hostile names in it, by any of its methods."""
    method, template = rng.choice([each for each in ROUTES if "{" in each[1]])
    parts = []
    for part in template.split("/"):
        is_name = part.startswith("{")
        # One real name before a hostile one: the second is looked at too.
        keep = part == "{collection}" and template.count("{") > 1 and rng.random() < 0.6
        parts.append(b"dense" if keep else hostile.name(rng) if is_name else part.encode())
    has_body = method in ("POST", "PUT", "PATCH")
    body = json.dumps(
        {"encoder": "tiny"} if template == "/v1/collections/{collection}" and method == "PUT" else {}
    )
    typed = [("Content-Type", b"application/json")] if has_body else []
    if rng.random() < 0.1:
        method = rng.choice(["HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "DELETE"])
    # What is no request line at all is refused by HTTP itself.
    path = b"/".join(parts)
    return Attack(method, path, body.encode() if has_body else b"", typed, broken=len(path) > 60_000)


def examples(app: FastAPI) -> list[tuple[str, str, Any]]:
    """(method, template, a body that fits) of every operation with one."""
    description = app.openapi()
    found = []
    for template, operations in description["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get(hostile.JSON)
            if content is None:
                continue
            schema = content["schema"]
            if "$ref" in schema:
                schema = description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            found += [(method.upper(), template, example) for example in schema.get("examples", [{}])]
    return found


def bodied(rng: random.Random, known: list[tuple[str, str, Any]], number: int) -> Attack:
    """An operation with a body that is wrong somewhere."""
    method, template, example = rng.choice(known)
    if "model" in example:
        example = {**example, "model": "tiny"}
    if "encoder" in example:
        example = {**example, "encoder": "tiny"}
    path = (
        template.replace("{collection}", rng.choice(TARGETS)).replace("{alias}", "other").replace("{", "x{")
    )
    path = path.replace("x{snapshot}", "first").replace("x{task}", "none")
    if method == "PUT" and template.endswith("{collection}"):
        path = f"/v1/collections/made-{number % 5}"
    headers = [("Content-Type", hostile.JSON.encode())]
    body = hostile.written(rng, hostile.changed(rng, example) if rng.random() < 0.9 else example)
    if template.endswith("/documents") and rng.random() < 0.6:
        form = rng.choice([hostile.NDJSON, hostile.ARROW])
        body = hostile.arrow(rng) if form == hostile.ARROW else hostile.lines(rng, example["documents"])
        headers = [("Content-Type", form.encode())]
    if template.endswith("/documents"):
        path += "?" + "&".join(
            rng.sample(["mode=add", "ack=task", "on_error=skip", "ack=x", "mode=upsert"], 2)
        )
        if rng.random() < 0.15:
            body = hostile.packed(rng, body)
            headers.append(("Content-Encoding", b"gzip"))
    if rng.random() < 0.1:
        extra = rng.choice(hostile.HEADERS)
        headers = [each for each in headers if each[0] != extra[0]] + [extra]
    if rng.random() < 0.02:
        path += ("&" if "?" in path else "?") + "&".join(f"p{i}" for i in range(5000))
    return Attack(method, path.encode(), body, headers)


def misheaded(rng: random.Random) -> Attack:
    paths = [b"/ui", b"/docs", b"/nowhere", b"/metrics", b"/docs/start.js", b"/docs/swagger-ui.css"]
    paths += [b"/v1/collections", b"/v1/collections/dense/snapshots/first"]
    return Attack("GET", rng.choice(paths), headers=[rng.choice(hostile.HEADERS)])


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """Everything is sent, then everything is looked at."""
    parent = tmp_path_factory.mktemp("hostile")
    data = parent / "data"
    for folder in (data, parent / "data-2", parent / "etc"):
        folder.mkdir()
    for bait in ("bait.txt", "etc/passwd", "data-2/catalog.sqlite", "server.sqlite", ".env"):
        (parent / bait).write_text(BAIT)
    (data / "bait-inside.txt").write_text(BAIT)
    model = save_dense(parent / "tiny")
    Engine.build(data / "dense", documents(), HashingDense())
    Engine.build(data / "late", documents(), HashingLate())
    Engine.create(data / "scratch", HashingDense()).close()
    key, digest = new_key()
    result = Siege(key=key, before=listed(parent, but=data))
    values = {
        "data_dir": data,
        "search_threads": 2,
        "models": {"tiny": str(model)},
        "keys": {"admin": KeySettings(sha256=digest, scope="admin")},
        "max_documents_bytes": 8 << 20,
        "timeout_ms": 10_000,
        "max_tasks": 10_000,
    }
    given = {"dense": HashingDense(), "late": HashingLate(), "scratch": HashingDense()}
    captured = io.StringIO()
    gc.collect()
    threads, files, began = set(threading.enumerate()), open_files(), memory()
    with contextlib.redirect_stderr(captured):
        app = create_app(ServerSettings(**values), encoders=given)
        with listening(app) as port:
            attack(app, port, result)
            inspect(app, port, result)
            result.memory = began, memory()
        result.entries = {path.name for path in data.iterdir()}
        del app
    result.threads = [each.name for each in threading.enumerate() if each not in threads and each.is_alive()]
    result.files = files, open_files()
    result.log = captured.getvalue()
    result.after = listed(parent, but=data)
    yield result


def attack(app: FastAPI, port: int, siege: Siege) -> None:
    """Send all of it, in an order that mixes it. Each request is made when its turn comes, from a seed of its
    own, and of what was sent only the beginning is kept."""
    known, typed = examples(app), [("Content-Type", hostile.JSON.encode())]
    broken = hostile.broken_requests(b"/v1/collections/dense/search", siege.key.encode())
    cut = [*typed, ("Content-Length", b"1000")]
    places = [b"search", b"documents", b"documents/fetch"]
    makers: dict[str, tuple[int, Callable[[random.Random, int], Attack]]] = {
        "named": (COUNT, lambda rng, _: named(rng)),
        "bodied": (COUNT, lambda rng, number: bodied(rng, known, number)),
        "misheaded": (COUNT // 10, lambda rng, _: misheaded(rng)),
        "broken": (len(broken), lambda _, number: broken[number]),
        "cut": (
            90,
            lambda _, number: Attack(
                "POST", b"/v1/collections/dense/" + places[number % 3], b'{"query"', cut, cut=True
            ),
        ),
    }
    order = [(kind, number) for kind, (count, _) in makers.items() for number in range(count)]
    random.Random(SEED).shuffle(order)
    first = Attack("POST", b"/v1/collections/dense/snapshots", b'{"name":"first"}', typed)
    siege.answers.append((first, hostile.send(port, first, siege.key)))
    for kind, number in order:
        made = makers[kind][1](random.Random(f"{SEED} {kind} {number}"), number)
        answer = hostile.send(port, made, siege.key)
        siege.answers.append((replace(made, path=made.path[:500], body=made.body[:500], raw=None), answer))


def inspect(app: FastAPI, port: int, siege: Siege) -> None:
    """The server is asked like by anybody else."""

    def ask(method: str, path: str, body: Any = None) -> Any:
        typed = [("Content-Type", b"application/json")]
        sent = Attack(method, path.encode(), b"" if body is None else json.dumps(body).encode(), typed)
        answer = hostile.send(port, sent, siege.key)
        assert answer is not None and answer.status in (200, 202), answer
        return json.loads(answer.body)

    until = time.monotonic() + PATIENCE_SECONDS
    for state in ("queued", "running"):
        for task in ask("GET", f"/v1/tasks?state={state}&limit=1000")["tasks"]:
            ask("POST", f"/v1/tasks/{task['id']}/cancel", {})
    while any(app.state.context.tasks.counts().values()):
        assert time.monotonic() < until, ask("GET", "/v1/tasks?state=running")
        time.sleep(0.05)
    names = [
        each["name"] for each in ask("GET", "/v1/collections")["collections"] if each["state"] == "ready"
    ]
    for name in names:
        task = ask("POST", f"/v1/collections/{name}/verify", {})
        while task["state"] not in ENDED:
            assert time.monotonic() < until, task
            time.sleep(0.02)
            task = ask("GET", f"/v1/tasks/{task['id']}")
        siege.verified[name] = (task["result"] or {}).get("ok", task["problem"])
        hits = ask("POST", f"/v1/collections/{name}/search", {"query": "wing", "limit": 3})["hits"]
        siege.found[name] = len(hits)
    siege.in_flight = app.state.context.gate.in_flight


def test_nothing_breaks(siege: Siege) -> None:
    failed = [
        (
            attack.method,
            attack.path[:200],
            attack.headers,
            attack.body[:200],
            answer.status,
            answer.body[:400],
        )
        for attack, answer in siege.told()
        if answer.status >= 500 and answer.status not in BY_DESIGN
    ]
    assert not failed, (len(failed), failed[:5])


def test_something_came_of_all_of_it(siege: Siege) -> None:
    """Or the attacks would all have failed at the door."""
    statuses = Counter(answer.status for _, answer in siege.told())
    print(SEED, COUNT, len(siege.answers), dict(sorted(statuses.items())))
    assert {200, 400, 404, 405, 415, 422} <= set(statuses)
    assert statuses[401] + statuses[403] < len(siege.answers) / 20
    assert all(answer is not None or attack.broken or attack.cut for attack, answer in siege.answers)


def test_every_error_is_a_problem(siege: Siege) -> None:
    wrong = []
    for attack, answer in siege.told():
        if answer.status < 400 or attack.method == "HEAD":
            continue
        if attack.broken and answer.headers["content-type"].startswith("text/plain"):
            assert answer.body == b"Invalid HTTP request received."  # it came no further than the protocol
            continue
        try:
            body = json.loads(answer.body)
            assert answer.headers["content-type"] == "application/problem+json"
            assert body["status"] == answer.status and body["request_id"] == answer.headers["x-request-id"]
            assert {"type", "title", "detail", "code"} <= set(body)
        except (AssertionError, ValueError, KeyError):
            wrong.append((attack.method, attack.path[:200], attack.headers, answer))
    assert not wrong, (len(wrong), wrong[:5])


def test_nothing_outside_is_touched(siege: Siege) -> None:
    assert siege.before == siege.after
    own = r"server\.\S+|\.spool|\.snapshots|bait-inside\.txt"
    strange = [name for name in siege.entries if name not in siege.verified and not re.fullmatch(own, name)]
    assert not strange


def test_nothing_is_told_that_lies_there(siege: Siege) -> None:
    for _, answer in siege.told():
        assert BAIT.encode() not in answer.body
        assert siege.key.encode() not in answer.body
        assert "x-evil" not in answer.headers and "set-cookie" not in answer.headers


def test_collections_are_whole_and_answer(siege: Siege) -> None:
    assert {"dense", "late", "scratch"} <= set(siege.verified)
    assert set(siege.verified.values()) == {True}, siege.verified
    assert siege.found["late"] == 3


def test_nothing_is_left_behind(siege: Siege) -> None:
    assert siege.in_flight == 0
    # One of the library that loads models, and idle ones that wait a while for another file to send.
    assert set(siege.threads) <= {"tqdm_monitor", "AnyIO worker thread"}
    assert siege.files[1] <= siege.files[0] + 2, siege.files
    assert siege.memory[1] - siege.memory[0] < MOST_MEMORY, siege.memory


def test_the_log_holds_lines_and_no_secret(siege: Siege) -> None:
    assert siege.key not in siege.log
    assert "Traceback" not in siege.log
    events = [json.loads(line) for line in siege.log.splitlines()]
    assert not [each for each in events if "exception" in each or each["event"] == "unexpected error"]
    assert sum(each["event"] == "request" for each in events) > COUNT
