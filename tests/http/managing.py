"""Servers whose collections come and go, with a model of a few kilobytes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from retrieval import Document
from server.app import create_app
from server.settings import ServerSettings

WAIT_SECONDS = 120.0


@contextmanager
def managing(data_dir: Path | None, *, encoders: dict | None = None, **settings: Any) -> Iterator[TestClient]:
    """A server that has opened everything."""
    values = {"data_dir": data_dir, "search_threads": 2, "allowed_hosts": ["*"], **settings}
    app = create_app(ServerSettings(**values), encoders=encoders)
    with TestClient(app) as client:
        deadline = time.monotonic() + WAIT_SECONDS
        while any(each.state == "loading" for each in app.state.context.registry.all()):
            assert time.monotonic() < deadline, "still loading"
            time.sleep(0.005)
        yield client


def finished(client: TestClient, response: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The task of a 202 after its end."""
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/tasks/{response.json()['id']}"
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        task = client.get(response.headers["location"], headers=headers).json()
        if task["state"] not in ("queued", "running"):
            return dict(task)
        assert time.monotonic() < deadline, task
        time.sleep(0.01)


def succeeded(client: TestClient, response: Any) -> dict[str, Any]:
    """The result of a 202's task."""
    task = finished(client, response)
    assert task["state"] == "succeeded", task
    return dict(task["result"])


def put_documents(client: TestClient, collection: str, texts: Sequence[str]) -> None:
    """Straight into the engine: how documents come over HTTP is tested elsewhere."""
    with client.app.state.context.registry.lease(collection) as engine:  # type: ignore[attr-defined]
        engine.upsert([Document(id=f"d{i:03}", text=text) for i, text in enumerate(texts)])


def texts(n: int) -> list[str]:
    return [
        f"study {i} of a {('wing', 'rotor', 'cone', 'jet')[i % 4]} at speed {i * 7 % 31}" for i in range(n)
    ]


def found(client: TestClient, collection: str, query: str = "wing") -> list[str]:
    """Ids of a search's hits."""
    response = client.post(f"/v1/collections/{collection}/search", json={"query": query, "limit": 1000})
    assert response.status_code == 200, response.text
    return [hit["id"] for hit in response.json()["hits"]]
