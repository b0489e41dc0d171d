from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from retrieval import Engine
from retrieval.types import TrainingProgress
from server.collections import conversions, lifecycle
from server.security.keys import hash_of
from server.tasks.control import TaskControl
from tests.encoders import HashingDense
from tests.http.managing import finished, found, managing, put_documents, succeeded, texts
from tests.tiny_models import save_dense


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = str(save_dense(tmp_path_factory.mktemp("models") / "tiny"))
    return {"tiny": folder, "tiny-late": {"name": folder, "kind": "late", "projection": "none"}}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def client(data_dir: Path, models: dict):
    with managing(data_dir, models=models) as client:
        yield client


def names(client) -> list[str]:
    return [each["name"] for each in client.get("/v1/collections").json()["collections"]]


def folders(data_dir: Path) -> set[str]:
    return {path.name for path in data_dir.iterdir() if not path.name.startswith("server.")}


def test_put_makes_a_collection_once(client, data_dir, assert_problem):
    made = client.put("/v1/collections/notes", json={"encoder": "tiny-late"})
    assert made.status_code == 201
    again = client.put(
        "/v1/collections/notes", json={"encoder": {"name": "tiny-late"}, "precision": "float16"}
    )
    assert again.status_code == 200
    assert made.json() == again.json() == client.get("/v1/collections/notes").json()
    body = made.json()
    assert (body["kind"], body["documents"], body["encoder"], body["writable"]) == (
        "late",
        0,
        "tiny-late",
        True,
    )
    assert folders(data_dir) == {"notes"}
    differs = client.put(
        "/v1/collections/notes",
        json={"encoder": {"name": "tiny", "document_length": 9}, "precision": "int8", "pooling": "ward:2"},
    )
    body = assert_problem(differs, 409, "config_differs")
    assert {each["pointer"]: (each["stored"], each["given"]) for each in body["differences"]} == {
        "/encoder/kind": ("late", "dense"),
        "/encoder/document_length": (None, 9),
        "/encoder/projection": ("none", "trained"),
        "/precision": ("float16", "int8"),
        "/pooling": ("none", "ward:2"),
    }


def test_what_was_made_is_there_after_a_restart(data_dir, models):
    with managing(data_dir, models=models) as client:
        client.put("/v1/collections/notes", json={"encoder": "tiny", "preset": "fast"})
        put_documents(client, "notes", texts(5))
    with managing(data_dir, models=models) as client:
        again = client.put("/v1/collections/notes", json={"encoder": "tiny", "preset": "fast"})
        assert (again.status_code, again.json()["documents"]) == (200, 5)


@pytest.mark.parametrize(
    ("config", "code", "pointer"),
    [
        ({"encoder": "nope"}, "unknown_model", "/encoder"),
        ({"encoder": "/etc"}, "unknown_model", "/encoder"),
        ({"encoder": {"name": "org/model"}}, "unknown_model", "/encoder/name"),
        ({"encoder": {}}, "unknown_model", "/encoder/name"),
        ({"encoder": {"name": "tiny", "document_length": 0}}, "bad_config", "/encoder/document_length"),
        (
            {"encoder": {"name": "tiny", "trust_remote_code": True}},
            "bad_config",
            "/encoder/trust_remote_code",
        ),
        ({"encoder": {"name": "tiny", "kind": "late"}}, "bad_config", "/encoder"),
        ({"encoder": {"name": "tiny", "truncate_dim": 99999}}, "bad_config", "/encoder"),
        ({"encoder": {"name": "tiny", "language": "en_XX"}}, "bad_config", "/encoder"),
        ({"encoder": "tiny", "preset": "best"}, "bad_config", "/preset"),
        ({"encoder": "tiny", "preset": "tokens"}, "bad_config", "/preset"),
        ({"encoder": "tiny-late", "preset": "fast"}, "bad_config", "/preset"),
        ({"encoder": "tiny", "preset": "fast", "recipe": {"bits": 3}}, "bad_config", "/recipe/bits"),
        ({"encoder": "tiny", "preset": "fast", "recipe": {"what": 3}}, "bad_config", "/recipe"),
        ({"encoder": "tiny", "preset": "exact", "recipe": {"bits": 4}}, "bad_config", "/recipe"),
        ({"encoder": "tiny", "recipe": {"index": "ivf", "reduce": "pca:900"}}, "bad_config", "/recipe"),
        ({"encoder": "tiny", "pooling": "ward:2"}, "bad_config", "/pooling"),
        ({"encoder": "tiny-late", "pooling": "wrd"}, "bad_config", "/pooling"),
        ({"encoder": "tiny-late", "precision": "residual"}, "bad_config", "/precision"),
        ({"encoder": "tiny", "precision": "float12"}, "invalid_request", "/precision"),
        ({"encoder": "tiny", "color": "red"}, "invalid_request", "/color"),
    ],
)
def test_a_config_that_cannot_work_leaves_nothing(client, data_dir, assert_problem, config, code, pointer):
    body = assert_problem(client.put("/v1/collections/notes", json=config), 422, code)
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert folders(data_dir) == set()
    assert names(client) == []


