"""Every route but the two health ones refuses a request without a key before it reads any of its body."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi.routing import APIRoute

from server.routes import ROUTERS
from server.security.access import new_key
from server.security.keys import KeySettings

OPEN = {"/livez", "/readyz"}
ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
VALUES = {"collection": "late", "doc_id": "doc-1", "file": "app.js"}


def path_of(template: str) -> str:
    path = template
    for part in template.split("/"):
        if part.startswith("{"):
            name = part.strip("{}").partition(":")[0]
            path = path.replace(part, VALUES.get(name, "any-name"))
    return path


async def answer_unread(app, method: str, path: str, *headers: tuple[bytes, bytes]) -> tuple[int, dict, int]:
    """Status, headers and how often the body was asked for."""
    reads, sent = 0, []

    async def receive():
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        sent.append(message)

    named = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": named,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    start = sent[0]
    return start["status"], {name.decode().lower(): value.decode() for name, value in start["headers"]}, reads


@pytest.fixture
def guarded(serve):
    _, digest = new_key()
    reader, reader_digest = new_key()
    keys = {
        "admin": KeySettings(sha256=digest, scope="admin"),
        "reader": KeySettings(sha256=reader_digest, scope="read", collections=["dense"]),
    }
    with serve(keys=keys, wait=False) as client:
        yield client.app, reader


def test_there_are_routes_to_test():
    assert len(ROUTES) >= 45


@pytest.mark.parametrize(("method", "template"), ROUTES, ids=lambda value: str(value))
def test_no_key_no_reading(guarded, method, template):
    app, _ = guarded
    status, headers, reads = asyncio.run(answer_unread(app, method, path_of(template)))
    if template in OPEN:
        assert status in (200, 503)
        return
    assert status == 401
    assert reads == 0
    assert headers["content-type"] == "application/problem+json"
    assert headers["www-authenticate"].partition(" ")[0] in ("Bearer", "Basic")


@pytest.mark.parametrize(
    ("method", "template"),
    [route for route in ROUTES if "{collection}" in route[1]],
    ids=lambda value: str(value),
)
def test_a_key_of_another_collection_is_refused_before_reading(guarded, method, template):
    app, reader = guarded
    bearer = (b"authorization", f"Bearer {reader}".encode())
    status, _, reads = asyncio.run(answer_unread(app, method, path_of(template), bearer))
    assert status == 403
    assert reads == 0


@pytest.mark.parametrize(("method", "template"), ROUTES, ids=lambda value: str(value))
def test_a_wrong_key_is_no_key(guarded, method, template):
    app, _ = guarded
    wrong = (b"authorization", b"Bearer rk_" + b"A" * 43)
    status, _, reads = asyncio.run(answer_unread(app, method, path_of(template), wrong))
    assert status == 401 if template not in OPEN else status in (200, 503)
    assert reads == 0


def test_the_key_of_one_collection_sees_only_that_in_lists(serve):
    key, digest = new_key()
    keys = {"reader": KeySettings(sha256=digest, scope="read", collections=["dense"])}
    with serve(keys=keys, wait=False) as client:
        shown = client.get("/v1/collections", headers={"api-key": key})
        assert [item["name"] for item in shown.json()["collections"]] == ["dense"]
        assert "late" not in json.dumps(client.get("/v1/tasks", headers={"api-key": key}).json())
