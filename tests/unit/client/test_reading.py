"""What is asked of the service, and what becomes of its answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from retrieval import (
    Document,
    Explanation,
    Filter,
    Hit,
    Match,
    Range,
    SearchConfig,
    SearchResult,
    Token,
    TokenMatch,
)
from retrieval.client.questions import MAX_SEARCHES
from retrieval.errors import ConfigError, DataError, DocumentNotFoundError, FilterError, QueryError
from retrieval.types import Page
from server.schemas.vectors import vector_of, vectors_of
from tests.unit.client.service import KEY, Service, answer, problem

SEARCH = "POST /collections/papers/search"
HITS = {
    "hits": [{"id": "a", "score": 0.5, "title": "T", "metadata": {"year": 1958}}, {"id": "b", "score": 0.25}],
    "generation": 7,
    "timings_ms": {"encode": 1.5, "total": 2.0},
    "partial": True,
    "next_cursor": None,
    "plan": {"index": "ivf"},
}
RESULT = SearchResult(
    (Hit("a", 0.5, "T", None, {"year": 1958}), Hit("b", 0.25)),
    7,
    {"encode": 1.5, "total": 2.0},
    True,
    {"index": "ivf"},
)


def test_search(engine: Any, service: Service) -> None:
    service.on(SEARCH, answer(HITS))
    assert engine.search("thin wings") == RESULT
    assert service.body() == {"query": "thin wings", "limit": 10, "fields": ["title", "text", "metadata"]}
    assert str(service.last.url) == "http://service.test/api/v1/collections/papers/search"
    assert service.last.headers["content-type"] == "application/json"
    assert service.last.headers["authorization"] == f"Bearer {KEY}"


def test_every_argument_of_a_search_arrives(engine: Any, service: Service) -> None:
    service.on(SEARCH, answer(HITS))
    engine.search(
        "thin wings",
        3,
        filter=Filter(must=(Range("year", gte=1950),)),
        fields=["title", "title"],
        params=SearchConfig(recall_target=0.99),
        explain="plan",
        mode="hybrid",
        hybrid={"fuse": "rrf"},
        timeout_ms=250,
    )
    assert service.body() == {
        "query": "thin wings",
        "limit": 3,
        "filter": {"must": [{"key": "year", "range": {"gte": 1950}}]},
        "fields": ["title"],
        "params": {"recall_target": 0.99},
        "explain": "plan",
        "mode": "hybrid",
        "hybrid": {"fuse": "rrf"},
        "timeout_ms": 250,
    }
    engine.search("q", np.int64(2), filter='{"year": 1950}', fields=(), params={"exact": True})
    assert service.body()["filter"] == Filter.from_json({"year": 1950}).to_json()
    assert (service.body()["fields"], service.body()["params"]) == ([], {"exact": True})


def test_a_question_about_nan_is_a_text(engine: Any, service: Service) -> None:
    service.on(SEARCH, answer(HITS))
    engine.search("NaN and -Infinity")
    assert service.body()["query"] == "NaN and -Infinity"


def test_vectors_are_sent_as_float32(engine: Any, service: Service) -> None:
    service.on(SEARCH, answer(HITS))
    one = np.array([0.1, -2.5, 1e-7])
    engine.search(one)
    assert "query" not in service.body()
    assert (vector_of(service.body()["vector"]) == one.astype(np.float32)).all()
    many = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float16)
    engine.search(many)
    assert (vectors_of(service.body()["vectors"]) == many.astype(np.float32)).all()
    engine.search(np.array([[1, 2, 3]]))
    assert service.body()["vectors"] == {"base64": "AACAPwAAAEAAAEBA", "shape": [1, 3]}


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        (lambda e: e.search(""), QueryError, "empty"),
        (lambda e: e.search(" \n"), QueryError, "empty"),
        (lambda e: e.search("\ud800"), QueryError, "Unicode"),
        (lambda e: e.search(["a"]), QueryError, "list"),
        (lambda e: e.search(np.array(["a"])), QueryError, "ndarray"),
        (lambda e: e.search(np.array([math.nan, 1])), QueryError, "NaN"),
        (lambda e: e.search(np.array([1e30])), QueryError, "1e"),
        (lambda e: e.search(np.zeros((0, 3))), QueryError, "shape"),
        (lambda e: e.search(np.zeros((1, 2, 3))), QueryError, "shape"),
        (lambda e: e.search("q", 0), QueryError, "at least 1"),
        (lambda e: e.search("q", True), QueryError, "at least 1"),
        (lambda e: e.search("q", fields="title"), QueryError, "list of names"),
        (lambda e: e.search("q", fields=["tilte"]), QueryError, "tilte"),
        (lambda e: e.search("q", filter={"must": 3}), FilterError, "must"),
        (lambda e: e.search("q", params={"recal": 1}), ConfigError, "recal"),
        (lambda e: e.search("q", explain="tokens"), QueryError, "RemoteEngine.explain"),
        (lambda e: e.search("q", hybrid={"weights": {"bm25": math.inf}}), DataError, "JSON"),
        (lambda e: e.search("q", hybrid={"weights": object()}), DataError, "JSON"),
        (lambda e: e.search_batch("q"), QueryError, "list of queries"),
        (lambda e: e.search_batch(["q"], vectors=[]), QueryError, "1 queries, and vectors of 0"),
        (lambda e: e.rerank("q", "a"), QueryError, "list of strings"),
        (lambda e: e.rerank("q", ["a", 3]), QueryError, "3"),
        (lambda e: e.explain(np.zeros(0), "a"), QueryError, "do not fit any index"),
        (lambda e: e.get("\ud800"), QueryError, "Unicode"),
        (lambda e: e.fetch(["\ud800"]), QueryError, "Unicode"),
        (lambda e: e.delete(), QueryError, "either ids or a filter"),
        (lambda e: e.delete("a"), QueryError, "list"),
        (lambda e: e.delete({"a": 1}), QueryError, "list"),
        (lambda e: e.delete(filter={}), QueryError, "empty"),
        (lambda e: e.compact(queries=[np.zeros(3)]), QueryError, "texts"),
        (lambda e: e.diagnose("q"), QueryError, "texts"),
    ],
)
def test_what_cannot_be_asked_is_not_sent(
    engine: Any, service: Service, asked: Any, error: Any, told: str
) -> None:
    with pytest.raises(error, match=told):
        asked(engine)
    assert service.asked == []


def test_many_queries_go_in_few_requests(engine: Any, service: Service) -> None:
    def search(request: Any) -> Any:
        asked = service.body()["searches"]
        return answer({"results": [{**HITS, "hits": [{"id": one["query"], "score": 1.0}]} for one in asked]})

    service.on(SEARCH + "/batch", search)
    queries = [f"q{i}" for i in range(2 * MAX_SEARCHES + 1)]
    results = engine.search_batch(queries, 1, timeout_ms=9)
    assert [result[0].id for result in results] == queries
    assert [len(service.body(at)["searches"]) for at in range(3)] == [MAX_SEARCHES, MAX_SEARCHES, 1]
    assert all(service.body(at)["timeout_ms"] == 9 for at in range(3))
    assert engine.search_batch([]) == [] and len(service.asked) == 3


def test_large_queries_go_in_more_requests(engine: Any, service: Service) -> None:
    service.on(SEARCH + "/batch", lambda _: answer({"results": [HITS for _ in service.body()["searches"]]}))
    tokens = np.random.default_rng(1).standard_normal((128, 128))
    assert engine.search_batch([tokens] * 12) == [RESULT] * 12
    sizes = [len(request.content) for request in service.asked]
    assert len(sizes) > 1 and max(sizes) < 1 << 20


def test_rerank(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/rerank", answer(HITS))
    assert engine.rerank("q", iter(["b", "a", "b"]), 5, fields=["title"]) == RESULT
    assert service.body() == {"query": "q", "ids": ["b", "a"], "limit": 5, "fields": ["title"]}
    engine.rerank(np.ones(2), ["a"])
    assert service.body().pop("vector") == {"base64": "AACAPwAAgD8=", "shape": [2]}


def test_nothing_is_made_of_no_ids(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/documents/count", answer({"count": 3, "generation": 4}))
    assert engine.rerank("q", []) == SearchResult((), 4)
    assert engine.fetch([]) == Page((), 4)
    asked = len(service.asked)
    assert engine.explain_batch("q", []) == [] and engine.delete([]) == 0
    assert len(service.asked) == asked


def test_explain(engine: Any, service: Service) -> None:
    def token(text: str, start: int | None = 0, end: int | None = 4) -> dict[str, Any]:
        return {"text": text, "start": start, "end": end}

    def explained(name: str) -> dict[str, Any]:
        known = {"similarity": 0.5, "contribution": 0.25}
        pooled = {"document_token": token("wing"), "document_position": 2, "document_tokens": [token("wing")]}
        unmatched = {"document_token": None, "document_position": None}
        matches = [
            {"query_token": token("wing"), **pooled, **known},
            {"query_token": token("[Q]", None, None), **unmatched, **known},
        ]
        return {"id": name, "text": "wing", "score": 0.5, "scored_from": "codes", "matches": matches}

    service.on(
        "POST /collections/papers/explain",
        answer({"explanations": [explained("a"), explained("b")], "generation": 1}),
    )
    wing = Token("wing", 0, 4)
    matches = (TokenMatch(wing, wing, 2, 0.5, 0.25, (wing,)), TokenMatch(Token("[Q]"), None, None, 0.5, 0.25))
    expected = [Explanation(name, "wing", "wing", 0.5, matches, "codes") for name in ("a", "b")]
    assert engine.explain("wing", "a") == expected[0]
    assert engine.explain_batch("wing", ["b", "a", "b"]) == [expected[1], expected[0], expected[1]]
    assert service.body() == {"query": "wing", "ids": ["b", "a"]}


@pytest.mark.parametrize(
    ("doc_id", "sent"),
    [
        ("a", "a"),
        ("a/b c", "a%2Fb%20c"),
        ("ünï/文?#%", "%C3%BCn%C3%AF%2F%E6%96%87%3F%23%25"),
        ("a..b/.c", "a..b%2F.c"),
    ],
)
def test_an_id_may_hold_anything(engine: Any, service: Service, doc_id: str, sent: str) -> None:
    stored = {"id": doc_id, "text": "x", "title": "y", "metadata": {"n": [1, None]}}
    service.on(f"GET /collections/papers/documents/{sent}", answer(stored))
    assert engine.get(doc_id) == Document(doc_id, "x", "y", {"n": [1, None]})


@pytest.mark.parametrize("doc_id", ["", ".", "..", "../x", "a/./b", "a//b", "a/"])
def test_an_id_that_a_path_would_not_keep_is_fetched(engine: Any, service: Service, doc_id: str) -> None:
    route = "POST /collections/papers/documents/fetch"
    found = {"documents": [{"id": doc_id, "text": "x"}], "missing": [], "generation": 1}
    service.on(route, answer(found), answer({"documents": [], "missing": [doc_id], "generation": 1}))
    assert engine.get(doc_id) == Document(doc_id, "x")
    assert service.body()["ids"] == [doc_id]
    with pytest.raises(DocumentNotFoundError, match="papers"):
        engine.get(doc_id)


def test_no_such_document(engine: Any, service: Service) -> None:
    service.on("GET /collections/papers/documents/x", problem(404, "document_not_found", "no document 'x'"))
    with pytest.raises(DocumentNotFoundError, match="no document 'x'"):
        engine.get("x")


def test_fetch_and_scroll(engine: Any, service: Service) -> None:
    page = {"documents": [{"id": "a", "title": "T"}], "generation": 3}
    service.on("POST /collections/papers/documents/fetch", answer({**page, "missing": ["z"]}))
    document = Document("a", "", "T")
    assert engine.fetch(["a", "z", "a"], fields=["title"]) == Page((document,), 3, ("z",))
    assert service.body() == {"ids": ["a", "z"], "fields": ["title"]}
    service.on("POST /collections/papers/documents/scroll", answer({**page, "next_cursor": "1:2"}))
    assert engine.scroll("1:1", 1, filter={"year": 1}, fields=[]) == Page((document,), 3, (), "1:2")
    assert service.body() == {
        "cursor": "1:1",
        "limit": 1,
        "fields": [],
        "filter": {"must": [{"key": "year", "match": {"value": 1}}]},
    }
    engine.scroll()
    assert service.body() == {"limit": 100, "fields": ["title", "text", "metadata"]}


def test_count_and_facets(engine: Any, service: Service) -> None:
    service.on("POST /collections/papers/documents/count", answer({"count": 5, "generation": 1}))
    assert engine.count() == 5 and service.body() == {}
    assert engine.count(Filter(must=(Match("open", True),))) == 5
    assert service.body() == {"filter": {"must": [{"key": "open", "match": {"value": True}}]}}
    values = [{"value": "en", "count": 3}, {"value": None, "count": 1}]
    service.on(
        "POST /collections/papers/documents/facets",
        answer({"field": "lang", "values": values, "generation": 1}),
    )
    assert engine.facets("lang", limit=2) == [("en", 3), (None, 1)]
    assert service.body() == {"field": "lang", "limit": 2}


DETAIL = {
    "name": "papers",
    "kind": "late",
    "metric": "maxsim",
    "dim": 128,
    "precision": "float16",
    "pooling": "ward:2",
    "documents": 12,
    "pending": 2,
    "tokens": 900,
    "segments": 1,
    "bytes": {"codes": 1000},
    "encoder": "minilm-late",
    "fields": {"year": "int64"},
    "generation": 2,
    "created_at": "2026-01-31T12:00:00+00:00",
    "aliases": ["main"],
    "writable": True,
    "recipe": {"index": "tokens"},
    "quality": None,
    "advice": ["train it"],
    "a member of tomorrow": 1,
}


def test_what_a_collection_is(engine: Any, service: Service) -> None:
    service.on("GET /collections/papers", answer(DETAIL))
    detail = engine.detail()
    assert (detail.aliases, detail.advice, detail.recipe) == (("main",), ("train it",), {"index": "tokens"})
    info = engine.inspect()
    assert (info.path, info.documents, info.pooling) == (
        "http://service.test/api/v1/collections/papers",
        12,
        "ward:2",
    )
    assert info.encoder == {"name": "minilm-late"} and info.complete and info.fingerprint == {}
    service.on("GET /collections/papers", answer({**DETAIL, "deleted": 3, "strain": 0.5, "encoder": None}))
    info = engine.inspect()
    assert (info.deleted, info.strain, info.encoder) == (3, 0.5, None)


def test_the_kind_is_asked_once(service: Service) -> None:
    import httpx

    from retrieval.client import Client

    service.on("GET /collections/papers", answer(DETAIL))
    service.on("POST /collections/papers/documents/count", answer({"count": 5, "generation": 1}))
    with (
        httpx.Client(transport=httpx.MockTransport(service)) as http,
        Client("http://service.test", http=http).collection("papers") as engine,
    ):
        assert (engine.kind, engine.kind, len(engine)) == ("late", "late", 5)
    assert len(service.asked) == 2
