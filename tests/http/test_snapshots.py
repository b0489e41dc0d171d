from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from retrieval import Document, Engine, import_index
from retrieval.copies import move_index
from retrieval.errors import IndexDamagedError
from server.collections import following, snapshots
from server.collections.folders import identity_of
from server.collections.following import Follower
from server.collections.registry import Registry
from server.collections.snapshots import FOLDER
from server.security.keys import hash_of
from tests.encoders import HashingDense
from tests.http.managing import finished, found, managing, put_documents, succeeded, texts
from tests.http.test_leases import NoAliases
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


def test_what_a_restore_took_away_is_written_again(client):
    """A retry under the key of a write that the restore undid is no retry any more."""
    documents, body = "/v1/collections/notes/documents", {"documents": [{"id": "late", "text": "wing"}]}
    succeeded(client, client.post(PATH, json={"name": "before"}))
    sent = {"json": body, "headers": {"Idempotency-Key": "one"}}
    assert "idempotency-replayed" not in client.post(documents, **sent).headers
    assert client.post(documents, **sent).headers["idempotency-replayed"] == "true"
    succeeded(client, client.post(f"{PATH}/before/restore", json={}))
    assert client.get(f"{documents}/late").status_code == 404
    again = client.post(documents, **sent)
    assert again.json()["documents"] == 1 and "idempotency-replayed" not in again.headers
    assert client.get(f"{documents}/late").status_code == 200
    assert client.post(documents, **sent).headers["idempotency-replayed"] == "true"


def test_a_read_only_server_follows_a_restore(client, data_dir, models, monkeypatch):
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    succeeded(client, client.post(PATH, json={"name": "before"}))
    put_documents(client, "notes", texts(40))
    with managing(data_dir, models=models, read_only=True) as reader:
        assert len(found(reader, "notes")) == 40
        for _ in range(2):
            put_documents(client, "notes", texts(40))
            assert len(found(reader, "notes")) == 40
            succeeded(client, client.post(f"{PATH}/before/restore", json={}))
            deadline = time.monotonic() + 30
            while len(found(reader, "notes")) != 30:
                assert time.monotonic() < deadline, "it serves what was replaced"
                time.sleep(0.01)


def test_another_index_in_the_same_file_is_another_one(tmp_path):
    """Numbers of files come again once the files have gone."""
    for name in ("notes", "other"):
        Engine.create(tmp_path / name, HashingDense()).close()
    notes, other = tmp_path / "notes", tmp_path / "other"
    before = identity_of(notes)
    assert before == identity_of(notes) != identity_of(other)
    (notes / "catalog.sqlite").write_bytes((other / "catalog.sqlite").read_bytes())
    assert identity_of(notes) not in (before, identity_of(other))
    assert identity_of(tmp_path / "none") is None


def test_a_replaced_index_that_cannot_be_opened_is_told_and_left_alone(tmp_path, monkeypatch):
    Engine.create(tmp_path / "notes", HashingDense()).close()
    registry, log, tried = Registry({"notes": tmp_path / "notes"}, NoAliases(), MagicMock()), MagicMock(), []

    def opening(name: str, path: Path) -> Engine:
        tried.append(name)
        raise IndexDamagedError("cut off")

    follower = Follower(registry, opening, log)
    registry.load(lambda name, path: Engine.open(path, HashingDense()))
    follower.look()
    with registry.lease("notes") as engine:
        assert len(engine) == 0 and tried == []
    Engine.create(tmp_path / "other", HashingDense()).close()
    move_index(tmp_path / "other", tmp_path / "notes", replace=True)
    for _ in range(2):
        follower.look()
    assert tried == ["notes"] and log.error.call_args.kwargs["detail"] == "cut off"
    monkeypatch.setattr(following, "PAUSE_SECONDS", 0.0)
    follower._not_before.clear()
    follower.look()
    assert tried == ["notes"] * 2
    with registry.lease("notes") as engine:
        assert len(engine) == 0  # what was served still is
    shutil.rmtree(tmp_path / "notes")
    follower.look()
    assert tried == ["notes"] * 2
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "catalog.sqlite").write_bytes(b"no catalog")
    follower._not_before.clear()
    follower.look()
    assert tried == ["notes"] * 3
    registry.close()


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


def test_a_restore_that_cannot_be_served_says_so_until_it_is_reloaded(client, monkeypatch, assert_problem):
    """What was served has no files any more: it must not be asked."""
    succeeded(client, client.post(PATH, json={"name": "s"}))
    put_documents(client, "notes", texts(31))
    real = snapshots.opener_of

    def opener_of(context):
        def open_asked(name: str, path: Path) -> Engine:
            if not path.name.startswith("."):
                raise IndexDamagedError("the disk failed")
            return real(context).open_asked(name, path)

        return SimpleNamespace(open_asked=open_asked)

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "opener_of", opener_of)
        task = finished(client, client.post(f"{PATH}/s/restore", json={}))
    assert (task["state"], task["problem"]["code"]) == ("failed", "index_damaged")
    refused = client.post("/v1/collections/notes/search", json={"query": "wing"})
    assert "the disk failed" in assert_problem(refused, 503, "collection_failed")["detail"]
    assert client.post("/v1/collections/notes/reload", json={}).status_code == 200
    assert len(found(client, "notes")) == 30


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


def test_whoever_asks_while_the_folder_is_replaced_is_answered_by_the_old_index(client, monkeypatch):
    """Between the rename and the opening of what came: explanations look up documents by id."""
    succeeded(client, client.post(PATH, json={"name": "before"}))
    answers: dict[str, tuple[int, object]] = {}
    base, real = "/v1/collections/notes", snapshots.opener_of

    def asked() -> None:
        for door, body in (
            ("search", {"query": "wing", "limit": 3, "explain": "tokens"}),
            ("explain", {"query": "wing", "ids": ["d001"]}),
            ("rerank", {"query": "wing", "ids": ["d001", "d002"]}),
            ("documents/fetch", {"ids": ["d001"]}),
        ):
            answer = client.post(f"{base}/{door}", json=body)
            answers[door] = (answer.status_code, answer.json().get("generation"))

    def opener_of(context):
        opener = real(context)

        def open_asked(name: str, path: Path) -> Engine:
            if not path.name.startswith("."):
                asked()
            return opener.open_asked(name, path)

        return SimpleNamespace(open_asked=open_asked)

    monkeypatch.setattr(snapshots, "opener_of", opener_of)
    put_documents(client, "notes", texts(31))
    generation = client.post(f"{base}/documents/count", json={}).json()["generation"]
    succeeded(client, client.post(f"{PATH}/before/restore", json={}))
    assert set(answers) == {"search", "explain", "rerank", "documents/fetch"}
    assert set(answers.values()) == {(200, generation)}
