from __future__ import annotations

import math
import random
import sys

import pytest

from retrieval.errors import ConfigError, DataError, MissingExtraError
from retrieval.evaluate.beir import Qrels
from retrieval.evaluate.measures import DEFAULT_MEASURES, Measure, measure, parse_measures
from retrieval.evaluate.runs import Run, strictly_decreasing, trec_order

pytest.importorskip("ir_measures")
pytrec_eval = pytest.importorskip("pytrec_eval")

# Ours -> pytrec_eval's own name. MRR@10 has none there, and nDCG without a cutoff hangs there on
# negative grades: those two are held by the reference.
TREC_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "R@100": "recall_100",
    "R@5": "recall_5",
    "MAP": "map",
    "MAP@20": "map_cut_20",
    "MRR": "recip_rank",
    "P@7": "P_7",
    "Success@3": "success_3",
}


def random_case(seed: int) -> tuple[Qrels, Run]:
    """Graded judgements and runs whose few distinct scores tie often, even only as float32."""
    rng = random.Random(seed)
    scores = [0.5, 0.5 + 1e-9, 0.25, -1.0, 0.0, -0.0, 3.0, 1e-42]
    doc_ids = [f"d{i}" for i in range(60)] + ["D1", "é", "z-9", "0"]
    qrels: Qrels = {}
    run: Run = {}
    for query_id in ("q1", "q2", "q3"):
        judged = rng.sample(doc_ids, rng.randint(1, 20))
        qrels[query_id] = {doc_id: rng.choice([-1, 0, 0, 1, 1, 2, 3]) for doc_id in judged}
        answered = rng.sample(doc_ids, rng.randint(1, 40))
        ranking = [(doc_id, rng.choice(scores)) for doc_id in answered]
        run[query_id] = sorted(ranking, key=lambda hit: -hit[1])
    return qrels, run


def trec_eval(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(TREC_NAMES.values()))
    return evaluator.evaluate({query_id: dict(ranking) for query_id, ranking in run.items()})


# The measures from first principles, over an ordered list of document ids.


def ndcg(ranking: list[str], grades: dict[str, int], k: int) -> float:
    def dcg(gains: list[int]) -> float:
        return sum(max(gain, 0) / math.log2(rank + 1) for rank, gain in enumerate(gains[:k], start=1))

    ideal = dcg(sorted(grades.values(), reverse=True))
    return dcg([grades.get(doc_id, 0) for doc_id in ranking]) / ideal if ideal else 0.0


def recall(ranking: list[str], grades: dict[str, int], k: int) -> float:
    relevant = {doc_id for doc_id, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def average_precision(ranking: list[str], grades: dict[str, int]) -> float:
    n_relevant = sum(grade > 0 for grade in grades.values())
    found, total = 0, 0.0
    for rank, doc_id in enumerate(ranking, start=1):
        if grades.get(doc_id, 0) > 0:
            found += 1
            total += found / rank
    return total / n_relevant if n_relevant else 0.0


def reciprocal_rank(ranking: list[str], grades: dict[str, int], k: int) -> float:
    for rank, doc_id in enumerate(ranking[:k], start=1):
        if grades.get(doc_id, 0) > 0:
            return 1 / rank
    return 0.0


def reference(ranking: list[str], grades: dict[str, int]) -> dict[str, float]:
    return {
        "nDCG@10": ndcg(ranking, grades, 10),
        "R@100": recall(ranking, grades, 100),
        "MAP": average_precision(ranking, grades),
        "MRR@10": reciprocal_rank(ranking, grades, 10),
    }


def test_a_thousand_random_runs_with_ties_measure_as_in_pytrec_eval() -> None:
    moved = 0
    for seed in range(1000):
        qrels, run = random_case(seed)
        measured = measure(qrels, run, [*TREC_NAMES, "MRR@10", "nDCG"])
        for query_id, wanted in trec_eval(qrels, run).items():
            got = measured.per_query[query_id]
            assert {name: got[name] for name in TREC_NAMES} == {
                name: wanted[trec] for name, trec in TREC_NAMES.items()
            }
            in_trec_order = [doc_id for doc_id, _ in trec_order(run[query_id])]
            moved += in_trec_order != [doc_id for doc_id, _ in run[query_id]]
            # Also where ties break, and for MRR@10 too.
            wanted_by_hand = reference(in_trec_order, qrels[query_id])
            wanted_by_hand["nDCG"] = ndcg(in_trec_order, qrels[query_id], 1000)
            assert {name: got[name] for name in wanted_by_hand} == pytest.approx(wanted_by_hand, abs=1e-12)
    assert moved > 2000  # the ties were there


def test_after_strictly_decreasing_the_order_of_the_list_is_what_is_measured() -> None:
    for seed in range(1000):
        qrels, run = random_case(seed)
        for query_id, ranking in run.items():
            scores = strictly_decreasing([score for _, score in ranking])
            run[query_id] = [(doc_id, float(s)) for (doc_id, _), s in zip(ranking, scores, strict=True)]
        measured = measure(qrels, run)
        wanted = trec_eval(qrels, run)
        for query_id, ranking in run.items():
            got = measured.per_query[query_id]
            assert got == pytest.approx(reference([doc for doc, _ in ranking], qrels[query_id]), abs=1e-12)
            assert got["nDCG@10"] == wanted[query_id]["ndcg_cut_10"]


def test_graded_judgements_weigh_linearly_by_hand() -> None:
    qrels = {"q": {"a": 3, "b": 1, "c": 0, "d": 2}}
    run = {"q": [("b", 3.0), ("x", 2.0), ("a", 1.0)]}
    measured = measure(qrels, run, ["nDCG@2", "nDCG@10", "R@10", "R(rel=3)@10", "P(rel=2)@3", "MAP"])
    log3 = 1.5849625007211562
    got = measured.mean
    assert got["nDCG@2"] == pytest.approx(1 / (3 + 2 / log3))
    assert got["nDCG@10"] == pytest.approx((1 + 3 / 2) / (3 + 2 / log3 + 1 / 2))
    assert got["R@10"] == pytest.approx(2 / 3)
    assert got["R(rel=3)@10"] == 1.0
    assert got["P(rel=2)@3"] == pytest.approx(1 / 3)
    assert got["MAP"] == pytest.approx((1 + 2 / 3) / 3)


def test_a_judged_query_missing_from_the_run_counts_zero_and_both_means_are_told() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}, "q4": {"d": 1}}
    run = {"q1": [("a", 1.0)], "q2": [("x", 2.0), ("b", 1.0)], "q3": [], "unjudged": [("a", 1.0)]}
    measured = measure(qrels, run, ["MRR@10"])
    assert measured.mean == {"MRR@10": (1 + 0.5) / 4}
    assert measured.mean_over_answered == {"MRR@10": (1 + 0.5) / 2}
    assert measured.answered == 2
    assert measured.per_query["q4"] == measured.per_query["q3"] == {"MRR@10": 0.0}
    assert list(measured.per_query) == list(qrels)


