"""Vectors, modes, hybrids, batches, explanations and reranking; answers equal the engine's."""

from __future__ import annotations

import gc
import threading
import weakref

import anyio
import numpy as np
import pytest

from retrieval import Engine, RecipeConfig
from retrieval.client.packing import packed
from retrieval.errors import DocumentNotFoundError
from retrieval.hybrid import BM25, Hybrid
from server.answering import Hybrids
from server.schemas.search import BatchResponse, ExplainResponse, HybridOptions, SearchResponse
from tests.http.conftest import documents
from tests.http.misbehaving import Stuck

QUERY = "drag of a heat shield"
SIMPLE = {"language": "none"}


def post(client, path, **body):
    return client.post(f"/v1/collections/{path}", json=body)


def pairs(hits):
    return [(hit["id"], hit["score"]) for hit in hits]


def of(result):
    return [(hit.id, hit.score) for hit in result]


@pytest.fixture
def engines(indexes, encoders):
    with (
        Engine.open(indexes / "dense", encoders["dense"]) as dense,
        Engine.open(indexes / "late", encoders["late"]) as late,
    ):
        yield {"dense": dense, "late": late}


def vectors_of(encoders, kind, text=QUERY, write=np.ndarray.tolist):
    found = np.asarray(encoders[kind].encode_query([text])[0], dtype=np.float32)
    return {"vector" if kind == "dense" else "vectors": write(found)}


@pytest.mark.parametrize("write", [np.ndarray.tolist, packed])
@pytest.mark.parametrize("kind", ["dense", "late"])
@pytest.mark.parametrize("mode", [None, "own"])
def test_vectors_find_what_their_text_finds(client, engines, encoders, kind, mode, write):
    given = {**vectors_of(encoders, kind, write=write), **({"mode": kind} if mode else {})}
    body = post(client, f"{kind}/search", limit=7, **given).json()
    assert pairs(body["hits"]) == of(engines[kind].search(QUERY, 7))


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("dense/search", {"query": "x", "vector": [0.5] * 32}, "/vector"),
        ("dense/search", {"vector": [0.5] * 31}, "/vector"),
        ("dense/search", {"vector": []}, "/vector"),
        ("dense/search", {"vector": [1e300] * 32}, "/vector"),
        ("dense/search", {"vectors": [[0.5] * 32]}, "/vectors"),
        ("late/search", {"vector": [0.5] * 32}, "/vector"),
        ("late/search", {"vectors": [[0.5] * 32, [0.5] * 33]}, "/vectors/1"),
        ("late/search", {"vectors": [[0.5] * 32, []]}, "/vectors/1"),
        ("late/search", {"vectors": [[0.5] * 32] * 9}, "/vectors"),
        ("dense/search", {"vector": packed(np.ones(31))}, "/vector/shape"),
        ("dense/search", {"vector": {"base64": "AACAPw==", "dtype": "int8"}}, "/vector/dtype"),
        ("late/search", {"vectors": packed(np.ones((9, 32)))}, "/vectors"),
        ("late/search", {"query": "x", "mode": "dense"}, "/mode"),
        ("late/search", {"query": "x", "mode": "muvera"}, "/mode"),
        ("dense/search", {"query": "x", "mode": "late"}, "/mode"),
        ("dense/search", {"query": "x", "mode": "muvera"}, "/mode"),
        ("dense/search", {"query": "x", "hybrid": {}}, "/hybrid"),
        ("dense/search", {"vector": [0.5] * 32, "mode": "hybrid"}, "/query"),
        ("dense/search", {"query": "x", "mode": "hybrid", "hybrid": {"bm25": False}}, "/hybrid"),
        ("dense/search", {"query": "x", "mode": "hybrid", "hybrid": {"language": "klingon"}}, "/hybrid"),
        ("dense/search", {"query": "x", "mode": "hybrid", "hybrid": {"weights": {"dense": 1.0}}}, "/hybrid"),
        ("dense/search", {"query": "x", "mode": "hybrid", "cursor": "eA=="}, "/cursor"),
        (
            "dense/search",
            {"query": "x", "mode": "hybrid", "hybrid": {"num_candidates": 1001}},
            "/hybrid/num_candidates",
        ),
        ("dense/explain", {"vector": [0.5] * 3, "ids": ["d01"]}, "/vector"),
        ("dense/search", {"query": "x", "params": {"recall_target": 2}}, "/params/recall_target"),
        ("dense/search", {"query": "x", "params": {"nprobes": 2}}, "/params/nprobes"),
        ("dense/search", {"query": "x", "timeout_ms": 0}, "/timeout_ms"),
        ("dense/search/batch", {"searches": []}, "/searches"),
        ("dense/search/batch", {"searches": [{"query": "x"}] * 4}, "/searches"),
        ("dense/search/batch", {"searches": [{"query": "x"}, {"query": " "}]}, "/searches/1/query"),
        ("dense/search/batch", {"searches": [{"query": "x"}, {"vector": [0.5]}]}, "/searches/1/vector"),
        ("dense/search/batch", {"searches": [{"query": "x"}, {"query": "y" * 41}]}, "/searches/1/query"),
        (
            "dense/search/batch",
            {"searches": [{"query": "x"}, {"query": "y", "filter": {"yaer": 1}}]},
            "/searches/1/filter",
        ),
        ("dense/search/batch", {"searches": [{"query": "x", "explain": True}] * 3}, "/searches"),
        ("dense/explain", {"query": "x", "ids": []}, "/ids"),
        ("dense/explain", {"query": "x", "ids": ["d01"] * 21}, "/ids"),
        ("dense/explain", {"query": "y" * 41, "ids": ["d01"]}, "/query"),
        ("dense/rerank", {"query": "x", "ids": []}, "/ids"),
        ("dense/rerank", {"ids": ["d01"]}, "/query"),
        ("dense/rerank", {"vector": [0.5] * 3, "ids": ["d01"]}, "/vector"),
        ("dense/rerank", {"query": "x", "ids": ["d01"] * 1001}, "/ids"),
    ],
)
def test_what_cannot_be_answered_is_pointed_at(serve, assert_problem, path, body, pointer):
    with serve(max_query_tokens=8, max_searches=3, max_explained=20, max_query_chars=40) as client:
        response = post(client, path, **body)
    code = "bad_filter" if pointer.endswith("/filter") else "invalid_request"
    found = assert_problem(response, 422, code)
    assert [item["pointer"] for item in found["errors"]] == [pointer]


