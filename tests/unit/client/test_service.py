"""Collections, aliases, tasks, snapshots and models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from retrieval import EncoderConfig, MaintenanceReport, RecipeConfig, TrainingReport, VerifyReport
from retrieval.client import (
    CollectionSummary,
    ModelInfo,
    Ranked,
    RemoteError,
    RemoteTask,
    SnapshotInfo,
    TaskProgress,
)
from retrieval.errors import CollapsedError, ConfigError, IndexExistsError, IndexFolderError
from tests.unit.client.service import KEY, Service, answer, problem


def task(state: str, kind: str = "compact", **more: Any) -> dict[str, Any]:
    return {"id": "t1", "kind": kind, "collection": "papers", "state": state, "progress": {}, **more}


def test_lists_go_from_page_to_page(client: Any, service: Service) -> None:
    service.on(
        "GET /collections",
        answer({"collections": [{"name": "a", "state": "loading", "aliases": []}], "next_cursor": "x/y"}),
        answer(
            {
                "collections": [
                    {"name": "b", "state": "ready", "kind": "late", "documents": 0, "aliases": ["main"]},
                    {"name": "c", "state": "failed", "detail": "damaged", "aliases": []},
                ],
                "next_cursor": None,
            }
        ),
    )
    assert client.collections() == [
        CollectionSummary("a", "loading"),
        CollectionSummary("b", "ready", ("main",), "late", 0),
        CollectionSummary("c", "failed", detail="damaged"),
    ]
    assert dict(service.asked[0].url.params) == {"limit": "100"}
    assert dict(service.last.url.params) == {"limit": "100", "cursor": "x/y"}


def test_create_and_delete_a_collection(client: Any, service: Service) -> None:
    service.on("PUT /collections/papers", answer({}, 201))
    engine = client.create_collection(
        "papers", "minilm-late", precision="int8", preset="tokens", recipe={"m": 4}
    )
    assert service.body() == {
        "encoder": "minilm-late",
        "precision": "int8",
        "pooling": "none",
        "preset": "tokens",
        "recipe": {"m": 4},
    }
    assert engine.name == "papers"
    client.create_collection(
        "papers", EncoderConfig(name="m", query_length=8), recipe=RecipeConfig(index="flat")
    )
    assert service.body()["encoder"] == {"name": "m", "query_length": 8}
    assert service.body()["recipe"] == RecipeConfig(index="flat").model_dump(mode="json")
    service.on("DELETE /collections/papers", httpx.Response(204))
    assert client.delete_collection("papers") is None
    service.on("DELETE /collections/papers", problem(409, "collection_has_aliases", "main leads to it"))
    with pytest.raises(RemoteError, match="main leads to it"):
        client.delete_collection("papers")


@pytest.mark.parametrize("name", ["", "a\nb", "ü", "\ud800", 3, None])
def test_what_cannot_be_a_name(client: Any, service: Service, name: Any) -> None:
    for ask in (client.collection, client.delete_collection, client.delete_alias):
        with pytest.raises(ConfigError, match="no collection's name"):
            ask(name)
    assert service.asked == []


def test_a_name_stays_one_part_of_the_path(client: Any, service: Service) -> None:
    service.on("DELETE /collections/..%2F..%2Fadmin", httpx.Response(204))
    client.delete_collection("../../admin")
    service.on("DELETE /collections/%2E%2E", httpx.Response(204))
    client.delete_collection("..")


def test_aliases(client: Any, service: Service) -> None:
    listed = {"aliases": [{"alias": "main", "collection": "papers"}], "next_cursor": None}
    service.on("GET /aliases", answer(listed))
    assert client.aliases() == {"main": "papers"}
    service.on("PUT /aliases/main", answer({"alias": "main", "collection": "b", "previous": "papers"}))
    assert client.set_alias("main", "b") == "papers" and service.body() == {"collection": "b"}
    service.on("POST /aliases", answer(listed))
    assert client.change_aliases({"main": "papers"}, delete=["next"]) == {"main": "papers"}
    assert service.body() == {
        "actions": [
            {"action": "put", "alias": "main", "collection": "papers"},
            {"action": "delete", "alias": "next"},
        ]
    }
    with pytest.raises(ConfigError, match="list of names"):
        client.change_aliases(delete="next")
    service.on("DELETE /aliases/main", httpx.Response(204))
    assert client.delete_alias("main") is None


def test_tasks(client: Any, service: Service) -> None:
    listed = [task("running", progress={"stage": "fit", "fraction": 0.5}), task("queued")]
    service.on("GET /tasks", answer({"tasks": listed, "next_cursor": "2"}), answer({"tasks": listed}))
    found = client.tasks(state="running", collection="papers", limit=3)
    assert len(found) == 3 and found[0].progress == TaskProgress("fit", 0.5)
    asked = [dict(request.url.params) for request in service.asked]
    chosen = {"state": "running", "collection": "papers"}
    assert asked == [{**chosen, "limit": "3"}, {**chosen, "limit": "1", "cursor": "2"}]
    service.on("GET /tasks/t1", answer(task("running")))
    assert client.task("t1") == RemoteTask("t1", "compact", "running", "papers")
    service.on("POST /tasks/t1/cancel", answer(task("cancelled")))
    assert client.cancel_task("t1").is_final


def test_waiting_for_a_task(client: Any, service: Service, pauses: list[float]) -> None:
    running = task("running", progress={"stage": "fit", "fraction": 0.5})
    done = task("succeeded", result={"folded": 1})
    service.on("GET /tasks/t1", answer(task("queued")), *[answer(running)] * 8, answer(done))
    seen: list[RemoteTask] = []
    assert client.wait("t1", seen.append).result == {"folded": 1}
    assert [one.state for one in seen] == ["queued", "running", "succeeded"]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert client.wait(RemoteTask("t2", "compact", "succeeded")).id == "t2"


def test_a_task_that_ended_badly(client: Any, service: Service) -> None:
    told = {"code": "collapsed", "detail": "the vectors hardly differ", "status": 409, "request_id": "r7"}
    service.on("GET /tasks/t1", answer(task("failed", problem=told)))
    with pytest.raises(CollapsedError, match="hardly differ") as caught:
        client.wait("t1")
    assert isinstance(caught.value.__cause__, RemoteError) and caught.value.__cause__.request_id == "r7"
    service.on("GET /tasks/t1", answer(task("failed")))
    with pytest.raises(RemoteError, match=r"t1 .compact. failed and did not say why"):
        client.wait("t1")
    service.on("GET /tasks/t1", answer(task("cancelled")))
    with pytest.raises(RemoteError, match="cancelled") as cancelled:
        client.wait("t1")
    assert cancelled.value.code == "cancelled"


def test_upkeep(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/flush", answer({"documents": 12, "generation": 3}))
    assert engine.flush() == 12
    service.on("POST /collections/papers/maintain", answer({"folded": 1, "merges": 2, "segments": 3}))
    assert engine.maintain() == MaintenanceReport(1, 2, 3)
    short = {"folded": 1, "merges": 0, "segments": 9, "apart": "memory is short"}
    service.on("POST /collections/papers/maintain", answer(short))
    assert engine.maintain() == MaintenanceReport(1, 0, 9, apart="memory is short")


def test_compact(engine: Any, service: Service, pauses: list[float]) -> None:
    training = {"quality": {"recall": 1}, "warnings": ["few documents"], "seconds": 2.5}
    result = {"folded": 0, "merges": 1, "segments": 1, "training": training}
    service.on("POST /collections/papers/compact", answer(task("queued"), 202))
    service.on(
        "GET /tasks/t1",
        answer(task("running", progress={"stage": "fit", "fraction": None})),
        answer(task("running", progress={"stage": "measure", "fraction": 0.5})),
        answer(task("succeeded", result=result)),
    )
    stages: list[tuple[str, float | None]] = []
    report = engine.compact(
        "int8",
        recipe=RecipeConfig(index="ivf"),
        retrain=True,
        queries=["a"],
        force=True,
        progress=lambda stage, fraction: stages.append((stage, fraction)),
    )
    assert report == MaintenanceReport(0, 1, 1, TrainingReport({"recall": 1}, ("few documents",), 2.5))
    assert stages == [("fit", None), ("measure", 0.5)]
    assert service.body(0) == {
        "retrain": True,
        "force": True,
        "queries": ["a"],
        "precision": "int8",
        "recipe": RecipeConfig(index="ivf").model_dump(mode="json"),
    }
    engine.compact(preset="tokens", recipe={"ncentroids": 8})
    assert service.body(-2) == {
        "retrain": False,
        "force": False,
        "preset": "tokens",
        "recipe": {"ncentroids": 8},
    }


def test_verify_and_diagnose(engine: Any, service: Service) -> None:
    checked = {"ok": False, "files": 3, "bytes": 100, "problems": ["a"]}
    service.on("POST /collections/papers/verify", answer(task("queued", "verify"), 202))
    service.on(
        "GET /tasks/t1",
        answer(task("running", "verify", progress={"fraction": 0.25})),
        answer(task("succeeded", "verify", result=checked)),
    )
    seen: list[tuple[int, int]] = []
    report = engine.verify(lambda done, total: seen.append((done, total)))
    assert report == VerifyReport(3, 100, ("a",)) and not report.ok and seen == [(250, 1000)]
    service.on("POST /collections/papers/diagnose", answer(task("succeeded", result={"chosen": "flat"}), 202))
    assert engine.diagnose(["q"]) == {"chosen": "flat"} and service.body() == {"queries": ["q"]}


def test_a_result_that_means_nothing_is_told(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/compact", answer(task("succeeded", result=None), 202))
    with pytest.raises(RemoteError, match="not one that this client understands"):
        engine.compact()


TAR = bytes(range(256)) * 1000


def test_snapshots(engine: Any, service: Service, tmp_path: Path) -> None:
    item = {"name": "s1", "created_at": "2026-01-31", "bytes": 10, "documents": 2, "generation": 3}
    service.on("POST /collections/papers/snapshots", answer(task("succeeded", "snapshot", result=item), 202))
    made = SnapshotInfo("s1", "2026-01-31", 10, 2, 3)
    assert engine.snapshot("s1") == made and service.body() == {"name": "s1"}
    service.on("GET /collections/papers/snapshots", answer({"snapshots": [item], "next_cursor": None}))
    assert engine.snapshots() == [made]
    service.on(
        "GET /collections/papers/snapshots/s1", httpx.ReadError("reset"), httpx.Response(200, content=TAR)
    )
    engine.download_snapshot("s1", tmp_path / "s1.tar")
    assert (tmp_path / "s1.tar").read_bytes() == TAR
    service.on("DELETE /collections/papers/snapshots/s1", httpx.Response(204))
    assert engine.export(tmp_path / "now.tar") == made
    assert (tmp_path / "now.tar").read_bytes() == TAR and service.last.method == "DELETE"
    service.on("POST /collections/papers/snapshots/s1/restore", answer(task("succeeded", "restore"), 202))
    assert engine.restore_snapshot("s1", "copy") is None and service.body() == {"collection": "copy"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["now.tar", "s1.tar"]


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends too soon."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"wrong" * len(TAR)
        raise httpx.ReadError("reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


def test_a_download_that_breaks_starts_over(engine: Any, service: Service, tmp_path: Path) -> None:
    service.on(
        "GET /collections/papers/snapshots/s1",
        lambda _: httpx.Response(200, stream=Broken()),
        httpx.Response(200, content=TAR),
    )
    engine.download_snapshot("s1", tmp_path / "s1.tar")
    assert (tmp_path / "s1.tar").read_bytes() == TAR


def test_a_download_that_fails_leaves_nothing(engine: Any, service: Service, tmp_path: Path) -> None:
    taken = tmp_path / "taken.tar"
    taken.write_text("mine")
    with pytest.raises(IndexExistsError, match=r"taken\.tar is there"):
        engine.export(taken)
    with pytest.raises(IndexFolderError, match="cannot be written"):
        engine.export(tmp_path / "no" / "folder.tar")
    assert service.asked == []
    service.on("POST /collections/papers/snapshots", answer(task("succeeded", result={"name": "s1"}), 202))
    service.on("GET /collections/papers/snapshots/s1", problem(404, "unknown_snapshot", "no snapshot s1"))
    service.on(
        "DELETE /collections/papers/snapshots/s1", problem(404, "unknown_snapshot", "another sentence")
    )
    with pytest.raises(RemoteError, match="no snapshot s1"):
        engine.export(tmp_path / "new.tar")
    assert service.last.method == "DELETE"
    assert [path.name for path in tmp_path.iterdir()] == ["taken.tar"] and taken.read_text() == "mine"


def test_embed(client: Any, service: Service) -> None:
    dense = [{"index": 1, "embedding": [3.0, 4.0]}, {"index": 0, "embedding": [1.0, 2.0]}]
    service.on("POST /embeddings", answer({"object": "list", "data": dense, "model": "m"}))
    vectors = client.embed("m", ["a", "b"], input_type="query")
    assert [vector.tolist() for vector in vectors] == [[1.0, 2.0], [3.0, 4.0]]
    assert all(vector.dtype == np.float32 for vector in vectors)
    assert service.body() == {
        "model": "m",
        "input": ["a", "b"],
        "encoding_format": "float",
        "input_type": "query",
    }
    service.on("POST /embeddings", answer({"data": [{"index": 0, "embedding": [[1.0], [2.0]]}]}))
    (late,) = client.embed("m", "a")
    assert late.shape == (2, 1) and service.body()["input"] == ["a"]
    assert client.embed("m", []) == [] and len(service.asked) == 2


def test_rerank_texts(client: Any, service: Service) -> None:
    results = [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.25}]
    service.on("POST /rerank", answer({"model": "m", "results": results}))
    assert client.rerank("m", "q", ["a", "b"], top_n=2) == [Ranked(1, 0.5), Ranked(0, 0.25)]
    assert service.body() == {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2}
    assert client.rerank("m", "q", []) == [] and len(service.asked) == 1
    with pytest.raises(ConfigError, match="list of texts"):
        client.rerank("m", "q", "abc")


def test_models_and_readiness(client: Any, service: Service, pauses: list[float]) -> None:
    models = [{"id": "minilm", "object": "model", "kind": "dense", "dim": 384}, {"id": "other"}]
    service.on("GET /models", answer({"object": "list", "data": models}))
    assert client.models() == [ModelInfo("minilm", "dense", 384), ModelInfo("other")]
    service.on("GET /readyz", answer({"status": "ready"}))
    assert client.is_ready() is True
    assert service.last.url.path == "/api/readyz"
    before = len(service.asked)
    for refusal in (problem(503, "not_ready"), httpx.ConnectError("refused")):
        service.on("GET /readyz", refusal)
        assert client.is_ready() is False
    assert len(service.asked) == before + 2 and pauses == []  # whether it answers *now*


def test_reload(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/reload", problem(403, "forbidden", "this key may only read"))
    with pytest.raises(RemoteError, match="may only read") as caught:
        engine.reload()
    assert caught.value.code == "forbidden" and KEY not in str(caught.value)
