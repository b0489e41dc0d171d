"""Hybrid search against its parts, put together here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, RuntimeConfig, SearchResult
from retrieval.errors import ConfigError, EncoderError, FilterError, QueryError
from retrieval.hybrid import BM25, Fusion, Hybrid, fuse
from retrieval.search import accepted
from tests.encoders import HashingDense, HashingLate

WORDS = ["wing", "lift", "drag", "flow", "jet", "tail", "bird", "kite", "wind", "gust"]
QUERIES = ["wing lift", "jet", "bird kite wind", "flow gust drag drag"]
LATE, DENSE = HashingLate(dim=16), HashingDense(dim=8)
N = 12
"""Candidates of each generator: few, so that they differ."""


def documents(n: int, seed: int = 0, start: int = 0) -> list[Document]:
    rng = np.random.default_rng(seed)
    return [
        Document(f"d{i:03d}", " ".join(rng.choice(WORDS, rng.integers(1, 9))), metadata={"n": i})
        for i in range(start, start + n)
    ]


def build(path: Path, docs: list[Document], encoder: Any) -> Engine:
    Engine.build(path, docs, encoder, config=IndexConfig(segment_documents=37))
    return Engine.open(path, encoder, runtime=RuntimeConfig(maintenance="manual"))


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Engine]:
    with build(tmp_path / "late", documents(100), LATE) as engine:
        yield engine


@pytest.fixture
def dense(tmp_path: Path) -> Iterator[Engine]:
    with build(tmp_path / "dense", documents(100)[5:] + documents(3, start=500), DENSE) as engine:
        yield engine


Rankings = dict[str, dict[str, float]]


def parts(late: Engine, dense: Engine | None, query: str, n: int = N, filter: Any = None) -> Rankings:
    """Each generator's ranking, by what is public of it; only what the late index has."""
    found: dict[str, SearchResult] = {"engine": late.search(query, n, filter=filter)}
    if dense is not None:
        found["dense"] = dense.search(query, n, filter=filter)
    rankings = {name: {hit.id: hit.score for hit in result} for name, result in found.items()}
    there = {hit.id for hit in late.search(query, 1000, filter=filter)}
    rankings = {name: {i: s for i, s in one.items() if i in there} for name, one in rankings.items()}
    snapshot = late.located()[0].snapshot
    (lexical,) = BM25("none").candidates([query], snapshot, accepted(snapshot, None), 1000)
    rankings["bm25"] = dict([(one.id, one.score) for one in lexical if one.id in there][:n])
    return rankings


def told(result: SearchResult) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in result]


def completed(late: Engine, dense: Engine | None, query: str) -> Rankings:
    """`parts`, with what each generator says of all that any of them has found."""
    union = sorted({i for one in parts(late, dense, query).values() for i in one})
    rankings = {"engine": dict(told(late.rerank(query, union)))}
    if dense is not None:
        rankings["dense"] = dict(told(dense.rerank(query, union)))
    snapshot = late.located()[0].snapshot
    (lexical,) = BM25("none").candidates([query], snapshot, accepted(snapshot, None), 1000)
    scores = {one.id: one.score for one in lexical}
    return rankings | {"bm25": {i: scores.get(i, 0.0) for i in union}}


def test_where_vectors_are_given_no_model_is_loaded(late: Engine) -> None:
    vectors = np.asarray(LATE.encode_query([QUERIES[0]])[0])
    with Engine.open(late.path) as without:
        found = Hybrid(without, language="none").search(QUERIES[0], vectors=vectors)
        assert told(found) == told(Hybrid(late, language="none").search(QUERIES[0]))
        with pytest.raises(EncoderError, match="of its own"):
            Hybrid(without, language="none").search(QUERIES[0])


