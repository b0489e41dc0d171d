from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from retrieval import Document, Engine, import_index
from server.collections.snapshots import FOLDER
from server.security.keys import hash_of
from tests.encoders import HashingDense
from tests.http.managing import finished, found, managing, put_documents, succeeded, texts
from tests.tiny_models import save_dense


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return {"tiny": str(save_dense(tmp_path_factory.mktemp("models") / "tiny"))}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def client(data_dir, models):
    with managing(data_dir, models=models) as client:
        assert client.put("/v1/collections/notes", json={"encoder": "tiny"}).status_code == 201
        put_documents(client, "notes", texts(30))
        yield client


PATH = "/v1/collections/notes/snapshots"


def hidden(data_dir: Path) -> list[str]:
    return sorted(
        path.name for path in data_dir.iterdir() if path.name.startswith(".") and path.name != FOLDER
    )


def test_a_snapshot_is_listed_downloaded_and_deleted(client, tmp_path, assert_problem):
    made = succeeded(client, client.post(PATH, json={"name": "first"}))
    assert (made["name"], made["documents"]) == ("first", 30)
    assert client.get(PATH).json() == {"snapshots": [made], "next_cursor": None}
    download = client.get(f"{PATH}/first")
    assert download.headers["content-type"] == "application/x-tar"
    assert len(download.content) == made["bytes"]
    (tmp_path / "copy.tar").write_bytes(download.content)
    import_index(tmp_path / "copy.tar", tmp_path / "copy")
    with Engine.open(tmp_path / "copy") as engine:
        assert len(engine) == 30
    part = client.get(f"{PATH}/first", headers={"Range": "bytes=512-1023"})
    assert (part.status_code, part.content) == (206, download.content[512:1024])
    assert_problem(client.post(PATH, json={"name": "first"}), 409, "snapshot_exists")
    assert client.delete(f"{PATH}/first").status_code == 204
    assert client.get(PATH).json()["snapshots"] == []
    for method, path in (("GET", "first"), ("DELETE", "first"), ("GET", "%00"), ("GET", "x.json")):
        assert_problem(client.request(method, f"{PATH}/{path}"), 404, "unknown_snapshot")


def test_a_name_is_made_where_none_is_given(client):
    names = [succeeded(client, client.post(PATH, json={}))["name"] for _ in range(2)]
    assert names == sorted(set(names))
    page = client.get(f"{PATH}?limit=1").json()
    assert ([each["name"] for each in page["snapshots"]], page["next_cursor"]) == (names[:1], names[0])
    rest = client.get(f"{PATH}?cursor={page['next_cursor']}").json()
    assert [each["name"] for each in rest["snapshots"]] == names[1:]


def test_a_collection_goes_back_to_its_snapshot(client, data_dir):
    succeeded(client, client.post(PATH, json={"name": "before"}))
    put_documents(client, "notes", ["only"])
    with client.app.state.context.registry.lease("notes") as engine:
        engine.delete([f"d{i:03}" for i in range(20)])
    assert len(found(client, "notes")) == 10
    result = succeeded(client, client.post(f"{PATH}/before/restore", json={}))
    assert result["documents"] == 30
    assert len(found(client, "notes")) == 30
    put_documents(client, "notes", texts(40))  # it can be written to
    assert len(found(client, "notes")) == 40
    assert hidden(data_dir) == []