def test_hostile_names_make_nothing(client, data_dir, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for name in (
        "..",
        ".",
        "../x",
        "/etc",
        "a/b",
        "A",
        "é",
        "a" * 65,
        ".trash-1",
        "x\n",
        "x\x00",
        "-x",
        "a b",
        "%2e",
    ):
        response = client.put(f"/v1/collections/{quote(name, safe='')}", json={"encoder": "tiny"})
        assert response.status_code in (404, 405, 422), (name, response.text)
        assert response.headers["content-type"] == "application/problem+json"
    assert sorted(tmp_path.rglob("*")) == before


def test_links_do_not_lead_out_of_the_data_folder(data_dir, tmp_path, models, assert_problem):
    outside = tmp_path / "outside"
    Engine.create(outside, HashingDense()).close()
    (tmp_path / "bare").mkdir()
    with managing(data_dir, models=models) as client:
        (data_dir / "later").symlink_to(outside)
        (data_dir / "bare").symlink_to(tmp_path / "bare")
        for name in ("later", "bare"):
            put = client.put(f"/v1/collections/{name}", json={"encoder": "tiny"})
            assert_problem(put, 409, "collection_fixed")
            assert_problem(client.post(f"/v1/collections/{name}/reload", json={}), 404, "unknown_collection")
    assert list((tmp_path / "bare").iterdir()) == []
    with managing(data_dir, encoders={"later": HashingDense()}) as client:  # linked before the start: served
        assert names(client) == ["later"]
        assert_problem(client.delete("/v1/collections/later"), 409, "collection_fixed")
    assert (outside / "catalog.sqlite").exists()


def test_without_a_data_folder_nothing_is_made(tmp_path, assert_problem, models):
    Engine.create(tmp_path / "fixed", HashingDense()).close()
    fixed = {"collections": {"notes": tmp_path / "fixed"}, "encoders": {"notes": HashingDense()}}
    with managing(None, models=models, **fixed) as client:
        body = assert_problem(client.put("/v1/collections/x", json={"encoder": "tiny"}), 409, "no_data_dir")
        assert "data_dir" in body["detail"]
        assert_problem(client.post("/v1/collections/notes/snapshots", json={}), 409, "no_data_dir")
        assert_problem(client.delete("/v1/collections/notes"), 409, "collection_fixed")
        assert client.get("/v1/collections/notes").json()["encoder"] is None


def test_of_many_puts_at_once_one_makes_it(client):
    with ThreadPoolExecutor(8) as pool:
        same = list(
            pool.map(
                lambda _: client.put("/v1/collections/same", json={"encoder": "tiny"}).status_code, range(8)
            )
        )
        precisions = ["float32", "float16"] * 4
        mixed = list(
            pool.map(
                lambda precision: (
                    client.put(
                        "/v1/collections/mixed", json={"encoder": "tiny", "precision": precision}
                    ).status_code
                ),
                precisions,
            )
        )
    assert sorted(same) == [200] * 7 + [201]
    assert sorted(mixed) == [200] * 3 + [201] + [409] * 4


def test_a_collection_is_not_seen_before_it_is_whole(client, monkeypatch):
    seen = []
    real = lifecycle.warm

    def warm(engine: Engine) -> Engine:
        seen.append((names(client), client.get("/v1/collections/notes").status_code))
        return real(engine)

    monkeypatch.setattr(lifecycle, "warm", warm)
    assert client.put("/v1/collections/notes", json={"encoder": "tiny"}).status_code == 201
    assert seen == [([], 404)]


def test_a_collection_that_fails_while_it_is_made_leaves_nothing(
    client, data_dir, monkeypatch, assert_problem
):
    def warm(engine: Engine) -> Engine:
        engine.close()
        raise MemoryError

    monkeypatch.setattr(lifecycle, "warm", warm)
    assert_problem(client.put("/v1/collections/notes", json={"encoder": "tiny"}), 500, "internal")
    assert (folders(data_dir), names(client)) == (set(), [])


def test_a_folder_of_somebody_elses_is_not_touched(client, data_dir, assert_problem):
    (data_dir / "notes").mkdir()
    (data_dir / "notes" / "mine.txt").write_text("x")
    assert_problem(client.put("/v1/collections/notes", json={"encoder": "tiny"}), 409, "name_taken")
    assert (data_dir / "notes" / "mine.txt").read_text() == "x"


def test_delete(client, data_dir, assert_problem):
    client.put("/v1/collections/notes", json={"encoder": "tiny"})
    client.put("/v1/aliases/main", json={"collection": "notes"})
    body = assert_problem(client.delete("/v1/collections/notes"), 409, "collection_has_aliases")
    assert body["aliases"] == ["main"]
    assert_problem(client.delete("/v1/collections/main"), 409, "is_alias")
    assert_problem(client.put("/v1/collections/main", json={"encoder": "tiny"}), 409, "is_alias")
    client.delete("/v1/aliases/main")
    assert client.delete("/v1/collections/notes").status_code == 204
    assert_problem(client.get("/v1/collections/notes"), 404, "unknown_collection")
    assert_problem(client.delete("/v1/collections/notes"), 404, "unknown_collection")
    assert folders(data_dir) == set()
    assert client.put("/v1/collections/notes", json={"encoder": "tiny-late"}).status_code == 201


def test_delete_waits_for_those_that_use_it(client, data_dir, assert_problem):
    client.put("/v1/collections/notes", json={"encoder": "tiny"})
    registry = client.app.state.context.registry
    with ThreadPoolExecutor(1) as pool:
        with registry.lease("notes") as engine:
            deleting = pool.submit(client.delete, "/v1/collections/notes")
            asked = "/v1/collections/notes/search"
            answers = (client.post(asked, json={"query": "wing"}) for _ in range(1000))
            busy = next(answer for answer in answers if answer.status_code != 200)
            assert_problem(busy, 503, "collection_busy")
            assert busy.headers["retry-after"]
            assert len(engine) == 0  # still open
            assert folders(data_dir) == {"notes"}
            assert not deleting.done()
        assert deleting.result().status_code == 204
    assert folders(data_dir) == set()


def test_a_start_clears_up_after_a_kill(data_dir, assert_problem):
    for name in ("kept", ".trash-0123", ".restoring-4567", "..restoring-89.partial", ".back.replaced"):
        Engine.create(data_dir / name, HashingDense()).close()
    with managing(data_dir, encoders={"kept": HashingDense()}) as client:
        assert names(client) == ["back", "kept"]
        assert folders(data_dir) == {"back", "kept"}
        assert_problem(client.get("/v1/collections/back"), 503, "collection_failed")


def test_what_waits_to_be_trained_is_told_and_trained_by_compact(client, assert_problem):
    client.put(
        "/v1/collections/notes", json={"encoder": "tiny-late", "preset": "tokens", "precision": "int8"}
    )
    put_documents(client, "notes", texts(200))
    before = client.get("/v1/collections/notes").json()
    assert (before["precision"], before["recipe"], before["quality"]) == ("float16", None, None)
    assert ["compact" in told for told in before["advice"]] == [True, True]
    result = succeeded(client, client.post("/v1/collections/notes/compact", json={}))
    assert result["segments"] == 1
    after = client.get("/v1/collections/notes").json()
    assert (after["precision"], after["recipe"]["index"]) == ("int8", "tokens")
    assert after["quality"]["curve"]["documents"] == 200
    assert not any("not trained" in told or "not yet" in told for told in after["advice"])
    assert len(found(client, "notes")) == 200
    again = {"encoder": "tiny-late", "preset": "tokens", "precision": "int8"}
    assert client.put("/v1/collections/notes", json=again).status_code == 200


def test_patch_converts_and_refuses_at_once_what_cannot_work(client, assert_problem):
    client.put("/v1/collections/notes", json={"encoder": "tiny"})
    put_documents(client, "notes", texts(60))
    for body, pointer in (
        ({"preset": "tokens"}, "/preset"),
        ({"preset": "fast", "recipe": {"bits": 5}}, "/recipe/bits"),
        ({"precision": "residual"}, "/precision"),
    ):
        problem = assert_problem(client.patch("/v1/collections/notes", json=body), 422, "bad_config")
        assert problem["errors"][0]["pointer"] == pointer
    long = assert_problem(
        client.patch("/v1/collections/notes", json={"preset": "fast", "queries": ["x" * 9000]}),
        422,
        "invalid_request",
    )
    assert long["errors"][0]["pointer"] == "/queries/0"
    succeeded(client, client.patch("/v1/collections/notes", json={"preset": "fast", "recipe": {"bits": 4}}))
    assert client.get("/v1/collections/notes").json()["recipe"]["bits"] == 4
    succeeded(client, client.patch("/v1/collections/notes", json={"recipe": {"recall_target": 0.9}}))
    recipe = client.get("/v1/collections/notes").json()["recipe"]
    assert (recipe["bits"], recipe["recall_target"]) == (4, 0.9)
    failed = finished(client, client.post("/v1/collections/notes/compact", json={"queries": ["wing"]}))
    assert (failed["state"], failed["problem"]["status"], failed["problem"]["code"]) == (
        "failed",
        422,
        "bad_config",
    )


def test_a_compact_can_be_cancelled_while_its_recall_is_measured(client, monkeypatch):
    told = conversions._told

    def stopping(control: TaskControl) -> TrainingProgress:
        tell = told(control)

        def telling(stage: str, share: float | None) -> None:
            tell(stage, share)
            if stage == "measure recall":
                control.stop()

        return telling

    monkeypatch.setattr(conversions, "_told", stopping)
    client.put("/v1/collections/notes", json={"encoder": "tiny"})
    put_documents(client, "notes", texts(60))
    several = {"preset": "fast", "recipe": {"nlist": 8}}  # efforts to measure: it stops between two
    task = finished(client, client.patch("/v1/collections/notes", json=several))
    assert (task["state"], task["progress"]["stage"]) == ("cancelled", "measure recall")
    assert client.get("/v1/collections/notes").json()["recipe"] is None


def test_upkeep(client):
    client.put("/v1/collections/notes", json={"encoder": "tiny"})
    put_documents(client, "notes", texts(20))
    assert client.get("/v1/collections/notes").json()["pending"] == 20
    assert client.post("/v1/collections/notes/flush", json={}).json()["documents"] == 20
    assert client.get("/v1/collections/notes").json()["pending"] == 0
    assert client.post("/v1/collections/notes/maintain", json={}).json() == {
        "folded": 0,
        "merges": 0,
        "segments": 1,
        "apart": None,
    }
    report = succeeded(client, client.post("/v1/collections/notes/diagnose", json={"queries": ["a wing"]}))
    assert {trial["name"] for trial in report["trials"]} >= {"fast"}
    assert succeeded(client, client.post("/v1/collections/notes/verify", json={}))["ok"] is True


def test_verify_tells_what_is_damaged(client, data_dir):
    client.put("/v1/collections/notes", json={"encoder": "tiny"})
    put_documents(client, "notes", texts(20))
    client.post("/v1/collections/notes/flush", json={})
    (codes,) = (data_dir / "notes").rglob("codes.bin")
    codes.write_bytes(bytes(codes.stat().st_size))
    result = succeeded(client, client.post("/v1/collections/notes/verify", json={}))
    assert result["ok"] is False
    assert "codes.bin" in result["problems"][0]


def test_the_list_comes_in_pages_and_shows_what_the_key_may_read(data_dir, models, assert_problem):
    keys = {
        "all": {"sha256": hash_of("a" * 20), "scope": "admin"},
        "some": {"sha256": hash_of("s" * 20), "scope": "admin", "collections": ["p*"]},
    }
    everything, some = {"api-key": "a" * 20}, {"api-key": "s" * 20}
    with managing(data_dir, models=models, keys=keys) as client:
        for name in ("alpha", "papers", "pears"):
            client.put(f"/v1/collections/{name}", json={"encoder": "tiny"}, headers=everything)
        listed, cursor = [], ""
        while cursor is not None:
            page = client.get(f"/v1/collections?limit=2{cursor}", headers=everything).json()
            listed.append([each["name"] for each in page["collections"]])
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        assert listed == [["alpha", "papers"], ["pears"]]
        shown = client.get("/v1/collections", headers=some).json()
        assert [each["name"] for each in shown["collections"]] == ["papers", "pears"]
        put = client.put("/v1/collections/beta", json={"encoder": "tiny"}, headers=some)
        assert_problem(put, 403, "forbidden")
        assert_problem(client.delete("/v1/collections/alpha", headers=some), 403, "forbidden")
        assert client.delete("/v1/collections/pears", headers=some).status_code == 204


def test_a_read_only_server_changes_nothing(data_dir, models, assert_problem):
    with managing(data_dir, models=models) as writer:
        writer.put("/v1/collections/notes", json={"encoder": "tiny"})
        with managing(data_dir, models=models, read_only=True) as client:
            assert client.get("/v1/collections/notes").json()["writable"] is False
            for method, path, body in (
                ("PUT", "/v1/collections/x", {"encoder": "tiny"}),
                ("PATCH", "/v1/collections/notes", {}),
                ("DELETE", "/v1/collections/notes", None),
                ("POST", "/v1/collections/notes/flush", {}),
                ("POST", "/v1/collections/notes/snapshots", {}),
                ("PUT", "/v1/aliases/main", {"collection": "notes"}),
            ):
                assert_problem(client.request(method, path, json=body), 403, "read_only")
            writer.put("/v1/aliases/main", json={"collection": "notes"})
            assert client.get("/v1/collections/main").json()["name"] == "notes"
            assert client.post("/v1/collections/main/reload", json={}).status_code == 200