def test_muvera_where_the_recipe_has_it(serve, indexes, encoders, tmp_path):
    Engine.build(tmp_path / "folded", documents(), encoders["late"])
    with Engine.open(tmp_path / "folded", encoders["late"]) as engine:
        engine.compact(recipe=RecipeConfig.of(reduce="muvera:256", index="flat"), force=True)
        expected = of(engine.search(QUERY, 5))
    given = {"folded": encoders["late"]}
    with serve(given=given, data_dir=None, collections={"folded": tmp_path / "folded"}) as client:
        for mode in ("muvera", "late", None):
            body = post(client, "folded/search", query=QUERY, limit=5, mode=mode).json()
            assert pairs(body["hits"]) == expected


@pytest.mark.parametrize(
    "options", [{}, {"dense": "dense"}, {"dense": "dense", "bm25": False, "fuse": "rrf"}]
)
@pytest.mark.parametrize("refine", [True, False])
def test_hybrid_equals_the_engines(client, engines, options, refine):
    asked = {**options, "language": "none", "refine": refine, "num_candidates": 8}
    body = post(
        client, "late/search", query=QUERY, mode="hybrid", hybrid=asked, limit=6, explain="plan"
    ).json()
    own = {**asked, "dense": engines["dense"] if "dense" in options else None}
    expected = Hybrid(engines["late"], **own).search(QUERY, 6, explain="plan")
    assert pairs(body["hits"]) == of(expected)
    assert body["plan"]["hits"] == expected.plan["hits"]
    assert body["next_cursor"] is None and body["generation"] == expected.generation


def test_terms_are_counted_once_whatever_the_options(client, monkeypatch):
    counted, refreshed = [], BM25._refreshed

    def counting(self, snapshot):
        counted.append(snapshot.generation)
        return refreshed(self, snapshot)

    monkeypatch.setattr(BM25, "_refreshed", counting)
    for options in (
        {},
        {"fuse": "rrf"},
        {"refine": False},
        {"num_candidates": 5},
        {"weights": {"bm25": 2.0}},
    ):
        asked = {**SIMPLE, **options}
        assert post(client, "late/search", query=QUERY, mode="hybrid", hybrid=asked).status_code == 200
    assert len(counted) == 1


