"""A server with an empty collection, ``papers``, to write to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from retrieval import Engine
from tests.encoders import HashingDense

__all__ = ["PAPERS", "paper", "read_all", "serve_papers", "until_ended"]

PAPERS = "/v1/collections/papers/documents"


@contextmanager
def serve_papers(
    serve: Callable[..., Any], data_dir: Path, encoder: Any = None, **settings: Any
) -> Iterator[TestClient]:
    """``serve`` with ``data_dir`` and its collection ``papers``, which is made if it is not there."""
    encoder = encoder or HashingDense()
    if not (data_dir / "papers").exists():
        data_dir.mkdir(exist_ok=True)
        Engine.create(data_dir / "papers", encoder).close()
    with serve(given={"papers": encoder}, data_dir=data_dir, **settings) as client:
        yield client


def paper(number: int, **metadata: Any) -> dict[str, Any]:
    """A document."""
    values = {"number": number, **metadata}
    return {
        "id": f"p{number}",
        "title": f"Study {number}",
        "text": f"lift of wing {number}",
        "metadata": values,
    }


def read_all(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    """Every document, by scrolling in small pages."""
    found, cursor = [], None
    while True:
        page = client.post(f"{PAPERS}/scroll", json={"limit": 7, "cursor": cursor, **asked}).json()
        found += page["documents"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def until_ended(client: TestClient, task_id: str) -> dict[str, Any]:
    """The task when it has a final state."""
    deadline = time.monotonic() + 60
    while True:
        task = client.get(f"/v1/tasks/{task_id}").json()
        if task["state"] in ("succeeded", "failed", "cancelled"):
            return dict(task)
        assert time.monotonic() < deadline, f"still {task['state']}"
        time.sleep(0.01)
