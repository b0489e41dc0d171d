"""Recipes for late interaction through the engine: train, search, change, copy, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import (
    PRESETS,
    Document,
    Engine,
    IndexConfig,
    RecipeConfig,
    RuntimeConfig,
    SearchConfig,
    export_index,
    import_index,
    inspect_index,
    repair_index,
    verify_index,
)
from retrieval.errors import ConfigError
from retrieval.index import Pipeline, TokenPipeline
from retrieval.index.fold_pipeline import FoldPipeline
from retrieval.quantize import (
    ResidualCodec,
    bits_from_arrays,
    int8_from_arrays,
    pq_from_arrays,
    residual_from_arrays,
)
from retrieval.storage import Catalog, Trained, load_trained
from retrieval.types import FloatArray
from tests.encoders import HashingDense

N, DIM, TOPICS = 900, 24, 30
MANUAL = RuntimeConfig.of(maintenance="manual")
EXACT = {"exact": True}
EVERYTHING = SearchConfig(nprobe=10**6, num_candidates=10**6, num_scored=10**6)
"""As much effort as there is: then a trained search must answer as an exact one."""
FEW = "retrieval.index.token_search.FEW"
LEAST = "retrieval.index.token_search.LEAST"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lemur learns of fewer probes in a tenth of the time."""
    monkeypatch.setattr("retrieval.reduce.lemur.PROBES", 1000)
    monkeypatch.setattr("retrieval.reduce.lemur.ANCHORS", 300)


class Speech:
    """A vector a word: a text "topic number" is some of the topic's words, each a little its own."""

    kind, dim = "late", DIM

    def __init__(self, metric: str = "maxsim") -> None:
        self.metric = metric

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "speech", "metric": self.metric}

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        return [self._encode(text, 4, 13) for text in texts]

    def encode_query(self, texts: Sequence[str]) -> list[FloatArray]:
        return [self._encode(text, 5, 9) for text in texts]

    def _encode(self, text: str, least: int, most: int) -> FloatArray:
        if not text.strip("."):
            return np.empty((0, DIM), np.float32)
        topic, _, number = text.partition(" ")
        words = np.random.default_rng(int(topic)).standard_normal((8, DIM)) + 0.4
        own = np.random.default_rng([int(topic), int(number or 0)])
        chosen = own.integers(0, 8, own.integers(least, most))
        values = words[chosen] + 0.5 * own.standard_normal((len(chosen), DIM))
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values.astype(np.float32)