def test_a_run_without_any_judged_query_measures_zero() -> None:
    measured = measure({"q1": {"a": 1}}, {"other": [("a", 1.0)]})
    assert set(measured.mean.values()) == {0.0}
    assert measured.mean_over_answered == {}


def test_reciprocal_rank_is_cut_at_its_cutoff() -> None:
    run = {"q": [(f"d{i}", float(-i)) for i in range(1, 13)]}
    for rank in range(1, 13):
        measured = measure({"q": {f"d{rank}": 1}}, run, ["RR@10", "RR@11", "RR"])
        assert measured.mean["MRR@10"] == (1 / rank if rank <= 10 else 0)
        assert measured.mean["MRR@11"] == (1 / rank if rank <= 11 else 0)
        assert measured.mean["MRR"] == 1 / rank


def test_both_spellings_are_one_measure_printed_one_way() -> None:
    parsed = parse_measures(["AP", "MAP", "RR@10", "MRR@10", "recall@100", "R@100", "ndcg@10", " nDCG@10 "])
    assert [one.name for one in parsed] == ["MAP", "MRR@10", "R@100", "nDCG@10"]
    assert [one.name for one in DEFAULT_MEASURES] == ["nDCG@10", "R@100", "MAP", "MRR@10"]
    for one in (*DEFAULT_MEASURES, Measure("P", 10, rel=2)):
        assert Measure.parse(one.name) == one
    assert [one.depth for one in parsed] == [1000, 10, 100, 10]


@pytest.mark.parametrize(
    "text", ["nDCG10", "F1@3", "", "nDCG@ten", "MAP@-1", "nDCG(gains=2)@10", "@10", "R@1@2"]
)
def test_an_unknown_measure_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="unknown measure") as error:
        measure({"q": {"a": 1}}, {}, [text])
    assert repr(text) in str(error.value)
    assert "nDCG@10, R@100, MAP" in str(error.value)


@pytest.mark.parametrize("text", ["R", "P", "Success", "nDCG@0"])
def test_a_missing_cutoff_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="needs a cutoff"):
        parse_measures([text])


@pytest.mark.parametrize("text", ["nDCG(rel=2)@10", "P(rel=0)@10"])
def test_a_relevance_level_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="lowest relevant grade"):
        parse_measures([text])


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="no measure given"):
        measure({"q": {"a": 1}}, {}, [])
    with pytest.raises(DataError, match="no judgements"):
        measure({}, {"q": [("a", 1.0)]})
    with pytest.raises(DataError, match="'q1' holds a document twice"):
        measure({"q1": {"a": 1}}, {"q1": [("a", 1.0), ("a", 0.5)]})
    with pytest.raises(DataError, match="'q1' holds a score that is not finite"):
        measure({"q1": {"a": 1}}, {"q1": [("a", float("nan"))]})


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytrec_eval", None)
    with pytest.raises(MissingExtraError, match=r"retrieval-engine\[eval\]"):
        measure({"q": {"a": 1}}, {"q": [("a", 1.0)]})