@pytest.mark.parametrize("how", ["rrf", "minmax", "zscore"])
@pytest.mark.parametrize("refine", [False, True])
def test_the_ranking_is_the_fusion_of_the_parts(
    late: Engine, dense: Engine, how: Fusion, refine: bool
) -> None:
    given: dict[str, Any] = {"fuse": how, "refine": refine, "num_candidates": N, "language": "none"}
    hybrid, weighted = Hybrid(late, dense, **given), Hybrid(late, dense, **given, weights={"bm25": 0.5})
    results = hybrid.search_batch(QUERIES, 10)
    for query, result in zip(QUERIES, results, strict=True):
        rankings = completed(late, dense, query) if refine else parts(late, dense, query)
        assert len({i for one in rankings.values() for i in one}) > N
        assert told(result) == fuse(list(rankings.values()), [1, 1, 1], how)[:10]
        assert told(hybrid.search(query, 10)) == told(result)
        assert told(weighted.search(query)) == fuse(list(rankings.values()), [1, 1, 0.5], how)[:10]
        assert [hit.text for hit in result] == [late.get(hit.id).text for hit in result]


def test_the_engine_alone_may_score_what_all_found(late: Engine, dense: Engine) -> None:
    hybrid = Hybrid(late, dense, fuse="engine", num_candidates=N, language="none")
    for query in QUERIES:
        union = {i for one in parts(late, dense, query).values() for i in one}
        everything = [(hit.id, hit.score) for hit in late.search(query, 1000) if hit.id in union]
        assert told(hybrid.search(query, N)) == everything[:N]


def test_a_dense_engine_and_words(dense: Engine) -> None:
    hybrid = Hybrid(dense, num_candidates=N, language="none")
    for query in QUERIES:
        rankings = completed(dense, None, query)
        assert told(hybrid.search(query, 5)) == fuse(list(rankings.values()), [1, 1], "minmax")[:5]


def test_two_engines_without_words(late: Engine, dense: Engine) -> None:
    hybrid = Hybrid(late, dense, bm25=False, refine=False, num_candidates=N)
    for query in QUERIES:
        rankings = parts(late, dense, query)
        both = rankings["engine"], rankings["dense"]
        assert told(hybrid.search(query, 5)) == fuse(both, [1, 1], "minmax")[:5]


@pytest.mark.parametrize("refine", [False, True])
def test_a_filter_holds_for_every_generator(late: Engine, dense: Engine, refine: bool) -> None:
    hybrid = Hybrid(late, dense, refine=refine, num_candidates=N, language="none")
    for below, there in ((0, 0), (8, 8), (50, 50), (10**6, 100)):
        wanted = {"n": {"lt": below}}
        result = hybrid.search(QUERIES[0], 200, filter=wanted)
        assert all(hit.metadata["n"] < below for hit in result)
        assert len(result) == (there if there <= N else len(result)) <= there
        if not refine:
            rankings = parts(late, dense, QUERIES[0], 200, wanted)
            assert told(result) == fuse(list(rankings.values()), [1, 1, 1], "minmax")[:200]
    with pytest.raises(FilterError):
        hybrid.search("wing", filter={"m": 1})


def test_changes_are_seen_and_the_other_engine_may_lag(late: Engine, dense: Engine) -> None:
    hybrid = Hybrid(late, dense, num_candidates=200, language="none")
    hybrid.warm_up()
    late.delete(["d010", "d011"])  # the dense index still has them
    late.add([Document("new", "zeppelin wing", metadata={"n": -1})])
    late.upsert([Document("d020", "zeppelin zeppelin", metadata={"n": 20})])
    result = hybrid.search("zeppelin", 3, explain="plan")
    assert {hit.id for hit in result[:2]} == {"d020", "new"}
    ids = {hit.id for hit in hybrid.search("wing lift", 500)}
    assert not ids & {"d010", "d011", "d500"}
    assert result.plan is not None
    assert result.plan["generators"]["dense"]["not_in_engine"] == 5  # two deleted, three never there
    assert result.generation == late.search("wing").generation


def test_the_plan_tells_who_found_what(late: Engine, dense: Engine) -> None:
    hybrid = Hybrid(late, dense, num_candidates=N, language="none")
    result = hybrid.search(QUERIES[0], 6, explain="plan")
    rankings, plan = parts(late, dense, QUERIES[0]), result.plan
    assert plan is not None
    assert {name: one["found"] for name, one in plan["generators"].items()} == {
        n: len(r) for n, r in rankings.items()
    }
    assert plan["generators"]["engine"]["segments"] == {"exact": 3}
    assert plan["candidates"] == len({i for one in rankings.values() for i in one})
    for hit, ranks in zip(result, plan["hits"], strict=True):
        ranked = {
            name: list(one).index(hit.id) + 1 if hit.id in one else None for name, one in rankings.items()
        }
        assert ranks == {"id": hit.id, **ranked}
    assert {"encode", "engine", "dense", "bm25", "fuse", "search", "total"} <= result.timings_ms.keys()
    assert hybrid.search("wing").plan is None


