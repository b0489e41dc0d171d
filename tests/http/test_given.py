"""Collections whose documents bring their vectors: every form of them, and no model anywhere."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from retrieval import Document, Engine, ErrorPolicy, GivenVectors
from retrieval.client import Client, RemoteError
from retrieval.client.packing import packed
from retrieval.errors import DataError, QueryError

RANDOM = np.random.default_rng(5)
KINDS = {"dense": GivenVectors(4), "late": GivenVectors(4, "late", model="mine")}
QUERIES = {"dense": np.float32([1, 0, 0, 1]), "late": np.eye(4, dtype=np.float32)[:2]}


def arrays(kind: str, n: int = 6) -> list[np.ndarray]:
    shapes = [(4,) if kind == "dense" else (i % 3 + 1, 4) for i in range(n)]
    return [RANDOM.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.fixture(scope="module")
def given() -> dict[str, list[Document]]:
    return {
        kind: [
            Document(f"d{i}", f"text {i}", metadata={"year": i}, vectors=each)
            for i, each in enumerate(arrays(kind))
        ]
        for kind in KINDS
    }


@pytest.fixture
def http(serve: Callable, tmp_path: Path) -> Iterator[Any]:
    """A server without models, with an empty collection of each kind."""
    for kind, encoder in KINDS.items():
        Engine.create(tmp_path / "data" / kind, encoder).close()
    with serve(data_dir=tmp_path / "data", given={}, models={}) as client:
        yield client


def expected(tmp_path: Path, kind: str, documents: list[Document]) -> list[tuple[str, float]]:
    Engine.build(tmp_path / "engine", documents, KINDS[kind])
    with Engine.open(tmp_path / "engine") as engine:
        return [(hit.id, hit.score) for hit in engine.search(QUERIES[kind])]


def row(document: Document, write: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    vectors = np.asarray(document.vectors)
    name = "vector" if vectors.ndim == 1 else "vectors"
    plain = {"id": document.id, "text": document.text, "metadata": dict(document.metadata)}
    return {**plain, name: write(vectors)}


def body_of(form: str, documents: list[Document]) -> tuple[bytes, str]:
    if form == "arrow":
        rows = [row(each, list if np.ndim(each.vectors) == 1 else np.ndarray.tolist) for each in documents]
        batch = pa.RecordBatch.from_pylist(rows)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue(), "application/vnd.apache.arrow.stream"
    rows = [row(each, packed if i % 2 else np.ndarray.tolist) for i, each in enumerate(documents)]
    if form == "ndjson":
        return b"".join(json.dumps(each).encode() + b"\n" for each in rows), "application/x-ndjson"
    return json.dumps({"documents": rows}).encode(), "application/json"


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_answered_as_by_the_engine(
    http: Any, tmp_path: Path, given: dict[str, list[Document]], kind: str
) -> None:
    assert http.get("/readyz").status_code == 200
    told = expected(tmp_path, kind, given[kind])
    query = {"vector" if kind == "dense" else "vectors": QUERIES[kind].tolist(), "fields": []}
    for form in ("json", "ndjson", "arrow"):
        content, media = body_of(form, given[kind])
        path = f"/v1/collections/{kind}"
        answer = http.post(f"{path}/documents", content=content, headers={"content-type": media})
        assert answer.status_code == 200, answer.text
        hits = http.post(f"{path}/search", json=query).json()["hits"]
        assert [(hit["id"], hit["score"]) for hit in hits] == told
        assert (
            http.post(f"{path}/documents/delete", json={"ids": [f"d{i}" for i in range(6)]}).json()["deleted"]
            == 6
        )
    detail = http.get(f"/v1/collections/{kind}").json()
    assert (detail["encoder"], detail["dim"], detail["fields"]) == ("given", 4, {"year": "int64"})


def test_documents_that_do_not_fit_are_named(http: Any, assert_problem: Callable) -> None:
    good = {"id": "a", "text": "x", "vector": [1, 0, 0, 0]}
    bad = [
        ({"id": "b", "text": "x"}, "/documents/1", "has no vectors"),
        ({"id": "b", "text": "x", "vector": [1, 0]}, "/documents/1", "shape"),
        ({"id": "b", "text": "x", "vector": [0, 0, 0, 0]}, "/documents/1", "zero"),
        ({"id": "b", "text": "x", "vector": [1, "a", 0, 0]}, "/documents/1/vector/1", "number"),
        ({"id": "b", "text": "x", "vector": {"base64": "AAA"}}, "/documents/1/vector/base64", "base64"),
        ({"id": "b", "text": "x", "vectors": [[1, 0], [1]]}, "/documents/1/vectors/1", "1 numbers"),
        ({**good, "id": "b", "vectors": [[1, 0, 0, 0]]}, "/documents/1", "one of them"),
    ]
    for one, pointer, told in bad:
        sent = {"documents": [good, one]}
        problem = assert_problem(
            http.post("/v1/collections/dense/documents", json=sent), 422, "bad_documents"
        )
        assert problem["errors"][0]["pointer"] == pointer and told in problem["errors"][0]["detail"]
        skipped = http.post("/v1/collections/dense/documents?on_error=skip", json=sent).json()
        assert (skipped["documents"], skipped["errors"][0]["index"]) == (1, 1)


def test_a_collection_with_a_model_takes_none(client: Any, assert_problem: Callable) -> None:
    sent = {"documents": [{"id": "a", "text": "x", "vector": [1.0] * 32}]}
    with_model = client.post("/v1/collections/dense/documents", json=sent)
    assert "by itself" in assert_problem(with_model, 422, "bad_documents")["detail"]


def test_questions(http: Any, assert_problem: Callable, given: dict[str, list[Document]]) -> None:
    content, media = body_of("json", given["late"])
    http.post("/v1/collections/late/documents", content=content, headers={"content-type": media})
    path, vectors, simple = "/v1/collections/late", packed(QUERIES["late"]), {"language": "none"}
    for route, more in (
        ("search", {}),
        ("search", {"mode": "hybrid", "hybrid": simple}),
        ("rerank", {"ids": ["d1"]}),
        ("explain", {"ids": ["d1"]}),
    ):
        problem = assert_problem(
            http.post(f"{path}/{route}", json={"query": "text", **more}), 422, "invalid_request"
        )
        assert problem["errors"][0]["pointer"] == "/query" and "'vectors'" in problem["errors"][0]["detail"]
    for route in ("diagnose", "compact"):
        problem = assert_problem(
            http.post(f"{path}/{route}", json={"queries": ["a"]}), 422, "invalid_request"
        )
        assert problem["errors"][0]["pointer"] == "/queries"
    both = {"query": "text 3", "vectors": vectors}
    mixed = {**both, "mode": "hybrid", "hybrid": {**simple, "dense": "dense"}}
    problem = assert_problem(http.post(f"{path}/search", json=mixed), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/hybrid/dense"
    assert_problem(http.post(f"{path}/search", json=both), 422, "invalid_request")
    assert_problem(http.post(f"{path}/explain", json={"ids": ["d1"]}), 422, "invalid_request")
    hybrid = http.post(f"{path}/search", json={**both, "mode": "hybrid", "hybrid": simple}).json()
    assert len(hybrid["hits"]) == 6
    found = http.post(f"{path}/search", json={"vectors": vectors, "limit": 1, "explain": True}).json()[
        "hits"
    ][0]
    (told,) = http.post(f"{path}/explain", json={"vectors": vectors, "ids": [found["id"]]}).json()[
        "explanations"
    ]
    assert told["matches"] == found["explanation"]["matches"]
    assert [match["query_token"]["text"] for match in told["matches"]] == ["#0", "#1"]
    assert sum(match["contribution"] for match in told["matches"]) == pytest.approx(found["score"], abs=1e-5)


def test_collections_are_made_without_a_model(http: Any, assert_problem: Callable) -> None:
    path = "/v1/collections/new"
    asked = {"encoder": "given", "dim": 3, "metric": "dot"}
    assert http.put(path, json=asked).status_code == 201
    assert http.put(path, json=asked).status_code == 200
    other = assert_problem(http.put(path, json={**asked, "dim": 4}), 409, "config_differs")
    assert other["differences"] == [{"pointer": "/dim", "stored": 3, "given": 4}]
    for wrong, pointer in [
        ({"encoder": "given"}, "/dim"),
        ({**asked, "kind": "late"}, "/metric"),
        ({"encoder": "minilm", "metric": "dot"}, "/metric"),
        ({**asked, "preset": "tokens"}, "/preset"),
    ]:
        problem = assert_problem(http.put("/v1/collections/wrong", json=wrong), 422, "bad_config")
        assert problem["errors"][0]["pointer"] == pointer
    assert_problem(http.put("/v1/collections/wrong", json={**asked, "dim": 0}), 422, "invalid_request")
    assert http.post(f"{path}/reload", json={}).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_the_client_is_an_engine(
    http: Any, tmp_path: Path, given: dict[str, list[Document]], kind: str
) -> None:
    with Client(str(http.base_url), http=http) as client:
        engine = client.create_collection("own", KINDS[kind])
        client.create_collection("own", KINDS[kind])
        with pytest.raises(RemoteError, match="another configuration"):
            client.create_collection("own", GivenVectors(5, kind))  # type: ignore[arg-type]
        assert engine.upsert(given[kind]).documents == 6
        found = [(hit.id, hit.score) for hit in engine.search(QUERIES[kind])]
        assert found == expected(tmp_path, kind, given[kind])
        dated = [replace(each, metadata={"on": date(2020, 1, 2)}) for each in given[kind]]  # as Arrow
        assert engine.upsert(dated).replaced == 6
        assert [(hit.id, hit.score) for hit in engine.search(QUERIES[kind])] == found
        assert engine.explain(QUERIES[kind], "d1").query == ""
        hybrid: Any = {"mode": "hybrid", "hybrid": {"language": "none"}}
        assert len(engine.search("text", vectors=QUERIES[kind], **hybrid)) == 6
        both = engine.search_batch(["text", "text 3"], vectors=[QUERIES[kind]] * 2, **hybrid)
        assert [len(each) for each in both] == [6, 6]
        assert both[1].hits == engine.search("text 3", vectors=QUERIES[kind], **hybrid).hits
        with pytest.raises(QueryError, match="no model"):
            engine.search("text", **hybrid)
        with pytest.raises(DataError, match=r"document 2: .*shape"):
            engine.upsert([given[kind][0], Document("x", "x", vectors=np.ones(5))])
        words = [Document("x", "x", vectors=["a"])]
        assert engine.upsert(words, policy=ErrorPolicy("skip")).skipped == 1