def test_no_search_fails_while_a_collection_goes_back(client):
    succeeded(client, client.post(PATH, json={"name": "before"}))
    ended, counts = threading.Event(), set()

    def searching() -> None:
        while not ended.is_set():
            counts.add(len(found(client, "notes")))

    threads = [threading.Thread(target=searching) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in (35, 40, 45):
            put_documents(client, "notes", texts(n))
            succeeded(client, client.post(f"{PATH}/before/restore", json={}))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert counts <= {30, 35, 40, 45}
    assert len(found(client, "notes")) == 30


def test_a_snapshot_becomes_another_collection(client, data_dir, assert_problem):
    succeeded(client, client.post(PATH, json={"name": "s"}))
    restore = f"{PATH}/s/restore"
    assert succeeded(client, client.post(restore, json={"collection": "copy"}))["collection"] == "copy"
    assert found(client, "copy") == found(client, "notes")
    assert_problem(client.post(restore, json={"collection": "copy"}), 409, "collection_exists")
    client.put("/v1/aliases/main", json={"collection": "notes"})
    assert_problem(client.post(restore, json={"collection": "main"}), 409, "is_alias")
    assert_problem(client.post(restore, json={"collection": "../x"}), 422, "invalid_request")
    Engine.create(data_dir / "later", HashingDense()).close()
    assert_problem(client.post(restore, json={"collection": "later"}), 409, "name_taken")
    assert_problem(client.post(f"{PATH}/nope/restore", json={}), 404, "unknown_snapshot")
    by_alias = succeeded(client, client.post("/v1/collections/main/snapshots/s/restore", json={}))
    assert by_alias["collection"] == "notes"


def test_snapshots_outlive_their_collection(client, assert_problem):
    succeeded(client, client.post(PATH, json={"name": "last"}))
    assert client.delete("/v1/collections/notes").status_code == 204
    assert [each["name"] for each in client.get(PATH).json()["snapshots"]] == ["last"]
    assert_problem(client.post(PATH, json={}), 404, "unknown_collection")
    succeeded(client, client.post(f"{PATH}/last/restore", json={}))
    assert len(found(client, "notes")) == 30
    assert_problem(client.get("/v1/collections/never/snapshots"), 404, "unknown_collection")


def test_half_a_snapshot_is_none_and_makes_room(client, data_dir):
    folder = data_dir / FOLDER / "notes"
    folder.mkdir(parents=True)
    (folder / "half.tar").write_bytes(b"cut off")
    (folder / "bad.json").write_text(json.dumps({"name": 1}))
    assert client.get(PATH).json()["snapshots"] == []
    assert succeeded(client, client.post(PATH, json={"name": "half"}))["documents"] == 30


def test_a_damaged_snapshot_changes_nothing(client, data_dir):
    made = succeeded(client, client.post(PATH, json={"name": "s"}))
    (file,) = (data_dir / FOLDER / "notes").glob("s.tar")
    file.write_bytes(file.read_bytes()[:-5000])
    task = finished(client, client.post(f"{PATH}/s/restore", json={}))
    assert (task["state"], task["problem"]["code"]) == ("failed", "index_damaged")
    assert len(found(client, "notes")) == made["documents"]
    assert hidden(data_dir) == []


def test_only_models_of_the_list_are_loaded(client, data_dir, tmp_path):
    """A snapshot that was put there names the model of somebody else."""
    stranger = save_dense(tmp_path / "stranger", seed=1)
    Engine.build(tmp_path / "index", [Document(id="a", text="b")], str(stranger))
    folder = data_dir / FOLDER / "notes"
    folder.mkdir(parents=True)
    with Engine.open(tmp_path / "index") as engine:
        report = engine.export(folder / "odd.tar")
    item = {
        "name": "odd",
        "created_at": "2026-01-31",
        "bytes": 1,
        "documents": 1,
        "generation": report.generation,
    }
    (folder / "odd.json").write_text(json.dumps(item))
    for collection in ("notes", "new"):
        task = finished(client, client.post(f"{PATH}/odd/restore", json={"collection": collection}))
        assert (task["problem"]["status"], task["problem"]["code"]) == (422, "unknown_model")
    assert len(found(client, "notes")) == 30
    assert hidden(data_dir) == []


def test_restoring_needs_the_right_to_the_target(data_dir, models, assert_problem):
    keys = {
        "all": {"sha256": hash_of("a" * 20), "scope": "admin"},
        "notes": {"sha256": hash_of("n" * 20), "scope": "admin", "collections": ["notes"]},
        "reader": {"sha256": hash_of("r" * 20), "scope": "read"},
    }
    everything, notes, reader = ({"api-key": letter * 20} for letter in "anr")
    with managing(data_dir, models=models, keys=keys) as client:
        client.put("/v1/collections/notes", json={"encoder": "tiny"}, headers=everything)
        finished(client, client.post(PATH, json={"name": "s"}, headers=notes), notes)
        body = {"collection": "other"}
        assert_problem(client.post(f"{PATH}/s/restore", json=body, headers=notes), 403, "forbidden")
        assert client.get(PATH, headers=reader).status_code == 200
        assert_problem(client.get(f"{PATH}/s", headers=reader), 403, "forbidden")
