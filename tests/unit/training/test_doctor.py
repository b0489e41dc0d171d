"""Recipes tried on a sample, `auto`, collapsed scores, and documents that drift from their centroids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig
from retrieval.errors import CollapsedError, ConfigError
from retrieval.training import check_spread, maxsim_spread
from retrieval.training.doctor import TRIED, Trial, candidates, choose
from retrieval.types import FloatArray, Ragged
from tests.encoders import HashingDense

DIM, TOPICS, N = 32, 20, 600
MANUAL = RuntimeConfig.of(maintenance="manual")


class Topics:
    """Six words a text, of one of twenty topics; numbers from 10,000 on speak of others."""

    kind, metric, dim = "late", "maxsim", DIM

    def __init__(self, spread: float = 1.0) -> None:
        self._spread = spread

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "topics"}

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        return [self._encode(int(text)) for text in texts]

    encode_query = encode_document

    def _encode(self, number: int) -> FloatArray:
        topic = number % TOPICS + (1000 if number >= 10_000 else 0)
        words = np.random.default_rng(topic).standard_normal((6, DIM))
        words += 0.3 * np.random.default_rng([7, number]).standard_normal((6, DIM))
        words = self._spread * words + np.ones(DIM) * (1 - self._spread) * 10
        return (words / np.linalg.norm(words, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.reduce.lemur.PROBES", 1000)
    monkeypatch.setattr("retrieval.reduce.lemur.ANCHORS", 600)


def texts(first: int = 0, n: int = N) -> list[Document]:
    return [Document(str(i), str(i)) for i in range(first, first + n)]


def test_the_doctor_measures_every_recipe_and_changes_nothing(tmp_path: Path) -> None:
    Engine.build(tmp_path / "index", texts(), Topics(), runtime=MANUAL)
    told: list[str] = []
    with Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as engine:
        before = engine.inspect()
        report = engine.diagnose(progress=lambda stage, _: told.append(stage))
        assert engine.inspect() == before
    assert [trial["name"] for trial in report["trials"]] == list(TRIED["late"])
    assert told == ["sample", *(f"try {name}" for name in TRIED["late"])]
    assert report["documents"] == N
    assert report["tokens"] == 6 * N
    assert report["maxsim_spread"] > 0.05
    assert report["geometry"]["effective_rank"] > 5
    measured = [trial for trial in report["trials"] if trial["failed"] is None]
    assert len(measured) >= 3
    assert all(0.5 < trial["recall"] <= 1 and trial["seconds"] > 0 for trial in measured)
    reaching = [trial for trial in measured if trial["cost_ms"] is not None]
    assert report["chosen"] == min(reaching, key=lambda trial: trial["cost_ms"])["name"]


def test_auto_becomes_what_the_doctor_chose_and_stays_it(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="auto", held_out=32, recall_target=0.9))
    report = Engine.build(tmp_path / "index", texts(), Topics(), config=config, runtime=MANUAL)
    assert report.training is not None
    quality = report.training.quality or {}
    chosen = dict(candidates("late", config.recipe))[quality["doctor"]["chosen"]]
    again = Engine.build(tmp_path / "index", texts(), Topics(), config=config, runtime=MANUAL, resume=True)
    assert again.training is None  # nothing is left to be done
    with Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as engine:
        assert RecipeConfig.of(**engine.inspect().recipe or {}) == chosen
        assert chosen.recall_target == 0.9
        assert engine.search("7", 3)[0].id == "7"
        engine.add(texts(N, 5))
        assert engine.search(str(N + 3), 1)[0].id == str(N + 3)


def test_auto_for_dense_vectors(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="auto", held_out=32))
    documents = [Document(str(i), f"word{i} word{i // 3} word{i // 7}") for i in range(400)]
    report = Engine.build(tmp_path / "index", documents, HashingDense(64), config=config, runtime=MANUAL)
    assert report.training is not None
    assert (report.training.quality or {})["doctor"]["chosen"] in TRIED["dense"]


def test_no_recipe_at_all_is_said() -> None:
    failed = Trial("tokens", RecipeConfig(), failed="too few")
    slow = Trial("codes", RecipeConfig(), recall=0.99)
    cheap = Trial("lemur", RecipeConfig(), recall=0.96, cost=0.2)
    dear = Trial("muvera", RecipeConfig(), recall=1.0, cost=0.3)
    assert choose([failed]) is None
    assert choose([failed, slow]) == slow
    assert choose([failed, slow, dear, cheap]) == cheap


def test_the_spread_of_maxsim_from_first_principles() -> None:
    rng = np.random.default_rng(0)
    queries = Ragged.from_list([rng.standard_normal((n, 8)).astype(np.float32) for n in (3, 1, 5)], 8)
    documents = Ragged.from_list([rng.standard_normal((n, 8)).astype(np.float32) for n in (2, 7, 1, 4)], 8)
    expected = []
    for i in range(3):
        scores = [(queries[i] @ documents[j].T).max(axis=1).sum() for j in range(4)]
        expected.append(np.std(scores) / np.linalg.norm(queries[i], axis=1).sum())
    unit = np.linalg.norm(documents.values, axis=1).mean()
    assert maxsim_spread(queries, documents) == pytest.approx(np.mean(expected) / unit, rel=1e-5)
    same = Ragged.from_list([documents[0]] * 4, 8)
    assert maxsim_spread(queries, same) == pytest.approx(0, abs=1e-6)
    with pytest.raises(CollapsedError, match="--force"):
        check_spread(1e-5)


def test_tokens_that_do_not_tell_documents_apart_are_refused_without_force(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="tokens", codec="none", held_out=16))
    collapsed = Topics(spread=1e-3)
    with pytest.raises(CollapsedError):
        Engine.build(tmp_path / "index", texts(), collapsed, config=config, runtime=MANUAL)
    report = Engine.build(tmp_path / "forced", texts(), collapsed, config=config, runtime=MANUAL, force=True)
    assert report.training is not None


def test_documents_unlike_those_that_were_trained_on_strain_the_centroids(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="tokens", codec="none", held_out=32, ncentroids=240))
    Engine.build(tmp_path / "index", texts(), Topics(), config=config, runtime=MANUAL)
    with Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as engine:
        trained = (engine.inspect().quality or {})["strain"]
        assert engine.inspect().strain == pytest.approx(trained)
        assert 0 < trained < 0.3
        engine.add(texts(N, 200))
        engine.flush()
        assert engine.inspect().strain == pytest.approx(trained, rel=0.1)
        engine.add(texts(10_000, 400))
        engine.flush()
        strained = engine.inspect().strain
        assert strained is not None
        assert strained > 1.5 * trained
        engine.compact(retrain=True)
        after = engine.inspect()
        assert after.strain == pytest.approx((after.quality or {})["strain"])
        assert after.strain is not None
        assert after.strain < strained


@pytest.mark.parametrize("codes", [{"codec": "pq", "m": 8}, {"codec": "bits", "bits": 2}])
def test_codes_may_be_all_that_is_stored(tmp_path: Path, codes: dict[str, Any]) -> None:
    recipe = RecipeConfig.of(index="tokens", held_out=32, ncentroids=64, **codes)
    config = IndexConfig.of(precision="residual", recipe=recipe)
    Engine.build(tmp_path / "index", texts(), Topics(), config=config, runtime=MANUAL)
    everything = {"num_scored": 10**6, "num_candidates": 10**6, "nprobe": 64}
    with Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as engine:
        engine.add(texts(N, 30))
        for upkeep in (lambda: None, engine.flush, engine.compact):
            upkeep()
            for query in ("3", str(N + 7)):
                found, exact = (
                    [(hit.id, hit.score) for hit in engine.search(query, 12, params=params)]
                    for params in (everything, {"exact": True})
                )
                assert found == exact
                assert query in {doc_id for doc_id, _ in found}
            assert engine.verify().ok
        info = engine.inspect()
        assert info.precision == "residual"
        width = 1 + 2 + (4 if codes["codec"] == "pq" else 8)
        assert info.bytes["codes"] == width * 6 * (N + 30)
        assert info.bytes["arranged"] < 6 * (N + 30) * 12
        kept = engine.search("3", 5)[0].id
        engine.compact("float16")  # of what the codes say
        assert engine.search("3", 5)[0].id == kept


def test_residual_codes_alone_need_a_recipe_that_makes_them(tmp_path: Path) -> None:
    for recipe, told in (
        (RecipeConfig(), "index=tokens"),
        (RecipeConfig.of(index="tokens", codec="none"), "codec=pq"),
        (RecipeConfig.of(index="tokens", reduce="pca:8", codec="pq"), "reduce=none"),
    ):
        with pytest.raises(ConfigError, match=told):
            Engine.create(
                tmp_path / "index", Topics(), config=IndexConfig.of(precision="residual", recipe=recipe)
            )


def test_threads_that_share_a_query_find_the_same(tmp_path: Path) -> None:
    config = IndexConfig.of(precision="int8", recipe=RecipeConfig.of(index="tokens", codec="pq", held_out=16))
    Engine.build(tmp_path / "index", texts(), Topics(), config=config, runtime=MANUAL)
    shared = RuntimeConfig.of(maintenance="manual", query_threads=3)
    with (
        Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as one,
        Engine.open(tmp_path / "index", Topics(), runtime=shared) as three,
    ):
        for params in ({"exact": True}, {"recall_target": 0.9}, {"num_scored": 400, "num_candidates": 300}):
            for query in ("1", "44"):
                expected, found = (engine.search(query, 150, params=params) for engine in (one, three))
                assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in expected]


def test_codes_alone_are_not_trained_again(tmp_path: Path) -> None:
    recipe = RecipeConfig.of(index="tokens", codec="pq", m=8, held_out=16, ncentroids=64)
    config = IndexConfig.of(precision="residual", recipe=recipe)
    Engine.build(tmp_path / "index", texts(), Topics(), config=config, runtime=MANUAL)
    with Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as engine:
        before = engine.inspect()
        with pytest.raises(ConfigError, match="training again"):
            engine.compact(retrain=True)
        with pytest.raises(ConfigError, match="codec=bits"):
            engine.compact(recipe=recipe.replace(codec="bits", bits=4))
        assert engine.inspect() == before
        engine.compact(recipe=recipe.replace(recall_target=0.5))  # measured again, not trained
        after = engine.inspect()
        assert (after.quality or {})["strain"] == (before.quality or {})["strain"]
        assert after.recipe is not None
        assert after.recipe["recall_target"] == 0.5
        report = engine.diagnose()
        recalls = {trial["name"]: trial["recall"] for trial in report["trials"]}
        assert recalls["tokens"] is not None
        engine.compact("float16", recipe=recipe.replace(codec="bits", bits=4))
        assert engine.inspect().precision == "float16"


def test_auto_with_another_target_is_trained_again(tmp_path: Path) -> None:
    Engine.build(tmp_path / "index", texts(), Topics(), runtime=MANUAL)
    with Engine.open(tmp_path / "index", Topics(), runtime=MANUAL) as engine:
        auto = RecipeConfig.of(index="auto", held_out=16, recall_target=0.8)
        assert engine.compact(recipe=auto).training is not None
        assert engine.compact(recipe=auto).training is None
        assert engine.compact(recipe=auto.replace(recall_target=0.9)).training is not None
        assert (engine.inspect().recipe or {})["recall_target"] == 0.9


def test_the_spread_does_not_depend_on_the_unit_of_vectors() -> None:
    rng = np.random.default_rng(1)
    queries = Ragged.from_list([rng.standard_normal((3, 8)).astype(np.float32) for _ in range(4)], 8)
    documents = Ragged.from_list([rng.standard_normal((5, 8)).astype(np.float32) for _ in range(9)], 8)
    small = Ragged(documents.values * np.float32(0.01), documents.offsets)
    assert maxsim_spread(queries, small) == pytest.approx(maxsim_spread(queries, documents), rel=1e-4)
