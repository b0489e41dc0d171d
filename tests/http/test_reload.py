from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrieval import Document, Engine, restore_index
from tests.encoders import HashingDense
from tests.http.managing import found, managing, texts
from tests.tiny_models import save_dense


def build(path: Path, n: int) -> None:
    with Engine.create(path, HashingDense()) as engine:
        engine.add([Document(id=f"d{i:03}", text=text) for i, text in enumerate(texts(n))])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    build(tmp_path / "data" / "notes", 20)
    return tmp_path / "data"


@pytest.fixture
def client(data_dir: Path):
    with managing(data_dir, encoders={"notes": HashingDense()}) as client:
        yield client


RELOAD = "/v1/collections/notes/reload"


def test_a_restored_index_is_served_and_no_request_fails(client, data_dir, tmp_path):
    """What ``retrieval restore --replace`` does under a running server."""
    with Engine.open(data_dir / "notes", HashingDense()) as engine:
        engine.snapshot(tmp_path / "copy")
    build(tmp_path / "other", 30)
    ended, counts = threading.Event(), set()

    def searching() -> int:
        done = 0
        while not ended.is_set():
            counts.add(len(found(client, "notes")))
            assert client.get("/v1/collections/notes").status_code == 200
            done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(searching) for _ in range(3)]
        try:
            for i in range(6):
                restore_index(tmp_path / ("copy" if i % 2 else "other"), data_dir / "notes", replace=True)
                detail = client.post(RELOAD, json={})
                assert (detail.status_code, detail.json()["documents"]) == (200, 20 if i % 2 else 30)
                assert len(found(client, "notes")) == detail.json()["documents"]
        finally:
            ended.set()
        assert all(search.result() > 0 for search in searches)
    assert counts <= {20, 30}


def test_a_hundred_reloads_under_load(client):
    ended = threading.Event()

    def searching() -> int:
        done = 0
        while not ended.is_set():
            assert len(found(client, "notes")) == 20
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(searching) for _ in range(4)]
        try:
            statuses = {client.post(RELOAD, json={}).status_code for _ in range(100)}
        finally:
            ended.set()
        assert all(search.result() > 0 for search in searches)
    assert statuses == {200}


def test_a_folder_that_came_is_served_and_one_that_went_is_not(client, data_dir, tmp_path, assert_problem):
    assert_problem(client.post("/v1/collections/later/reload", json={}), 404, "unknown_collection")
    client.put("/v1/aliases/main", json={"collection": "notes"})
    shutil.move(data_dir / "notes", tmp_path / "aside")
    assert len(found(client, "notes")) == 20  # nobody has been told yet
    assert_problem(client.post("/v1/collections/main/reload", json={}), 404, "unknown_collection")
    assert_problem(client.get("/v1/collections/notes"), 404, "unknown_collection")
    assert_problem(client.get("/v1/collections/main"), 404, "unknown_collection")
    assert client.get("/readyz").status_code == 200
    shutil.move(tmp_path / "aside", data_dir / "notes")
    assert client.post(RELOAD, json={}).json()["documents"] == 20
    assert len(found(client, "main")) == 20


def test_a_model_that_is_not_on_the_list_is_not_loaded_for_a_request(tmp_path, assert_problem):
    listed, other = (save_dense(tmp_path / name, seed=i) for i, name in enumerate(("listed", "other")))
    data_dir = tmp_path / "data"
    for name, model in (("a", listed), ("b", other)):
        Engine.build(tmp_path / name, [Document(id="x", text="wing")], str(model))
    data_dir.mkdir()
    with managing(data_dir, models={"tiny": str(listed)}) as client:
        for name in ("a", "b"):
            shutil.copytree(tmp_path / name, data_dir / name)
        assert client.post("/v1/collections/a/reload", json={}).json()["encoder"] == "tiny"
        body = assert_problem(client.post("/v1/collections/b/reload", json={}), 422, "unknown_model")
        assert str(tmp_path) not in body["detail"]
    with managing(data_dir, models={"tiny": str(listed)}) as client:  # whoever starts it may
        assert client.get("/v1/collections/b").status_code == 200
        assert client.post("/v1/collections/b/reload", json={}).status_code == 200


def test_what_cannot_be_opened_leaves_the_old_one(client, data_dir, assert_problem):
    (data_dir / "notes" / "catalog.sqlite").rename(data_dir / "catalog")
    (data_dir / "notes" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    response = client.post(RELOAD, json={})
    assert response.status_code == 500
    assert response.json()["code"] in ("index_format", "index_damaged", "index")
    assert len(found(client, "notes")) == 20
    assert client.get("/readyz").status_code == 200


def test_a_failed_collection_can_be_reloaded(tmp_path, assert_problem):
    data_dir = tmp_path / "data"
    build(data_dir / "notes", 3)
    (data_dir / "notes" / "catalog.sqlite").rename(tmp_path / "catalog")
    (data_dir / "notes" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    with managing(data_dir, encoders={"notes": HashingDense()}) as client:
        assert_problem(client.get("/readyz"), 503, "not_ready")
        (tmp_path / "catalog").rename(data_dir / "notes" / "catalog.sqlite")
        assert client.post(RELOAD, json={}).json()["documents"] == 3
        assert client.get("/readyz").status_code == 200
