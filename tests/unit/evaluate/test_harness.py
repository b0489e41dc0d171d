"""The harness over a stub engine that knows its answers: what is asked, kept, counted, timed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval.errors import ConfigError, DataError
from retrieval.evaluate import BeirDataset, evaluate, evaluate_run, read_run
from retrieval.storage import IndexInfo
from retrieval.types import Hit, SearchResult

pytest.importorskip("pytrec_eval")

INFO = IndexInfo(
    path="x", format_version=1, generation=3, kind="late", metric="maxsim", dim=8, precision="float16",
    documents=4, pending=0, deleted=0, tokens=40, segments=2,
    bytes={"values": 640, "offsets": 40, "catalog": 320},
    recipe=None, quality=None,
    encoder={"name": "stub"}, fingerprint={}, fields={}, created_at="", complete=True,
)  # fmt: skip


class StubEngine:
    """Answers from a table of texts; remembers each call."""

    def __init__(self, answers: dict[str, list[Hit]], timings: dict[str, float] | None = None) -> None:
        self.answers, self.timings = answers, timings or {}
        self.calls: list[tuple[int, int]] = []

    def search_batch(
        self, queries: Sequence[str], k: int = 10, *, fields: Sequence[str] | None = None
    ) -> list[SearchResult]:
        assert fields == ()
        self.calls.append((len(queries), k))
        return [SearchResult(tuple(self.answers[text][:k]), 3, self.timings) for text in queries]

    def inspect(self) -> IndexInfo:
        return INFO


def hits(*pairs: tuple[str, float]) -> list[Hit]:
    return [Hit(doc_id, score) for doc_id, score in pairs]


def dataset(
    queries: dict[str, str], qrels: dict[str, dict[str, int]], *, ignore_same_id: bool = False
) -> BeirDataset:
    return BeirDataset(Path("mini"), "test", queries, qrels, ignore_same_id, unjudged_queries=5)


def test_what_the_engine_ranked_first_is_measured_first_despite_ties() -> None:
    # trec_eval alone would break these ties the other way round, by id descending.
    tied = hits(("a", 0.5), ("b", 0.5), ("c", 0.5))
    engine = StubEngine({"one": tied, "two": tied, "three": []})
    queries = {"q1": "one", "q2": "two", "q3": "three"}
    qrels = {"q1": {"a": 1}, "q2": {"c": 2, "x": 0}, "q3": {"a": 1}}
    result = evaluate(engine, dataset(queries, qrels))
    assert result.measured.per_query["q1"]["MRR@10"] == 1.0
    assert result.measured.per_query["q2"]["MRR@10"] == pytest.approx(1 / 3)
    assert result.measures["MRR@10"] == pytest.approx((1 + 1 / 3) / 3)
    assert result.measured.mean_over_answered["MRR@10"] == pytest.approx((1 + 1 / 3) / 2)


def test_the_result_is_one_json_object() -> None:
    engine = StubEngine({"one": hits(("a", 1.0)), "two": []})
    found = evaluate(engine, dataset({"q1": "one", "q2": "two"}, {"q1": {"a": 1}, "q2": {"b": 0}}))
    told = json.loads(json.dumps(found.to_json()))
    assert (told["dataset"], told["split"], told["encoder"]) == ("mini", "test", "stub")
    assert told["measures"] == {"nDCG@10": 0.5, "R@100": 0.5, "MAP": 0.5, "MRR@10": 0.5}
    assert told["measures_over_answered"]["MAP"] == 1.0
    assert told["queries"] == {"judged": 2, "answered": 1, "not_judged": 5}
    assert told["judgements"] == {"total": 2, "relevant": 1, "documents": 2}
    assert told["index"]["documents"] == 4
    assert told["index"]["tokens"] == 40
    assert told["index"]["bytes"] == 1000
    assert told["index"]["bytes_per_document"] == 250
    assert told["depth"] == 1000
    assert told["threads"] >= 1


def test_both_means_are_told_only_where_they_differ() -> None:
    engine = StubEngine({"one": hits(("a", 1.0))})
    told = evaluate(engine, dataset({"q1": "one"}, {"q1": {"a": 1}})).to_json()
    assert "measures_over_answered" not in told


@pytest.mark.parametrize(
    ("measures", "depth", "asked"),
    [
        (["nDCG@10", "R@100"], None, 100),
        (["nDCG@10", "MAP"], None, 1000),
        (["MAP"], 50, 50),
        (["MAP@7"], None, 7),
    ],
)
def test_depth_follows_from_the_measures_or_is_given(
    measures: list[str], depth: int | None, asked: int
) -> None:
    engine = StubEngine({"one": hits(("a", 1.0))})
    result = evaluate(engine, dataset({"q1": "one"}, {"q1": {"a": 1}}), measures=measures, depth=depth)
    assert {k for _, k in engine.calls} == {asked}
    assert result.depth == asked


def test_a_query_that_finds_itself_is_ignored_and_the_depth_stays_full() -> None:
    answers = {
        "one": hits(("q1", 9.0), ("a", 2.0), ("b", 1.0)),
        "two": hits(("a", 2.0), ("b", 1.0), ("c", 0.5)),
    }
    queries, qrels = {"q1": "one", "q2": "two"}, {"q1": {"b": 1}, "q2": {"c": 1}}
    engine = StubEngine(answers)
    ignoring = evaluate(
        engine, dataset(queries, qrels, ignore_same_id=True), measures=["R@2", "MRR@10"], depth=2
    )
    assert {k for _, k in engine.calls} == {3}
    assert ignoring.measured.per_query == {
        "q1": {"R@2": 1.0, "MRR@10": 0.5},
        "q2": {"R@2": 0.0, "MRR@10": 0.0},
    }
    keeping = evaluate(engine, dataset(queries, qrels), measures=["MRR@10"], depth=3)
    assert keeping.measured.per_query["q1"]["MRR@10"] == pytest.approx(1 / 3)


def test_all_queries_are_asked_in_batches_with_progress_and_times_of_each_batch_counted_once() -> None:
    queries = {f"q{i}": f"text {i}" for i in range(600)}
    answers = {text: hits(("a", 1.0)) for text in queries.values()}
    engine = StubEngine(answers, {"encode": 200.0, "search": 30.0, "fetch": 10.0, "total": 240.0})
    seen: list[tuple[int, int]] = []
    result = evaluate(
        engine, dataset(queries, {query_id: {"a": 1} for query_id in queries}),
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(256, 600), (512, 600), (600, 600)]
    assert [n for n, _ in engine.calls] == [1, 256, 256, 88]  # the first is not timed
    assert result.times["query_encode_seconds"] == pytest.approx(3 * 0.2)
    assert result.times["search_seconds"] == pytest.approx(3 * 0.04)
    assert result.times["search_ms_per_query"] == pytest.approx(0.2)
    assert result.measures["MRR@10"] == 1.0


def test_an_engine_without_times_is_measured_around() -> None:
    result = evaluate(StubEngine({"one": hits(("a", 1.0))}), dataset({"q1": "one"}, {"q1": {"a": 1}}))
    assert result.times["query_encode_seconds"] is None
    assert result.times["search_seconds"] == result.times["query_total_seconds"] > 0  # type: ignore[operator]


def test_the_written_run_measures_the_same_when_read_back(tmp_path: Path) -> None:
    tied = hits(("a", 0.5), ("b", 0.5), ("c", 0.25))
    collection = dataset({"q1": "one", "q2": "two"}, {"q1": {"b": 1}, "q2": {"c": 3, "a": 1}})
    searched = evaluate(StubEngine({"one": tied, "two": tied}), collection, run_path=tmp_path / "x.run")
    assert [doc_id for doc_id, _ in read_run(tmp_path / "x.run")["q1"]] == ["a", "b", "c"]
    again = evaluate_run(collection, tmp_path / "x.run")
    assert again.measured == searched.measured
    assert (again.encoder, again.index, again.depth) == (None, None, None)


def test_a_run_file_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "theirs.run"
    path.write_text("q1 Q0 q1 1 9.0 t\nq1 Q0 a 2 0.5 t\nq1 Q0 b 3 0.5 t\nq9 Q0 a 1 1.0 t\n")
    queries, qrels = {"q1": "one", "q2": "two"}, {"q1": {"a": 1}, "q2": {"a": 1}}
    result = evaluate_run(dataset(queries, qrels, ignore_same_id=True), path, measures=["MRR@10"])
    assert result.measures == {"MRR@10": 0.25}  # b goes before a, as in trec_eval; q2 counts zero
    assert result.queries == {"judged": 2, "answered": 1, "not_judged": 1}


def test_what_cannot_be_evaluated_is_refused_before_or_without_a_file(tmp_path: Path) -> None:
    engine = StubEngine({"one": hits(("a b", 1.0))})
    collection = dataset({"q1": "one"}, {"q1": {"a": 1}})
    with pytest.raises(ConfigError, match="unknown measure 'nope'"):
        evaluate(engine, collection, measures=["nope"])
    with pytest.raises(ConfigError, match="depth=0"):
        evaluate(engine, collection, depth=0)
    assert engine.calls == []
    with pytest.raises(DataError, match="document id 'a b'"):
        evaluate(engine, collection, run_path=tmp_path / "x.run")