def test_the_other_collection_of_a_hybrid_must_be_there(client, assert_problem):
    response = post(client, "late/search", query="x", mode="hybrid", hybrid={**SIMPLE, "dense": "nothing"})
    assert_problem(response, 404, "unknown_collection")


def test_a_batch_answers_as_one_by_one(client):
    searches = [
        {"query": "wing at speed 2", "limit": 3},
        {"query": "rotor", "limit": 3},
        {"query": "rotor", "limit": 4, "fields": []},
        {"query": "jet", "limit": 3, "filter": {"open": True}},
        {"query": "cone", "limit": 2, "explain": ["tokens", "plan"]},
        {"query": "wing", "limit": 3, "mode": "hybrid", "hybrid": SIMPLE},
    ]
    response = post(client, "late/search/batch", searches=searches)
    assert response.status_code == 200, response.text
    BatchResponse.model_validate_json(response.content)
    results = response.json()["results"]
    assert len(results) == len(searches)
    for search, result in zip(searches, results, strict=True):
        alone = post(client, "late/search", **search).json()
        assert result["hits"] == alone["hits"]
        assert result["next_cursor"] == alone["next_cursor"]
        assert ("plan" in result) == ("plan" in alone)


def test_like_questions_of_a_batch_are_searched_together(client, monkeypatch):
    sizes, search_batch = [], Engine.search_batch

    def counting(self, queries, *args, **options):
        sizes.append(len(queries))
        return search_batch(self, queries, *args, **options)

    monkeypatch.setattr(Engine, "search_batch", counting)
    searches = [{"query": f"wing {i}", "limit": 3 + i % 2} for i in range(6)]
    assert post(client, "late/search/batch", searches=searches).status_code == 200
    assert sorted(sizes) == [3, 3]


def test_explain_asks_for_aspects(client):
    plain = post(client, "late/search", query=QUERY, limit=2).json()
    plan = post(client, "late/search", query=QUERY, limit=2, explain="plan").json()
    both = post(client, "late/search", query=QUERY, limit=2, explain=["plan", "tokens"]).json()
    assert "plan" not in plain and "explanation" not in plain["hits"][0]
    assert plan["plan"]["accepted"] == 40 and plan["hits"] == plain["hits"]
    assert "plan" in both and len(both["hits"][0]["explanation"]["matches"]) == len(QUERY.split())
    for body in (plain, plan, both):
        SearchResponse.model_validate(body)


def test_explanations_of_named_documents(client, assert_problem):
    hits = post(client, "late/search", query=QUERY, limit=3, explain=True).json()["hits"]
    ids = [hit["id"] for hit in reversed(hits)]
    response = post(client, "late/explain", query=QUERY, ids=ids)
    ExplainResponse.model_validate_json(response.content)
    told = response.json()["explanations"]
    assert told == [{"id": hit["id"], **hit["explanation"]} for hit in reversed(hits)]
    assert_problem(post(client, "late/explain", query="x", ids=["nobody"]), 404, "document_not_found")


def test_a_document_deleted_between_search_and_explanation_has_none(client, monkeypatch):
    explain_batch = Engine.explain_batch

    def lossy(self, query, ids):
        if "d03" in ids:
            raise DocumentNotFoundError("no document 'd03'")
        return explain_batch(self, query, ids)

    monkeypatch.setattr(Engine, "explain_batch", lossy)
    hits = post(client, "late/search", query=QUERY, limit=5, explain=True).json()["hits"]
    assert hits[0]["id"] == "d03"
    assert ["explanation" in hit for hit in hits] == [False, True, True, True, True]


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_rerank_equals_the_engines(client, engines, encoders, kind):
    ids = ["d05", "nobody", "d03", "d11", "d05"]
    for given in ({"query": QUERY}, vectors_of(encoders, kind)):
        body = post(client, f"{kind}/rerank", ids=ids, limit=2, fields=["title"], **given).json()
        expected = engines[kind].rerank(QUERY, ids, 2, fields=["title"])
        assert pairs(body["hits"]) == of(expected)
        assert set(body["hits"][0]) == {"id", "score", "title"}
        SearchResponse.model_validate(body)
    assert len(post(client, f"{kind}/rerank", ids=ids, query=QUERY).json()["hits"]) == 3


