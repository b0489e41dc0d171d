from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from retrieval import Document, Engine
from server.app import create_app
from server.settings import ServerSettings
from tests.encoders import HashingDense, HashingLate
from tests.http.quiet import quiet_between_tests

__all__ = ["quiet_between_tests"]

SUBJECTS = ["wing", "rotor", "boundary layer", "heat shield", "shock wave", "propeller", "jet", "cone"]


def documents(n: int = 40) -> list[Document]:
    return [
        Document(
            id=f"d{i:02}",
            title=f"Study {i}",
            text=f"Lift and drag of a {SUBJECTS[i % len(SUBJECTS)]} at speed {i // len(SUBJECTS)}",
            metadata={
                "year": 1950 + i,
                "published": date(1950 + i, 3, 1),
                "scanned": datetime(2001, 2, 3, 4, 5, i),
                "weight": i / 4,
                "open": i % 2 == 0,
            },
        )
        for i in range(n)
    ]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from the developer's shell or folder; and few queries before a server is ready, because
    here it is not the first client that would wait."""
    for name in list(os.environ):
        if name.startswith("RETRIEVAL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("retrieval.warming.QUERY_TOKENS", (1,))


@pytest.fixture(scope="session")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the indexes ``dense`` and ``late``."""
    folder = tmp_path_factory.mktemp("indexes")
    Engine.build(folder / "dense", documents(), HashingDense())
    Engine.build(folder / "late", documents(), HashingLate())
    return folder


@pytest.fixture
def encoders() -> dict:
    return {"dense": HashingDense(), "late": HashingLate()}


@pytest.fixture
def serve(indexes: Path, encoders: dict) -> Callable:
    """``with serve(...) as client``: an application that is ready unless ``wait=False``."""

    @contextmanager
    def start(*, given: dict | None = None, wait: bool = True, **settings: object) -> Iterator[TestClient]:
        values = {"data_dir": indexes, "search_threads": 2, **settings}
        app = create_app(ServerSettings(**values), encoders=encoders if given is None else given)
        with TestClient(app, base_url="http://localhost") as client:
            if wait:
                until_loaded(client)
            yield client

    return start


@pytest.fixture
def client(serve: Callable) -> Iterator[TestClient]:
    with serve() as client:
        yield client


def until_loaded(client: TestClient) -> None:
    deadline = time.monotonic() + 200  # kernels may have to be compiled
    while any(item["state"] == "loading" for item in client.get("/v1/collections").json()["collections"]):
        assert time.monotonic() < deadline, "still loading"
        time.sleep(0.005)


@pytest.fixture
def assert_problem() -> Callable:
    """Checks the shape of a problem and returns its body."""

    def check(response, status: int, code: str) -> dict:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        body = response.json()
        assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body)
        assert body["status"] == status
        assert body["code"] == code
        assert body["type"] == f"urn:retrieval:problem:{code}"
        assert body["request_id"] == response.headers["x-request-id"]
        assert "Traceback" not in response.text
        return body

    return check