@pytest.fixture
def longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors as long as the call that does all of a search takes them."""
    monkeypatch.setattr(sys.modules[__name__], "DIM", 32)
    monkeypatch.setattr(Speech, "dim", 32)


def documents(n: int = N, first: int = 0) -> list[Document]:
    return [
        Document(f"d{i}", f"{i % TOPICS} {i}", metadata={"number": i, "topic": i % TOPICS})
        for i in range(first, first + n)
    ]


QUERIES = [f"{topic} {90_000 + topic}" for topic in range(TOPICS)]
RECIPES: dict[str, dict[str, Any]] = {
    "tokens none": {"index": "tokens", "codec": "none"},
    "tokens pq 4": {"index": "tokens", "codec": "pq", "m": 8},
    "tokens pq 8": {"index": "tokens", "codec": "pq", "m": 5, "nbits": 8},
    "tokens bits 1": {"index": "tokens", "codec": "bits", "bits": 1},
    "tokens bits 2": {"index": "tokens", "codec": "bits", "bits": 2, "buckets": "dimension"},
    "tokens bits 4": {"index": "tokens", "codec": "bits", "bits": 4},
    "tokens ternary": {"index": "tokens", "codec": "ternary"},
    "pca tokens": {"index": "tokens", "reduce": "pca:16", "codec": "pq"},
    "few centroids": {"index": "tokens", "codec": "none", "ncentroids": 5},
    "muvera ivf": {"index": "ivf", "reduce": "muvera:1024", "bits": 4, "reps": 16, "ksim": 3, "proj_dim": 8},
    "muvera flat": {"index": "flat", "reduce": "muvera:128", "bits": 4, "scan_bits": 1, "reps": 2, "ksim": 3},
    "muvera hnsw": {"index": "hnsw", "codec": "int8", "reduce": "muvera:128", "reps": 2, "ksim": 3},
    "chain": {"index": "flat", "reduce": "pca:16+muvera:256+pca:64", "codec": "pq", "reps": 4, "ksim": 3},
    "lemur flat": {"index": "flat", "reduce": "lemur:64", "codec": "float16"},
    "lemur ivf": {"index": "ivf", "reduce": "lemur:64", "bits": 4},
}
FEWER = ["tokens none", "tokens pq 4", "muvera ivf", "lemur flat"]
"""One of each kind, where the kind decides."""


def config_of(name: str, precision: str = "float16", **changes: Any) -> IndexConfig:
    """Few questions measure the recipe."""
    recipe = RecipeConfig.of(**{"held_out": 24, **RECIPES[name], **changes})
    return IndexConfig.of(recipe=recipe, precision=precision, segment_documents=250)


def build(
    folder: Path,
    name: str,
    precision: str = "float16",
    metric: str = "maxsim",
    given: Sequence[Document] | None = None,
    **changes: Any,
) -> Engine:
    encoder, config = Speech(metric), config_of(name, precision, **changes)
    Engine.build(folder, documents() if given is None else given, encoder, config=config, runtime=MANUAL)
    return Engine.open(folder, encoder, runtime=MANUAL)


def found(engine: Engine, query: str, k: int = 10, **params: Any) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in engine.search(query, k, fields=(), **params)]


def plan_of(engine: Engine, query: str = QUERIES[0], **params: Any) -> dict[str, Any]:
    plan = engine.search(query, 10, fields=(), explain="plan", **params).plan
    assert plan is not None
    return dict(plan)


def recall(engine: Engine, k: int = 10, **params: Any) -> float:
    hits = wanted = 0
    for query in QUERIES:
        truth = {doc_id for doc_id, _ in found(engine, query, k, **{**params, "params": EXACT})}
        hits += len(truth & {doc_id for doc_id, _ in found(engine, query, k, **params)})
        wanted += len(truth)
    return hits / wanted


def check_whole(engine: Engine, queries: Sequence[str] = QUERIES[::7], **params: Any) -> None:
    """With all effort the answers are the exact ones, and the recipe gave them."""
    for query in queries:
        for k in (1, 10):
            whole = found(engine, query, k, params=EVERYTHING, **params)
            assert whole == found(engine, query, k, params=EXACT, **params)
    assert "probe" in plan_of(engine, params=EVERYTHING, **params)["segments"]


@pytest.mark.parametrize("name", RECIPES)
def test_with_all_effort_a_trained_search_answers_as_an_exact_one(tmp_path: Path, name: str) -> None:
    with build(tmp_path / "index", name) as engine:
        check_whole(engine)
        assert set(plan_of(engine, params=EVERYTHING)["segments"]) == {"probe"}
        assert engine.verify().ok


@pytest.mark.parametrize("name", ["tokens none", "tokens pq 4", "muvera ivf"])
def test_the_mean_of_maxima(tmp_path: Path, name: str) -> None:
    with build(tmp_path / "index", name, metric="meanmaxsim") as engine:
        check_whole(engine)
        best = engine.search("3 3", 1, params=EVERYTHING)[0]
        vectors = engine.encoder.encode_query(["3 3"])[0], engine.encoder.encode_document(["3 3"])[0]
        assert best.score <= 1 + 1e-3  # stored as float16
        if best.id == "d3":
            assert best.score == pytest.approx((vectors[0] @ vectors[1].T).max(axis=1).mean(), abs=1e-3)


@pytest.mark.parametrize("name", FEWER)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_precision_of_the_stored_vectors(tmp_path: Path, name: str, precision: str) -> None:
    with build(tmp_path / "index", name, precision) as engine:
        assert engine.inspect().precision == precision
        check_whole(engine)
        assert engine.verify().ok


def test_scores_are_maxsim_of_what_is_stored(tmp_path: Path) -> None:
    """First principles: no kernel, no index; float32 stores the encoder's own numbers."""
    encoder, given = Speech(), documents()
    vectors = encoder.encode_document([document.text for document in given])
    for name in FEWER[:3]:
        with build(tmp_path / name, name, "float32") as engine:
            for query in QUERIES[:5]:
                asked = encoder.encode_query([query])[0].astype(np.float64)
                scores = np.array([(asked @ each.T.astype(np.float64)).max(axis=1).sum() for each in vectors])
                best = np.argsort(-scores)[:10]
                hits = found(engine, query, params=EVERYTHING)
                assert [doc_id for doc_id, _ in hits] == [given[i].id for i in best]
                np.testing.assert_allclose([score for _, score in hits], scores[best], rtol=1e-6)


# -- what little effort finds ---------------------------------------------------------------------