def test_the_time_of_a_search_ends(serve, encoders, assert_problem):
    stuck = Stuck()
    with serve(given={**encoders, "dense": stuck}) as client:
        context = client.app.state.context
        stuck.armed = True
        try:
            for body in ({"timeout_ms": 30}, {"timeout_ms": 40.5}):
                response = post(client, "dense/search", query=f"x{body}", **body)
                assert_problem(response, 504, "deadline_exceeded")
            assert context.gate.in_flight == 0
            assert context.pool.running("encode") >= 1  # they cannot be stopped
            # Searches that need no model go on.
            assert post(client, "dense/search", vector=[0.5] * 32).status_code == 200
        finally:
            stuck.gate.set()
        assert post(client, "dense/search", query="y", timeout_ms=30_000).status_code == 200


def test_the_servers_own_time_limit(serve, encoders, assert_problem):
    stuck = Stuck()
    with serve(given={**encoders, "dense": stuck}, timeout_ms=40) as client:
        stuck.armed = True
        try:
            response = post(client, "dense/search", query="x", timeout_ms=60_000)
            assert "40 ms" in assert_problem(response, 504, "deadline_exceeded")["detail"]
        finally:
            stuck.gate.set()


def test_a_client_that_goes_away_is_not_searched_for(serve, encoders, monkeypatch):
    stuck, searched, search_batch = Stuck(), [], Engine.search_batch

    def counting(self, queries, *args, **options):
        searched.append(len(queries))
        return search_batch(self, queries, *args, **options)

    with serve(given={**encoders, "dense": stuck}) as client:
        monkeypatch.setattr(Engine, "search_batch", counting)
        stuck.armed = True
        sent: list[dict] = []

        async def leave() -> None:
            body = [{"type": "http.request", "body": b'{"query": "x"}', "more_body": False}]

            async def receive() -> dict:
                if body:
                    return body.pop()
                await anyio.to_thread.run_sync(stuck.entered.wait)
                return {"type": "http.disconnect"}

            async def send(message: dict) -> None:
                sent.append(message)

            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            path = "/v1/collections/dense/search"
            scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}
            scope |= {"headers": headers, "query_string": b"", "http_version": "1.1", "scheme": "http"}
            await client.app(
                {**scope, "server": ("localhost", 80), "client": ("127.0.0.1", 1)}, receive, send
            )

        try:
            client.portal.call(leave)
            assert sent[0]["status"] == 499
            assert client.app.state.context.gate.in_flight == 0
        finally:
            stuck.gate.set()
        assert not searched


def test_queries_of_several_clients_are_encoded_together(serve, encoders):
    class Slow(Stuck):
        def __init__(self) -> None:
            super().__init__()
            self.batches: list[int] = []

        def encode_query(self, texts):
            if self.armed:
                self.batches.append(len(texts))
            return super().encode_query(texts)

    slow = Slow()
    with serve(given={**encoders, "dense": slow}) as client:
        slow.armed = True
        pool = client.app.state.context.pool
        results: list[int] = []

        def ask(i: int) -> None:
            results.append(post(client, "dense/search", query=f"wing {i}").status_code)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        try:
            threads[0].start()
            assert slow.entered.wait(30)
            for thread in threads[1:]:
                thread.start()
            pause = threading.Event()
            for _ in range(6000):
                if pool.running("encode") == 12:
                    break
                pause.wait(0.005)
        finally:
            slow.gate.set()
        for thread in threads:
            thread.join(30)
    assert results == [200] * 12
    assert slow.batches[0] == 1 and sum(slow.batches) == 12 and max(slow.batches) >= 8


def test_counted_terms_go_with_the_engine(indexes, encoders):
    hybrids, options = Hybrids(), HybridOptions(language="none")
    engine = Engine.open(indexes / "late", encoders["late"])
    lexicon = weakref.ref(hybrids._bm25(engine, "none", True))
    hybrids.of(engine, None, options).search(QUERY)
    assert hybrids._bm25(engine, "none", True) is lexicon()
    for language in ("english", "german"):  # more languages than are kept
        hybrids._bm25(engine, language, True)
    gc.collect()
    assert lexicon() is None
    kept = weakref.ref(hybrids._bm25(engine, "german", True))
    engine.close()
    del engine
    gc.collect()
    assert kept() is None
