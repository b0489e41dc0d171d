"""Embedded and remote are one line apart: the client against the real application."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Document, Engine, ErrorPolicy, Filter, Match, Range, import_index
from retrieval.client import Client, RemoteError
from retrieval.errors import (
    ConfigError,
    DataError,
    DocumentNotFoundError,
    FilterError,
    IndexExistsError,
    QueryError,
)
from retrieval.jsonable import json_value
from retrieval.types import Hit, Page, SearchResult

QUERY = "drag of a heat shield"
KINDS = ["dense", "late"]
RECENT = Filter(must=(Range("year", gte=1970),))


@contextmanager
def connected(http: Any) -> Iterator[Client]:
    """A client of the application behind starlette's."""
    with Client(str(http.base_url), http=http) as client:
        yield client


@pytest.fixture
def remote(client: Any) -> Iterator[Client]:
    with connected(client) as connection:
        yield connection


@pytest.fixture
def writable(serve: Callable, indexes: Path, tmp_path: Path) -> Iterator[tuple[Client, Path]]:
    """Copies of the indexes that a test may change, and where they are."""
    folder = tmp_path / "data"
    shutil.copytree(indexes, folder)
    with serve(data_dir=folder) as http, connected(http) as client:
        yield client, folder


def as_told(document: Document) -> Document:
    """A document as JSON says it."""
    return replace(document, metadata=json_value(document.metadata))


def hits(result: SearchResult) -> list[Hit]:
    return [
        hit if hit.metadata is None else replace(hit, metadata=json_value(hit.metadata)) for hit in result
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_searches_equal_the_engines(remote: Client, indexes: Path, encoders: dict, kind: str) -> None:
    there = remote.collection(kind)
    with Engine.open(indexes / kind, encoders[kind]) as here:
        vectors = np.asarray(encoders[kind].encode_query([QUERY])[0])
        assert vectors.ndim == (1 if kind == "dense" else 2)
        for options in (
            {},
            {"k": 3, "fields": ["title"]},
            {"k": 40, "fields": (), "filter": RECENT},
            {"filter": '{"open": true}', "params": {"exact": True}},
        ):
            for query in (QUERY, vectors, vectors.astype(np.float64)):
                found = there.search(query, **options)
                assert hits(found) == hits(here.search(query, **options)), options
            assert found.generation == here.generation and found.timings_ms["total"] > 0
        queries = [QUERY, "wing", vectors]
        batch = there.search_batch(queries, 5, filter=RECENT)
        assert [hits(one) for one in batch] == [
            hits(one) for one in here.search_batch(queries, 5, filter=RECENT)
        ]
        ids = ["d07", "d39", "nobody", "d07", "d00"]
        assert hits(there.rerank(QUERY, ids, 2)) == hits(here.rerank(QUERY, ids, 2))
        assert hits(there.rerank(vectors, ids)) == hits(here.rerank(vectors, ids))
        assert (
            there.search(QUERY, explain="plan").plan.keys() == here.search(QUERY, explain="plan").plan.keys()
        )


@pytest.mark.parametrize("kind", KINDS)
def test_explanations_equal_the_engines(remote: Client, indexes: Path, encoders: dict, kind: str) -> None:
    there = remote.collection(kind)
    with Engine.open(indexes / kind, encoders[kind]) as here:
        assert there.explain(QUERY, "d03") == here.explain(QUERY, "d03")
        ids = ["d09", "d01", "d09"]
        assert there.explain_batch(QUERY, ids) == here.explain_batch(QUERY, ids)


def pages(engine: Any, limit: int) -> list[Page]:
    found, after = [], None
    while not found or after is not None:
        page = engine.scroll(after, limit, filter=RECENT, fields=["title"])
        found.append(page)
        after = page.next_after
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_documents_equal_the_engines(remote: Client, indexes: Path, encoders: dict, kind: str) -> None:
    there = remote.collection(kind)
    with Engine.open(indexes / kind, encoders[kind]) as here:
        assert there.get("d03") == as_told(here.get("d03"))
        ids = ["d20", "nobody", "d03", "d20"]
        expected = here.fetch(ids)
        assert there.fetch(ids) == replace(
            expected, documents=tuple(as_told(one) for one in expected.documents)
        )
        assert there.fetch([]) == here.fetch([])
        assert [page.documents for page in pages(there, 7)] == [page.documents for page in pages(here, 7)]
        assert (len(there), there.count(RECENT)) == (len(here), here.count(RECENT))
        assert there.facets("open", filter=RECENT) == here.facets("open", filter=RECENT)
        assert there.facets("year", limit=3) == here.facets("year", limit=3)
        assert (there.kind, there.generation) == (here.kind, here.generation)
        told, known = there.inspect(), here.inspect()
        same = ("kind", "metric", "dim", "precision", "documents", "pending", "tokens", "segments", "fields")
        assert {name: getattr(told, name) for name in same} == {name: getattr(known, name) for name in same}


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (lambda e: e.search(""), QueryError),
        (lambda e: e.search(np.ones(3, dtype=np.float32)), QueryError),
        (lambda e: e.search("q", filter={"yaer": 1}), FilterError),
        (lambda e: e.search("q", filter={"year": "late"}), FilterError),
        (lambda e: e.search("q", params={"recall_target": 7}), ConfigError),
        (lambda e: e.get("nobody/../../etc"), DocumentNotFoundError),
        (lambda e: e.explain("q", "nobody"), DocumentNotFoundError),
        (lambda e: e.facets("yaer"), FilterError),
        (lambda e: e.scroll("nonsense"), QueryError),
        (lambda e: e.scroll(filter={"yaer": 1}), FilterError),
        (lambda e: e.count({"yaer": 1}), FilterError),
    ],
)
def test_errors_are_the_engines(
    remote: Client, indexes: Path, encoders: dict, asked: Any, error: type
) -> None:
    with Engine.open(indexes / "dense", encoders["dense"]) as here, pytest.raises(error) as expected:
        asked(here)
    with pytest.raises(error) as caught:
        asked(remote.collection("dense"))
    assert type(caught.value) is type(expected.value)