@pytest.fixture
def probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans probe however few documents there are, and postings say which of them are looked at."""
    monkeypatch.setattr("retrieval.search.plan.OVERHEAD", -1e15)
    monkeypatch.setattr(FEW, 0)
    monkeypatch.setattr(LEAST, 64)


@pytest.mark.parametrize("name", FEWER)
def test_the_recall_target_is_kept(tmp_path: Path, name: str, probing: None) -> None:
    with build(tmp_path / "index", name, held_out=64) as engine:
        for target in (0.8, 0.95):
            plan = plan_of(engine, params={"recall_target": target})
            assert (plan["segments"], plan["recall_target"]) == ({"probe": 1}, target)
            best = max(
                p["recall"] for p in (engine.inspect().quality or {})["curve"]["points"] if p["k"] == 10
            )
            assert recall(engine, params={"recall_target": target}) >= min(target, best) - 0.08


@pytest.mark.parametrize("gathers", [True, False])
def test_a_search_in_one_call_is_that_in_steps(
    tmp_path: Path, gathers: bool, monkeypatch: pytest.MonkeyPatch, probing: None, longer: None
) -> None:
    """With deletes, filters and both; to say what was done, a search takes the steps."""
    monkeypatch.setattr(FEW, 0 if gathers else N)
    with build(tmp_path / "index", "tokens none", "int8") as engine:
        engine.delete([f"d{i}" for i in range(0, N, 7)])
        for wanted in (None, {"number": {"lt": N // 2}}, {"number": {"lt": N // 9}}, {"number": {"lt": 0}}):
            for params in (None, {"nprobe": 2, "num_candidates": 20}, {"nprobe": 9, "num_candidates": N}):
                for query in QUERIES[::5]:
                    stepwise = engine.search(
                        query, 10, fields=(), filter=wanted, params=params, explain="plan"
                    )
                    assert found(engine, query, filter=wanted, params=params) == [
                        (hit.id, hit.score) for hit in stepwise
                    ]


@pytest.mark.parametrize("name", ["tokens none", "tokens pq 4", "few centroids"])
def test_gathering_with_all_probes_loses_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with build(tmp_path / "index", name) as engine:
        monkeypatch.setattr(FEW, 0)
        monkeypatch.setattr("retrieval.index.token_search.GATHERED", 1)
        monkeypatch.setattr(LEAST, 10**6)
        params = {"nprobe": 10**6, "num_candidates": N - 1, "num_scored": N - 1}
        for query in QUERIES:
            assert found(engine, query, params=params) == found(engine, query, params=EXACT)
        plan = plan_of(engine, params=params)
        assert plan["segments"] == {"probe": 1}
        assert plan["vectors_read"] > 0


@pytest.mark.parametrize("enough", [0.0, 2.0])
def test_more_documents_are_tried_where_recall_is_out_of_reach(
    tmp_path: Path, enough: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SCORED": (8, 16), "DEEPER": (16, 64, 2 * N), "ENOUGH": enough}.items():
        monkeypatch.setattr(f"retrieval.training.measure.{name}", value)
    with build(tmp_path / "index", "tokens none") as engine:
        quality = engine.located()[0].snapshot.record.quality
        assert quality is not None
        tried = {point["scored"] for point in quality["curve"]["points"]}
        assert (64 in tried) == (enough > 1) and 2 * N not in tried


@pytest.mark.parametrize("ncentroids", [1, 2, 3, 4])
def test_fewer_centroids_than_are_probed(tmp_path: Path, ncentroids: int, probing: None) -> None:
    with build(tmp_path / "index", "tokens bits 2", ncentroids=ncentroids) as engine:
        check_whole(engine)
        assert recall(engine) > 0.5
        assert plan_of(engine)["nprobe"] <= ncentroids


@pytest.mark.parametrize("name", FEWER)
def test_a_filter_of_any_selectivity_is_filled_with_the_right_ones(
    tmp_path: Path, name: str, probing: None
) -> None:
    with build(tmp_path / "index", name) as engine:
        for share in (0.001, 0.01, 0.05, 0.3, 0.6, 0.9):
            wanted = {"number": {"lt": max(1, round(share * N))}}
            accepted = {f"d{i}" for i in range(max(1, round(share * N)))}
            check_whole(engine, QUERIES[::11], filter=wanted)
            for params in (None, {"nprobe": 1}, {"nprobe": 1, "num_candidates": 1, "num_scored": 1}):
                for query in QUERIES[::6]:
                    hits = {doc_id for doc_id, _ in found(engine, query, filter=wanted, params=params)}
                    assert len(hits) == min(10, len(accepted))
                    assert hits <= accepted
            # Of few accepted documents the best lie far from the query, where centroids tell them apart
            # less than those that were measured; with so few a plan would not probe.
            assert recall(engine, filter=wanted) > (0.7 if share < 0.3 else 0.85), share


@pytest.mark.parametrize("name", FEWER)
def test_a_filter_that_accepts_only_what_is_far_from_the_query(
    tmp_path: Path, name: str, probing: None
) -> None:
    with build(tmp_path / "index", name) as engine:
        hits = 0
        for topic, query in enumerate(QUERIES):
            wanted = {"must_not": [{"key": "topic", "match": {"any": [topic, (topic + 1) % TOPICS]}}]}
            truth = {doc_id for doc_id, _ in found(engine, query, filter=wanted, params=EXACT)}
            result = engine.search(query, 10, filter=wanted, fields=(), explain="plan")
            assert (result.plan or {})["expected_recall"] is None
            assert "probe" in (result.plan or {})["segments"]
            assert not {hit.id for hit in result} & {f"d{i}" for i in range(topic, N, TOPICS)}
            hits += len(truth & {hit.id for hit in result})
        assert hits / (10 * TOPICS) > 0.85


@pytest.mark.parametrize("name", ["tokens none", "tokens pq 4"])
def test_the_plan_says_what_was_done(tmp_path: Path, name: str, probing: None) -> None:
    with build(tmp_path / "index", name) as engine:
        tokens = [
            plan_of(engine, params={"nprobe": n, "num_candidates": 7, "num_scored": 10})["codes_scanned"]
            for n in (1, 4, 64)
        ]
        assert tokens == sorted(tokens)
        assert tokens[0] < tokens[-1]
        plan = plan_of(engine, params={"nprobe": 3, "num_candidates": 20, "num_scored": 30})
        assert (plan["nprobe"], plan["num_candidates"], plan["num_scored"]) == (3, 20, 30)
        assert plan["expected_recall"] is None
        assert 20 * 4 <= plan["vectors_read"] <= 20 * 13
        assert plan["pages_read"] > 0
        if name == "tokens pq 4":
            less = plan_of(engine, params={"nprobe": 3, "num_candidates": 20, "num_scored": 20})
            assert less["codes_scanned"] < plan["codes_scanned"]
        exact = plan_of(engine, params=EXACT)
        assert exact["segments"] == {"exact": 1}
        assert exact["vectors_read"] == sum(
            len(v) for v in Speech().encode_document([d.text for d in documents()])
        )
        slow = plan_of(engine)
        fast = plan_of(engine, params={"budget_ms": 1e-9})
        assert fast["num_candidates"] <= slow["num_candidates"]
        assert (fast["expected_recall"] or 0) <= (slow["expected_recall"] or 0)


def test_a_batch_is_answered_as_one_query_after_the_other(tmp_path: Path, probing: None) -> None:
    with build(tmp_path / "index", "tokens pq 4") as engine:
        engine.add(documents(300, N))
        engine.flush()
        params = {"nprobe": 2, "num_candidates": 12, "num_scored": 40}
        alone = [found(engine, query, params=params) for query in QUERIES]
        batch = engine.search_batch(QUERIES, 10, fields=(), params=params)
        assert [[(hit.id, hit.score) for hit in result] for result in batch] == alone


# -- changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEWER)
def test_changes_are_found_at_once_and_after_every_upkeep(tmp_path: Path, name: str) -> None:
    with build(tmp_path / "index", name) as engine:
        for upkeep in (lambda: None, engine.flush, engine.maintain, engine.compact):
            engine.upsert([Document("new", "7 123456", metadata={"number": -1})])
            engine.upsert([Document("d8", "7 123457", metadata={"number": 8})])
            engine.delete(["d7", "d37"])
            engine.add([Document(f"more {upkeep}", "9 1"), Document(f"mute {upkeep}", "...")])
            upkeep()
            for query, wanted in (("7 123456", "new"), ("7 123457", "d8")):
                exact = found(engine, query, 20, params=EXACT)
                assert found(engine, query, 20, params=EVERYTHING) == exact
                assert wanted in dict(exact)
                assert not {"d7", "d37"} & set(dict(exact))
            check_whole(engine)
            check_whole(engine, filter={"number": {"lt": 300}})
            assert engine.verify().ok
        assert engine.inspect().recipe is not None
        assert len(engine) == N + 1 - 2 + 8


@pytest.mark.parametrize("name", FEWER)
def test_after_half_is_deleted_answers_are_those_of_a_fresh_build(
    tmp_path: Path, name: str, probing: None
) -> None:
    gone = [f"d{i}" for i in np.random.default_rng(3).permutation(N)[: N // 2]]
    left = [document for document in documents() if document.id not in set(gone)]
    with build(tmp_path / "fresh", name, given=left) as fresh, build(tmp_path / "index", name) as engine:
        expected = [found(fresh, query, params=EXACT) for query in QUERIES]
        assert engine.delete(gone) == len(gone)
        for upkeep in (lambda: None, engine.maintain, engine.compact, lambda: engine.compact(retrain=True)):
            upkeep()
            assert [found(engine, query, params=EXACT) for query in QUERIES] == expected
            assert [found(engine, query, params=EVERYTHING) for query in QUERIES] == expected
            assert recall(engine) > recall(fresh) - 0.05
            with_filter = [found(engine, query, filter={"number": {"lt": 90}}) for query in QUERIES]
            assert all(len(hits) == 10 for hits in with_filter)
        # Retrained on the same documents: the same answers with any effort.
        hardly = {"nprobe": 1, "num_candidates": 12, "num_scored": 24}
        for query in QUERIES:
            assert found(engine, query, params=hardly) == found(fresh, query, params=hardly)


def test_an_index_gets_one_recipe_after_another_and_loses_it_again(tmp_path: Path) -> None:
    encoder, index = Speech(), tmp_path / "index"
    Engine.build(index, documents(), encoder, config=IndexConfig.of(segment_documents=250), runtime=MANUAL)
    with (
        Engine.open(index, encoder, runtime=MANUAL) as engine,
        Engine.open(index, encoder, runtime=MANUAL) as reader,
    ):
        exact = [found(reader, query) for query in QUERIES]
        for name in ("tokens pq 4", "muvera ivf", "tokens none", "chain"):
            report = engine.compact(recipe=config_of(name).recipe)
            assert report.training is not None
            assert [found(reader, query, params=EVERYTHING) for query in QUERIES] == exact
            assert set(plan_of(reader, params=EVERYTHING)["segments"]) == {"probe"}
            assert len(list((index / "codecs").iterdir())) == 1
            assert engine.verify().ok
        for precision in ("int8", "float16"):  # once bytes, scores are those of bytes
            engine.compact(precision, recipe=config_of("tokens bits 1").recipe)
            check_whole(reader)
        engine.compact(recipe=RecipeConfig())
        assert engine.inspect().recipe is None
        assert not list((index / "codecs").iterdir())
        assert set(plan_of(reader)["segments"]) == {"exact"}
        assert engine.verify().ok


def untimed(quality: Any) -> dict[str, Any]:
    """What was measured but for how fast it was."""
    assert quality["curve"]["points"]
    return {**quality, "curve": {**quality["curve"], "pace": None, "preparing": None}}


def trained_files(index: Path) -> dict[str, bytes]:
    """Codec and arrangement, by name without the number of the generation or segment."""
    found = [*index.glob("codecs/*/*.bin"), *index.glob("segments/*/arranged-*.bin")]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize("name", FEWER)
def test_training_is_a_function_of_documents_and_seed(tmp_path: Path, name: str) -> None:
    with build(tmp_path / "index", name) as engine:
        before, quality = trained_files(tmp_path / "index"), untimed(engine.inspect().quality)
        assert any("arranged" in file for file in before)
        engine.compact(retrain=True)
        assert untimed(engine.inspect().quality) == quality
    build(tmp_path / "again", name).close()
    for other in ("index", "again"):
        after = trained_files(tmp_path / other)
        assert after.keys() == before.keys()
        for file, content in before.items():
            assert after[file] == content, (other, file)


@pytest.mark.parametrize("name", ["muvera ivf", "muvera flat"])
def test_a_filter_that_leaves_out_what_is_near_the_query(tmp_path: Path, name: str, probing: None) -> None:
    """The best that are left lie beyond what the recall curve was measured on, by folds too."""
    with build(tmp_path / "index", name) as engine:
        sought = hits = 0
        for topic, query in enumerate(QUERIES[::3]):
            others = {"topic": [t for t in range(TOPICS) if t != 3 * topic and t % 2]}
            truth = {doc_id for doc_id, _ in found(engine, query, filter=others, params=EXACT)}
            mine = {doc_id for doc_id, _ in found(engine, query, filter=others)}
            assert len(mine) == len(truth) == 10
            sought, hits = sought + 10, hits + len(truth & mine)
            hard = {"num_candidates": 1, "nprobe": 1}
            assert len(found(engine, query, filter=others, params=hard)) == 10
        assert hits > 0.9 * sought


def test_an_index_that_has_outgrown_its_curve_promises_nothing_and_looks_harder(
    tmp_path: Path, probing: None
) -> None:
    with build(tmp_path / "index", "tokens pq 4", recall_target=0.8) as engine:
        before = plan_of(engine)
        assert before["expected_recall"] >= 0.8
        engine.add(documents(2 * N, first=N))
        engine.compact()
        after = plan_of(engine)
        assert after["expected_recall"] is None
        assert after["num_candidates"] >= 2 * before["num_candidates"]
        check_whole(engine)


@pytest.mark.parametrize("n", [1, 2, 9, 33])
@pytest.mark.parametrize("name", ["tokens none", "tokens bits 1", "muvera ivf", "lemur flat"])
def test_hardly_any_documents(tmp_path: Path, n: int, name: str) -> None:
    config = config_of(name, **({"reduce": "lemur:8"} if name == "lemur flat" else {}))
    Engine.build(tmp_path / "index", documents(n), Speech(), config=config, runtime=MANUAL, force=True)
    with Engine.open(tmp_path / "index", Speech(), runtime=MANUAL) as engine:
        assert found(engine, "3 3", params=EVERYTHING) == found(engine, "3 3", params=EXACT)
        engine.delete([f"d{i}" for i in range(n)])
        assert found(engine, "3 3", params=EVERYTHING) == []
        engine.compact()
        assert found(engine, "3 3", params=EVERYTHING) == []
        engine.add(documents(3))
        engine.flush()
        assert len(found(engine, "3 3", params=EVERYTHING)) == 3


@pytest.mark.parametrize("name", FEWER)
def test_documents_without_tokens_are_documents(tmp_path: Path, name: str) -> None:
    mute = [Document(f"mute{i}", "..." + "." * i, metadata={"number": -1}) for i in range(40)]
    given = [*mute[:20], *documents(200), *mute[20:]]
    with build(tmp_path / "index", name, given=given) as engine:
        check_whole(engine)
        for params in (EVERYTHING, None, {"nprobe": 1, "num_candidates": 1, "num_scored": 1}):
            hits = found(engine, QUERIES[0], 50, filter={"number": -1}, params=params)
            assert hits == [(doc_id, 0) for doc_id in sorted(document.id for document in mute)]
        engine.delete([f"d{i}" for i in range(200)])
        engine.compact()
        assert len(found(engine, QUERIES[0], 50, params=EVERYTHING)) == 40
        assert engine.verify().ok


def test_a_segment_of_nothing_but_silence_is_kept(tmp_path: Path) -> None:
    for name in FEWER[:3]:
        with build(tmp_path / name, name) as engine:
            engine.add([Document(f"mute{i}", "...", metadata={"number": i}) for i in range(5)])
            engine.flush()
            check_whole(engine)
            assert len(found(engine, QUERIES[0], N + 5, params=EVERYTHING)) == N + 5
            assert engine.verify().ok


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEWER)
def test_copies_carry_what_was_trained(tmp_path: Path, name: str, probing: None) -> None:
    params = {"nprobe": 2, "num_candidates": 15, "num_scored": 40}
    with build(tmp_path / "index", name, "int8") as engine:
        engine.add(documents(20, N))
        before = [found(engine, query, params=params) for query in QUERIES[:5]]
        engine.snapshot(tmp_path / "copy")
    export_index(tmp_path / "index", tmp_path / "one.tar")
    import_index(tmp_path / "one.tar", tmp_path / "imported")
    for copy in ("copy", "imported"):
        assert verify_index(tmp_path / copy).ok
        with Engine.open(tmp_path / copy, Speech(), runtime=MANUAL) as engine:
            assert [found(engine, query, params=params) for query in QUERIES[:5]] == before


class Mute(Speech):
    """Refuses to encode documents: what is derived from codes needs no model."""

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        raise AssertionError("nothing is to be encoded")


@pytest.mark.parametrize("name", FEWER)
def test_what_the_search_keeps_is_made_again_of_the_stored_vectors(tmp_path: Path, name: str) -> None:
    index = tmp_path / "index"
    with build(index, name) as engine:
        engine.add(documents(30, N))
        engine.flush()
        expected = [found(engine, query, params=EXACT) for query in QUERIES[:5]]
    whole = {path: path.read_bytes() for path in index.glob("segments/*/arranged-*.bin")}
    filled = [path for path, content in whole.items() if content]
    assert len(filled) > (4 if "tokens" in name else 1)
    for path in filled:
        content = bytearray(whole[path])
        content[len(content) // 2] ^= 64
        path.write_bytes(content)
    assert len(verify_index(index).problems) == len(filled)
    with Engine.open(index, Speech(), runtime=MANUAL, skip_damaged=True) as engine:
        assert [found(engine, query, params=EVERYTHING) for query in QUERIES[:5]] == expected
    report = repair_index(index, Mute())
    assert (report.documents, report.search, report.lost) == (0, None, ())
    assert verify_index(index).ok
    assert trained_files(index).keys() >= {path.name for path in whole}
    with Engine.open(index, Speech(), runtime=MANUAL) as engine:
        assert [found(engine, query, params=EVERYTHING) for query in QUERIES[:5]] == expected
        check_whole(engine)


@pytest.mark.parametrize("name", FEWER)
@pytest.mark.parametrize("stage", ["train", "write", "measure"])
def test_a_conversion_that_is_killed_leaves_the_index_as_it_was(
    tmp_path: Path, name: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with build(index, "few centroids") as engine:
        engine.add(documents(20, N))
        before = [found(engine, query, params=EXACT) for query in QUERIES[:5]]
        files = set(index.rglob("*.bin"))
        told = {
            "train": "retrieval.training.trainer.fit",
            "write": "retrieval.conversion.write_merged",
            "measure": "retrieval.training.trainer.measure",
        }[stage]
        with monkeypatch.context() as patched:
            patched.setattr(told, killed)
            with pytest.raises(KeyboardInterrupt):
                engine.compact(recipe=config_of(name).recipe)
        # What was pending may have become a segment: it takes what is added meanwhile as one of its own.
        now, folded = set(index.rglob("*.bin")), set() if stage == "train" else {"codes.bin", "offsets.bin"}
        assert now >= files and {path.name for path in now - files} == folded
        assert (engine.inspect().recipe or {})["ncentroids"] == 5
        assert [found(engine, query, params=EXACT) for query in QUERIES[:5]] == before
        assert engine.verify().ok
        engine.compact(recipe=config_of(name).recipe)
        assert [found(engine, query, params=EVERYTHING) for query in QUERIES[:5]] == before


def test_a_build_that_was_killed_before_training_is_searched_exactly_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, encoder, index = config_of("tokens pq 4", "int8"), Speech(), tmp_path / "index"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("retrieval.conversion.write_merged", killed)
        with pytest.raises(KeyboardInterrupt):
            Engine.build(index, documents(), encoder, config=config, runtime=MANUAL)
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        assert engine.inspect().recipe is None
        assert len(engine.search("3 3")) == 10
    report = Engine.build(index, documents(), encoder, config=config, runtime=MANUAL, resume=True)
    assert report.training is not None
    assert inspect_index(index).precision == "int8"
    with Engine.open(index, encoder, runtime=MANUAL) as engine:
        check_whole(engine)


# -- what is refused ------------------------------------------------------------------------------


def test_folds_are_divided_by_their_own_dimensions(tmp_path: Path) -> None:
    """A fold of 256 dimensions has more pieces than a token has dimensions."""
    with build(tmp_path / "index", "chain", reduce="muvera:256", m=2 * DIM) as engine:
        check_whole(engine)


class Never(Speech):
    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        raise AssertionError("encoded")


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"index": "ivf"}, "one vector a document"),
        ({"index": "flat", "codec": "pq"}, "one vector a document"),
        ({"index": "hnsw", "codec": "int8"}, "one vector a document"),
        ({"index": "funnel"}, "one vector a document"),
        ({"index": "tokens", "reduce": "muvera:64"}, "leaves no tokens"),
        ({"index": "tokens", "codec": "int8"}, "codec=int8: the index tokens takes"),
        ({"index": "tokens", "codec": "bits", "bits": 8}, "bits=8: the index tokens takes"),
        ({"index": "tokens", "codec": "none", "reduce": f"pca:{DIM + 1}"}, "cannot make 25 dimensions"),
        ({"index": "flat", "reduce": "muvera:64+pca:65"}, "cannot make 65 dimensions of 64"),
        ({"index": "flat", "reduce": "muvera:64+lemur:32"}, "made one only once"),
        ({"index": "flat", "reduce": "muvera:0"}, "at least"),
        ({"index": "flat", "reduce": "muvera:99999"}, "only 10240 numbers to give"),
        ({"index": "flat", "reduce": "pca:8+muvera:6000"}, "only 5120 numbers to give"),
        ({"index": "funnel", "reduce": "muvera:64"}, "funnel"),
        ({"index": "tokens", "codec": "pq", "m": DIM + 1}, "only 24 dimensions"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_before_anything_is_encoded(
    tmp_path: Path, recipe: dict[str, Any], told: str
) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(**recipe))
    with pytest.raises(ConfigError, match=told):
        Engine.build(tmp_path / "index", documents(5), Never(), config=config, runtime=MANUAL)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (PRESETS["tokens"], "for one vector a token"),
        (PRESETS["muvera"], "for one vector a token"),
        (PRESETS["lemur"], "for one vector a token"),
    ],
)
def test_a_late_recipe_is_refused_for_dense_vectors(
    tmp_path: Path, recipe: dict[str, Any], told: str
) -> None:
    config, encoder = IndexConfig.of(recipe=RecipeConfig.of(**recipe)), HashingDense(16)
    with pytest.raises(ConfigError, match=told):
        Engine.build(tmp_path / "index", documents(5), encoder, config=config, runtime=MANUAL)
    assert not (tmp_path / "index").exists()
    Engine.build(tmp_path / "index", documents(5), encoder, runtime=MANUAL)
    with Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as engine:
        with pytest.raises(ConfigError, match=told):
            engine.compact(recipe=config.recipe)
        assert engine.inspect().recipe is None


def test_a_dense_recipe_is_refused_for_a_late_index_that_is_there(tmp_path: Path) -> None:
    with build(tmp_path / "index", "few centroids") as engine:
        for recipe in (PRESETS["fast"], PRESETS["graph"]):
            with pytest.raises(ConfigError, match="one vector a document"):
                engine.compact(recipe=RecipeConfig.of(**recipe))
        assert (engine.inspect().recipe or {})["index"] == "tokens"
        check_whole(engine)


@pytest.mark.parametrize("nothing", [[], [Document("a", "..."), Document("b", "...")]])
@pytest.mark.parametrize("name", FEWER)
def test_without_tokens_nothing_is_trained(tmp_path: Path, name: str, nothing: list[Document]) -> None:
    with Engine.create(tmp_path / "index", Speech(), runtime=MANUAL) as engine:
        engine.add(nothing)
        with pytest.raises(ConfigError, match="train on"):
            engine.compact(recipe=config_of(name).recipe, force=True)
        assert len(engine.search("3 3")) == len(nothing)
        assert engine.verify().ok


def test_a_build_whose_recipe_fails_at_the_end_says_that_the_documents_are_in(tmp_path: Path) -> None:
    config = config_of("tokens none", ncentroids=10**6)
    with pytest.raises(
        ConfigError, match=r"ncentroids=1000000.*documents are in .*index and searched exactly"
    ):
        Engine.build(tmp_path / "index", documents(40), Speech(), config=config, runtime=MANUAL)
    with Engine.open(tmp_path / "index", Speech(), runtime=MANUAL) as engine:
        assert len(engine) == 40
        assert engine.search("7 7", 1)[0].id == "d7"


def trained_on(engine: Engine) -> Trained:
    with Catalog.open(engine.path) as catalog:
        return load_trained(engine.path, catalog.codec())


def build_given(folder: Path, given: Any, precision: str, **recipe: Any) -> Engine:
    encoder, config = Speech(), RecipeConfig.of(held_out=24, **recipe)
    stored = IndexConfig.of(recipe=config, precision=precision)
    Engine.build(folder, documents(300), encoder, config=stored, runtime=MANUAL, codec=given)
    return Engine.open(folder, encoder, runtime=MANUAL)


@pytest.mark.parametrize("precision", ["float16", "residual"])
def test_codes_of_tokens_trained_elsewhere(tmp_path: Path, precision: str) -> None:
    """The index codes by what it was given, in place of training its own, and goes on to."""
    words = np.concatenate(Speech().encode_document([document.text for document in documents(200, 500)]))
    elsewhere = ResidualCodec.fit(words, len(words), {"codec": "pq", "m": 6, "ncentroids": 40})
    books = elsewhere.state()[1]["residual/codebooks"]
    given = residual_from_arrays(elsewhere.centroids, books)
    with build_given(tmp_path / "i", given, precision, index="tokens", codec="pq", m=8) as engine:
        engine.add(documents(20, first=300))
        engine.compact()
        trained, recipe = trained_on(engine), engine.inspect().recipe or {}
        assert (recipe["codec"], recipe["m"], recipe["ncentroids"]) == ("pq", 6, 40)
        assert isinstance(trained.pipeline, TokenPipeline)
        used = trained.pipeline.index.codec
        np.testing.assert_array_equal(used.centroids, given.centroids)
        np.testing.assert_array_equal(used.encode(words), given.encode(words))
        assert recall(engine) >= 0.9 and engine.verify().ok
        if precision == "residual":
            np.testing.assert_array_equal(trained.codec.encode(words), given.encode(words))
            with pytest.raises(ConfigError, match="keeps nothing but codes"):
                engine.compact(codec=given)


@pytest.mark.parametrize("recipe", [{}, {"index": "tokens", "codec": "none"}], ids=["exact", "tokens"])
def test_bytes_of_tokens_calibrated_elsewhere(tmp_path: Path, recipe: dict[str, Any]) -> None:
    given = int8_from_arrays(np.full(DIM, -1.5), np.full(DIM, 3 / 255))
    with build_given(tmp_path / "i", given, "int8", **recipe) as engine:
        assert engine.inspect().precision == "int8"
        np.testing.assert_array_equal(trained_on(engine).codec.state()[1]["low"], given.low)
        assert recall(engine) >= 0.9


def test_codes_of_folded_documents_trained_elsewhere(tmp_path: Path) -> None:
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((128, 128)))[0]
    recipe = {"index": "flat", "reduce": "muvera:128", "reps": 2, "ksim": 3}
    with build_given(tmp_path / "i", bits_from_arrays(rotation, 4), "float16", **recipe) as engine:
        found_by = trained_on(engine).pipeline
        assert isinstance(found_by, FoldPipeline) and isinstance(found_by.vectors, Pipeline)
        stored = found_by.vectors.index.state()[1]["codec/rotation"]
        np.testing.assert_array_equal(stored, rotation.astype(np.float32))


@pytest.mark.parametrize(
    ("recipe", "precision", "codec", "told"),
    [
        ({"index": "tokens"}, "float16", residual_from_arrays(np.eye(8)), "is of 8 dimensions, and what"),
        (
            {"index": "tokens", "reduce": "pca:16"},
            "float16",
            residual_from_arrays(np.eye(DIM)),
            "code has 16",
        ),
        ({"index": "tokens"}, "residual", residual_from_arrays(np.eye(DIM)), "residual needs codes"),
        (
            {"index": "tokens"},
            "float16",
            int8_from_arrays(np.zeros(DIM), np.ones(DIM)),
            "takes no such codec",
        ),
        ({"index": "tokens"}, "float16", pq_from_arrays(np.zeros((6, 16, 4))), "takes no such codec"),
        (
            {"index": "flat", "reduce": "muvera:128"},
            "float16",
            residual_from_arrays(np.eye(DIM)),
            "index=flat takes no such codec",
        ),
        ({}, "residual", residual_from_arrays(np.eye(DIM)), "index=exact takes no codec"),
    ],
    ids=["dimension", "reduced", "no codes", "bytes", "pq", "folded", "exact"],
)
def test_codecs_of_tokens_that_do_not_fit(
    tmp_path: Path, recipe: dict[str, Any], precision: str, codec: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_given(tmp_path / "i", codec, precision, **recipe)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("tokens none", "int8"),
        ("tokens pq 4", "float16"),
        ("tokens pq 4", "residual"),
        ("muvera ivf", "int8"),
    ],
)
def test_threads_that_share_a_query_change_nothing(
    tmp_path: Path, name: str, precision: str, monkeypatch: pytest.MonkeyPatch, probing: None, longer: None
) -> None:
    monkeypatch.setattr("retrieval.kernels.gather.cpu.SHARED", 1)
    monkeypatch.setattr("retrieval.index.token_search.MANY", 4)
    with build(tmp_path / "index", name, precision) as one:
        one.add(
            [Document(f"more {i}", f"{i % TOPICS} {i + 5000}", metadata={"number": i}) for i in range(90)]
        )
        one.flush()
        one.add([Document("pending", "7 6000", metadata={"number": 0}), Document("mute", "...")])
        three = Engine.open(one.path, Speech(), runtime=MANUAL.model_copy(update={"query_threads": 3}))
        with three:
            for params in (EXACT, EVERYTHING, None, {"nprobe": 2, "num_candidates": 60, "num_scored": 80}):
                for given in ({}, {"filter": {"number": {"lt": 300}}}):
                    for query in QUERIES[::9]:
                        assert found(three, query, params=params, **given) == found(
                            one, query, params=params, **given
                        )