def test_more_hits_than_candidates_and_fields(late: Engine) -> None:
    hybrid = Hybrid(late, num_candidates=2, language="none")
    result = hybrid.search("wing", 60, fields=["title"])
    assert len(result) == 60
    assert (result[0].title, result[0].text, result[0].metadata) == ("", None, None)
    assert hybrid.search_batch([], 3) == []


def test_what_cannot_be_combined(late: Engine, dense: Engine) -> None:
    for wrong, message in [
        ({"bm25": False}, "one generator and nothing to combine"),
        ({"fuse": "sum"}, r"fuse='sum' is not known; there are: rrf, minmax, zscore, engine"),
        ({"weights": {"dense": 1}}, r"weights name 'dense'; this search has: engine, bm25"),
        ({"weights": {"bm25": -1}}, r"the weight of bm25 is -1.0; it must be 0 or more"),
        ({"weights": {"bm25": float("nan")}}, "nan"),
        ({"weights": {"bm25": 0, "engine": 0}}, "all weights are 0"),
        ({"num_candidates": 0}, "num_candidates=0"),
        ({"fuse": "engine", "refine": False}, "it needs refine=True"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Hybrid(late, **{"language": "none", **wrong})  # type: ignore[arg-type]
    hybrid = Hybrid(late, dense, language="none")
    with pytest.raises(QueryError, match="a hybrid search takes texts, which BM25 reads too, not ndarray"):
        hybrid.search(np.zeros((2, 16), np.float32))  # type: ignore[arg-type]
    for bad in ({"query": " "}, {"k": 0}, {"fields": ["x"]}, {"explain": "all"}):
        with pytest.raises(QueryError):
            hybrid.search(**{"query": "wing", **bad})  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="a list of queries"):
        hybrid.search_batch("wing")
    with pytest.raises(ConfigError):
        hybrid.search("wing", params={"speed": 3})


def test_many_threads_while_documents_come_and_go(late: Engine, dense: Engine) -> None:
    """Every answer is one commit's: a document that is replaced over and over is there exactly once."""
    hybrid, stop, wrong = Hybrid(late, dense, num_candidates=50, language="none"), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            ids = [hit.id for hit in hybrid.search("zeppelin wing", 200, fields=())]
            swapped = [i for i in ids if i.startswith("swap")]
            if len(swapped) != 1 or len(set(ids)) != len(ids):
                wrong.append(ids)

    late.add([Document("swap0", "zeppelin zeppelin")])
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 12):
        late.upsert([Document("swap0", f"zeppelin marker{i}")])
        if i % 5 == 0:
            late.flush()
    late.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert hybrid.search("marker11", 1)[0].text == "zeppelin marker11"


@pytest.mark.parametrize("file", ["codes.bin", "documents.arrow"])
def test_what_is_damaged_is_left_out_where_that_is_allowed(tmp_path: Path, file: str) -> None:
    build(tmp_path / "late", documents(100), LATE).close()
    with build(tmp_path / "dense", documents(100), DENSE) as dense:
        damaged = sorted((tmp_path / "late" / "segments").iterdir())[1] / file
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        with Engine.open(tmp_path / "late", LATE, skip_damaged=True) as late:
            result = Hybrid(late, dense, num_candidates=200, language="none").search("wing lift", 200)
            assert result.partial
            whole = {f"d{i:03d}" for i in range(100) if not 37 <= i < 74}
            assert {hit.id for hit in result} == whole  # the dense index offers those of the lost segment too
            reranked = late.rerank("wing lift", sorted(f"d{i:03d}" for i in range(100)))
            assert {hit.id for hit in reranked} == whole and reranked.partial