def test_errors_of_the_service(remote: Client) -> None:
    with pytest.raises(RemoteError) as caught:
        remote.collection("nobody").search("q")
    assert (caught.value.code, caught.value.status) == ("unknown_collection", 404)
    assert caught.value.request_id
    with pytest.raises(QueryError, match="late"):
        remote.collection("dense").search("q", mode="late")
    with pytest.raises(QueryError, match="1000"):
        remote.collection("dense").search("q", 5000)


STRANGE = Document("ünï/文 ?#%.", "A propeller in ice", "Ice", {"year": 2020, "published": date(2020, 1, 2)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ack", ["searchable", "durable", "task"])
def test_documents_come_and_go(writable: Any, encoders: dict, kind: str, ack: str) -> None:
    client, _ = writable
    there = client.collection(kind)
    plain = replace(STRANGE, metadata={"year": 2020})
    assert there.add([plain, Document("two", "Lift of a cone")], ack=ack).documents == 2
    assert there.search("propeller in ice")[0].id == plain.id
    assert there.get(plain.id) == plain and len(there) == 42
    report = there.upsert([replace(plain, title="Snow")], ack=ack)
    assert (report.documents, report.replaced) == (1, 1) and there.get(plain.id).title == "Snow"
    assert there.delete(["two", "nobody"]) == 1
    assert there.delete(filter=Filter(must=(Match("year", 1950),))) == 1
    with pytest.raises(DocumentNotFoundError):
        there.get("two")
    assert len(there) == 40
    with pytest.raises(DataError, match=plain.id.split("/")[0]):
        there.add([Document("new", "x"), plain], ack=ack)
    assert there.fetch(["new"]).missing == ("new",)


def test_bad_documents_are_named(writable: Any) -> None:
    client, _ = writable
    there = client.collection("dense")
    given = [
        Document("new", "x"),
        Document("d03", "there already"),
        Document("b", "x", metadata={"year": "text"}),
    ]
    with pytest.raises(DataError) as caught:
        there.add(given)
    assert [error.where for error in caught.value.errors] == ["document 2", "document 3"]
    assert len(there) == 40
    policy = ErrorPolicy("skip")
    report = there.add(given, policy=policy)
    assert (report.documents, report.skipped) == (1, 2)
    assert [sample[:10] for sample in report.skipped_samples] == ["document 2", "document 3"]


def test_dates_arrive_as_dates(writable: Any, encoders: dict) -> None:
    client, folder = writable
    client.collection("dense").add([STRANGE, Document("plain", "x")])
    with Engine.open(folder / "dense", encoders["dense"]) as here:
        assert here.get(STRANGE.id) == STRANGE


def test_upkeep(writable: Any) -> None:
    client, _ = writable
    there = client.collection("late")
    there.add([Document("new", "x")])
    assert there.flush() in (0, 1)  # the background may have come first
    assert there.maintain().segments >= 1
    stages: list[str] = []
    report = there.compact("float16", progress=lambda stage, fraction: stages.append(stage))
    assert report.segments == 1
    checked = there.verify()
    assert checked.ok and checked.files > 0
    assert "geometry" in there.diagnose()
    assert {task.kind for task in client.tasks(collection="late")} == {"compact", "verify", "diagnose"}
    assert there.reload().documents == 41


def test_aliases_and_collections(writable: Any) -> None:
    client, _ = writable
    assert [one.name for one in client.collections()] == KINDS and client.is_ready()
    assert client.set_alias("main", "dense") is None
    assert client.collection("main").search(QUERY).hits == client.collection("dense").search(QUERY).hits
    assert client.change_aliases({"main": "late", "other": "dense"}) == {"main": "late", "other": "dense"}
    assert client.aliases() == {"main": "late", "other": "dense"}
    with pytest.raises(RemoteError) as caught:
        client.delete_collection("late")
    assert caught.value.code == "collection_has_aliases"
    client.delete_alias("main")
    client.delete_collection("late")
    assert [one.name for one in client.collections()] == ["dense"]


def test_copies(writable: Any, encoders: dict, tmp_path: Path) -> None:
    client, _ = writable
    there = client.collection("late")
    assert there.snapshot("before").name == "before"
    assert [one.name for one in there.snapshots()] == ["before"]
    there.delete(["d03"])
    there.download_snapshot("before", tmp_path / "before.tar")
    there.export(tmp_path / "now.tar")
    with pytest.raises(IndexExistsError):
        there.export(tmp_path / "now.tar")
    for name, documents in (("before", 40), ("now", 39)):
        import_index(tmp_path / f"{name}.tar", tmp_path / name)
        with Engine.open(tmp_path / name, encoders["late"]) as copy:
            assert len(copy) == documents
    there.restore_snapshot("before")
    assert len(there) == 40
    there.delete_snapshot("before")
    assert there.snapshots() == []
