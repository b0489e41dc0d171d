"""Recipes through the engine: train, search, change, copy, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
    recipe_of,
    verify_index,
)
from retrieval.errors import CollapsedError, ConfigError, IndexFormatError, QueryError
from retrieval.index import Pipeline
from retrieval.kernels.assign.cpu import assign_i8
from retrieval.kernels.compiling import while_compiling
from retrieval.quantize import bits_from_arrays, int8_from_arrays
from retrieval.storage import Catalog, load_codec, load_trained, schema
from retrieval.types import FloatArray
from tests.encoders import HashingLate

N, DIM = 3000, 48
MANUAL = RuntimeConfig.of(maintenance="manual")
EVERYTHING = SearchConfig(nprobe=10**6, num_candidates=10**6, ef_search=10**6)
"""As much effort as there is: then a trained search must answer as an exact one."""


@cache  # most tests encode the same documents
def _normal(dim: int, *seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed if len(seed) > 1 else seed[0]).standard_normal(dim)


class Clustered:
    """Vectors around a few topics, as embeddings lie: a text is "topic number"."""

    kind = "dense"

    def __init__(self, dim: int = DIM, metric: str = "cosine", spread: float = 0.6) -> None:
        self.dim, self.metric, self._spread = dim, metric, spread

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "clustered", "dim": self.dim, "metric": self.metric, "spread": self._spread}

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        values = np.empty((len(texts), self.dim), dtype=np.float32)
        for i, text in enumerate(texts):
            topic, _, number = text.partition(" ")
            center, own = (abs(int(topic)),), (abs(int(topic)), int(number or 0))
            values[i] = _normal(self.dim, *center) + self._spread * _normal(self.dim, *own)
        return values

    encode_query = encode_document


def documents(n: int = N, first: int = 0) -> list[Document]:
    return [
        Document(f"d{i}", f"{i % 40} {i}", metadata={"number": i, "even": i % 2 == 0})
        for i in range(first, first + n)
    ]


def engine_codec(engine: Engine) -> Any:
    """What an index stores its vectors by."""
    with Catalog.open(engine.path) as catalog:
        return load_codec(engine.path, catalog.codec())


QUERIES = [f"{topic} {90_000 + topic}" for topic in range(40)]


def build(
    folder: Path,
    metric: str = "cosine",
    precision: str = "float16",
    threads: int | None = None,
    given: Any = None,
    **recipe: Any,
) -> Engine:
    """Few questions measure the recipe, unless it says how many."""
    recipe = {"held_out": 64, **recipe}
    config = IndexConfig.of(recipe=RecipeConfig.of(**recipe), precision=precision, segment_documents=700)
    encoder, runtime = Clustered(metric=metric), MANUAL.replace(threads=threads)
    Engine.build(folder, documents(), encoder, config=config, runtime=runtime, codec=given)
    return Engine.open(folder, encoder, runtime=MANUAL)


def found(engine: Engine, query: str, k: int = 10, **params: Any) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in engine.search(query, k, fields=(), **params)]


def recall(engine: Engine, k: int = 10, **params: Any) -> float:
    hits = 0
    for query in QUERIES:
        truth = {doc_id for doc_id, _ in found(engine, query, k, params={"exact": True})}
        hits += len(truth & {doc_id for doc_id, _ in found(engine, query, k, **params)})
    return hits / (k * len(QUERIES))


RECIPES: dict[str, dict[str, Any]] = {
    **{name: PRESETS[name] for name in ("fast", "accurate", "graph")},
    "hnsw": {"index": "hnsw", "codec": "int8"},
    "small": {"index": "ivf", "reduce": "leanvec:24", "bits": 2},
    "flat bits": {"index": "flat", "codec": "bits", "bits": 2},
    "flat bits 4 after 1": {"index": "flat", "codec": "bits", "bits": 4, "scan_bits": 1},
    "ivf bits 4 after 1": {"index": "ivf", "codec": "bits", "bits": 4, "scan_bits": 1},
    "flat sign": {"index": "flat", "codec": "sign"},
    "flat pq": {"index": "flat", "codec": "pq", "m": 16, "nbits": 4},
    "flat opq 8": {"index": "flat", "codec": "opq", "m": 12, "nbits": 8},
    "ivf pq": {"index": "ivf", "codec": "pq", "m": 24, "nbits": 4},
    "ivf int8": {"index": "ivf", "codec": "int8"},
    "ivf float16": {"index": "ivf", "codec": "float16", "residual": False},
    "chain": {"index": "ivf", "reduce": "pca:40+sparse:36", "codec": "bits", "bits": 4},
    "funnel": {"index": "funnel", "funnel": (16, 32)},
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_with_all_effort_a_trained_search_answers_as_an_exact_one(
    tmp_path: Path, name: str, metric: str
) -> None:
    with build(tmp_path / "index", metric, **RECIPES[name]) as engine:
        for query in QUERIES[:8]:
            assert found(engine, query, params=EVERYTHING) == found(engine, query, params={"exact": True})
        plan = engine.search(QUERIES[0], params=EVERYTHING, explain="plan").plan or {}
        assert set(plan["segments"]) == {"probe"}
        assert engine.verify().ok


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_precision_of_the_stored_vectors(tmp_path: Path, precision: str) -> None:
    with build(tmp_path / "index", precision=precision, index="ivf", bits=2) as engine:
        assert engine.inspect().precision == precision
        for query in QUERIES[:8]:
            assert found(engine, query, params=EVERYTHING) == found(engine, query, params={"exact": True})


def test_a_warm_engine_compiles_nothing(tmp_path: Path) -> None:
    with build(tmp_path / "index", "l2", "int8", index="flat", bits=8) as engine:
        engine.warm_up(kernels=True)
        told: list[bool] = []
        with while_compiling(told.append):
            for params in (None, {"exact": True}):
                assert len(found(engine, QUERIES[0], params=params)) == 10
        assert told == []


def test_a_filter_is_always_filled(tmp_path: Path) -> None:
    with build(tmp_path / "index", index="ivf", bits=1) as engine:
        for least in (0, 300, 2700, 2970, 2995, 2999):
            wanted = {"number": {"gte": least}}
            for params in (None, {"nprobe": 1}, {"nprobe": 1, "num_candidates": 1}):
                hits = engine.search(QUERIES[3], 10, filter=wanted, params=params)
                assert len(hits) == min(10, N - least)
                assert all(hit.metadata["number"] >= least for hit in hits if hit.metadata)


def test_the_recall_target_is_kept_and_costs_what_it_costs(tmp_path: Path) -> None:
    with build(tmp_path / "index", index="ivf", bits=2, nlist=64) as engine:
        probes = []
        for target in (0.8, 0.95, 0.99):
            params = {"recall_target": target}
            assert recall(engine, params=params) >= target - 0.03
            (plan,) = [engine.search(QUERIES[0], params=params, explain="plan").plan]
            assert plan is not None
            assert plan["recall_target"] == target
            probes.append(plan.get("nprobe", 0))
        assert probes == sorted(probes)


def test_what_is_added_later_is_found_at_once_and_after_every_merge(tmp_path: Path) -> None:
    with build(tmp_path / "index", index="ivf", bits=1) as engine:
        for upkeep in (lambda: None, engine.flush, engine.maintain, engine.compact):
            engine.upsert([Document("new", "7 123456")])
            engine.delete(["d7"])
            upkeep()
            best = engine.search("7 123456", 5, params=EVERYTHING)
            assert best[0].id == "new"
            assert best[0].score == pytest.approx(1, abs=1e-3)
            assert "d7" not in {hit.id for hit in engine.search("7 7", 100, params=EVERYTHING)}
            assert engine.verify().ok
        assert engine.inspect().recipe is not None


def untimed(quality: Any) -> dict[str, Any]:
    """What was measured but for how fast it was."""
    assert quality["curve"]["pace"] > 0
    return {**quality, "curve": {**quality["curve"], "pace": None, "preparing": None}}


def test_an_index_that_is_there_gets_a_recipe_and_loses_it_again(tmp_path: Path) -> None:
    encoder = Clustered()
    Engine.build(tmp_path / "index", documents(), encoder, runtime=MANUAL)
    with (
        Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as engine,
        Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as reader,
    ):
        exact = [found(reader, query) for query in QUERIES]
        report = engine.compact(recipe=RecipeConfig.of(**PRESETS["fast"]))
        assert report.training is not None
        assert (report.training.quality or {})["curve"]["points"]
        assert (tmp_path / "index" / "codecs" / "00000002").is_dir()
        assert [found(reader, query, params=EVERYTHING) for query in QUERIES] == exact
        first = untimed(engine.inspect().quality)
        engine.compact(retrain=True)
        assert untimed(engine.inspect().quality) == first  # the same documents, the same seed
        assert [entry.name for entry in (tmp_path / "index" / "codecs").iterdir()] == ["00000003"]
        engine.compact(recipe=RecipeConfig())
        assert engine.inspect().recipe is None
        assert not list((tmp_path / "index" / "codecs").iterdir())
        assert [found(reader, query) for query in QUERIES] == exact
        assert engine.verify().ok


def test_copies_carry_what_was_trained(tmp_path: Path) -> None:
    with build(tmp_path / "index", index="ivf", bits=1, precision="int8") as engine:
        before = [found(engine, query) for query in QUERIES[:5]]
        engine.snapshot(tmp_path / "copy")
    export_index(tmp_path / "index", tmp_path / "one.tar")
    import_index(tmp_path / "one.tar", tmp_path / "imported")
    for copy in ("copy", "imported"):
        assert verify_index(tmp_path / copy).ok
        with Engine.open(tmp_path / copy, Clustered(), runtime=MANUAL) as engine:
            assert [found(engine, query) for query in QUERIES[:5]] == before


def test_the_same_build_gives_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    for name, threads in (("one", 1), ("two", 2)):
        build(tmp_path / name, threads=threads, index="ivf", bits=2, reduce="pca:40").close()
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.bin"))
    assert any("arranged" in path.name for path in files)
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_a_build_that_was_killed_before_training_is_searched_exactly_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="ivf"), precision="int8")
    encoder = Clustered()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("retrieval.conversion.write_merged", killed)
        with pytest.raises(KeyboardInterrupt):
            Engine.build(tmp_path / "index", documents(), encoder, config=config, runtime=MANUAL)
    with Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as engine:
        assert engine.inspect().recipe is None
        assert len(engine.search("3 3")) == 10
    other = config.replace(
        recipe=RecipeConfig.of(index="flat", bits=2)
    )  # nothing is trained yet: any will do
    rest: dict[str, Any] = {"runtime": MANUAL, "resume": True}
    report = Engine.build(tmp_path / "index", documents(), encoder, config=other, **rest)
    assert report.training is not None
    info = inspect_index(tmp_path / "index")
    assert (info.precision, (info.recipe or {})["index"]) == ("int8", "flat")
    assert verify_index(tmp_path / "index").ok
    assert Engine.build(tmp_path / "index", documents(), encoder, config=other, **rest).training is None
    with pytest.raises(ConfigError, match=r"index=ivf \(it was flat\), bits=1 \(it was 2\); leave the index"):
        Engine.build(tmp_path / "index", documents(), encoder, config=config, **rest)


def test_threads_and_whom_to_tell_reach_the_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    told: list[tuple[str, float | None]] = []

    def assigned(*args: Any, **kwargs: Any) -> Any:
        seen.add(kwargs["threads"])
        return assign_i8(*args, **kwargs)

    monkeypatch.setattr("retrieval.index.training.assign_i8", assigned)
    encoder = Clustered()
    Engine.build(tmp_path / "index", documents(800), encoder, runtime=MANUAL)
    with Engine.open(tmp_path / "index", encoder, runtime=MANUAL.replace(threads=3)) as engine:
        recipe = RecipeConfig.of(index="ivf", codec="pq", m=24)
        engine.compact(recipe=recipe, progress=lambda *stage: told.append(stage))
    assert seen == {3}
    for stage in (
        "train: k-means",
        "train: codes",
        "write the segment",
        "code the documents",
        "measure recall",
    ):
        shares = [share for name, share in told if name == stage]
        assert shares == sorted(shares) and len(shares) > 0, stage  # type: ignore[type-var]


def test_codecs_trained_elsewhere(tmp_path: Path) -> None:
    """The index codes by the one it was given, in place of training its own."""
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    with build(tmp_path / "index", index="ivf", given=bits_from_arrays(rotation, 4)) as engine:
        recipe = engine.inspect().recipe or {}
        assert (recipe["index"], recipe["codec"], recipe["bits"]) == ("ivf", "bits", 4)
        with Catalog.open(engine.path) as catalog:
            first = catalog.codec()
        stored = load_trained(engine.path, first).pipeline
        assert isinstance(stored, Pipeline)
        assert np.array_equal(stored.index.state()[1]["codec/rotation"], rotation.astype(np.float32))
        assert recall(engine) >= 0.9
        engine.compact(codec=bits_from_arrays(np.eye(DIM), 4))
        with Catalog.open(engine.path) as catalog:
            assert catalog.codec().fingerprint != first.fingerprint
        given = int8_from_arrays(np.full(DIM, -1.0), np.full(DIM, 2 / 255))
        engine.compact("int8", recipe=RecipeConfig(), codec=given)
        info = engine.inspect()
        assert (info.precision, info.recipe) == ("int8", None)
        assert recall(engine, params={"exact": True}) == 1
        assert np.array_equal(engine_codec(engine).low, given.low)


@pytest.mark.parametrize(
    ("recipe", "precision", "codec", "told"),
    [
        ({"index": "ivf"}, "float16", bits_from_arrays(np.eye(8), 1), "is of 8 dimensions, and what"),
        ({"index": "ivf", "reduce": "pca:40"}, "float16", bits_from_arrays(np.eye(DIM), 1), "code has 40"),
        (
            {"index": "hnsw", "codec": "int8"},
            "float16",
            bits_from_arrays(np.eye(DIM), 1),
            "the index hnsw takes",
        ),
        ({"index": "funnel"}, "float16", bits_from_arrays(np.eye(DIM), 1), "not for index=funnel"),
        ({}, "float16", bits_from_arrays(np.eye(DIM), 1), "index=exact takes no codec"),
        ({"index": "flat"}, "float16", "pq", "codec is a str: give what"),
    ],
    ids=["dimension", "reduced", "hnsw", "funnel", "exact", "kind"],
)
def test_codecs_that_do_not_fit_are_refused_before_anything_is_encoded(
    tmp_path: Path, recipe: dict[str, Any], precision: str, codec: Any, told: str
) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(**recipe), precision=precision)
    with pytest.raises(ConfigError, match=told):
        Engine.build(tmp_path / "index", documents(9), Clustered(), config=config, codec=codec)
    assert not (tmp_path / "index").exists()


def test_a_collapsed_space_is_refused_unless_forced(tmp_path: Path) -> None:
    encoder = Clustered(spread=1e-4)
    same = [Document(f"d{i}", f"5 {i}") for i in range(600)]
    config = IndexConfig.of(recipe=RecipeConfig.of(index="ivf"))
    with pytest.raises(CollapsedError, match=r"mean cosine of 1\.000"):
        Engine.build(tmp_path / "index", same, encoder, config=config, runtime=MANUAL)
    with Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as engine:
        assert len(engine.search("5 5", 3)) == 3  # the documents are in, and searched exactly
        engine.compact(recipe=config.recipe, force=True)
        assert engine.inspect().recipe is not None


def test_a_recipe_that_promises_too_much_warns_with_the_remedy(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="flat", codec="pq", m=1, recall_target=1.0))
    random = Clustered(spread=5.0)
    report = Engine.build(tmp_path / "index", documents(20_500), random, config=config, runtime=MANUAL)
    assert report.training is not None
    (warning,) = report.training.warnings
    assert "its target is 1.0" in warning
    assert "--set codec=bits --set bits=4" in warning  # what this recipe can be changed to
    assert "reduce" not in warning


def test_real_queries_can_be_given(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="ivf", reduce="leanvec:24"))
    Engine.build(tmp_path / "index", documents(), Clustered(), config=config, runtime=MANUAL, queries=QUERIES)
    quality = inspect_index(tmp_path / "index").quality
    assert quality is not None
    assert quality["curve"]["queries"] == len(QUERIES) // 2  # the other half trained it


def test_an_empty_index_cannot_be_trained(tmp_path: Path) -> None:
    with (
        Engine.create(tmp_path / "index", Clustered(), runtime=MANUAL) as engine,
        pytest.raises(ConfigError, match="no documents to train on"),
    ):
        engine.compact(recipe=RecipeConfig.of(index="ivf"))


@pytest.mark.parametrize("n", [1, 2, 9, 33])
@pytest.mark.parametrize("name", ["fast", "accurate", "graph", "flat sign", "funnel"])
def test_hardly_any_documents(tmp_path: Path, n: int, name: str) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(**RECIPES[name]))
    Engine.build(tmp_path / "index", documents(n), Clustered(), config=config, runtime=MANUAL, force=True)
    with Engine.open(tmp_path / "index", Clustered(), runtime=MANUAL) as engine:
        assert found(engine, "3 3", params=EVERYTHING) == found(engine, "3 3", params={"exact": True})
        engine.delete([f"d{i}" for i in range(n)])
        assert found(engine, "3 3", params=EVERYTHING) == []
        engine.compact()
        assert found(engine, "3 3", params=EVERYTHING) == []
        engine.add(documents(3))
        engine.flush()
        assert len(found(engine, "3 3", params=EVERYTHING)) == 3


def test_late_interaction_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="ivf"))
    with pytest.raises(ConfigError, match="one vector a document"):
        Engine.build(tmp_path / "index", documents(3), HashingLate(), config=config, runtime=MANUAL)
    assert not (tmp_path / "index").exists()


def test_a_version_that_does_not_know_trained_indexes_refuses_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "index", index="ivf").close()
    monkeypatch.setattr("retrieval.storage.catalog.KNOWN_FEATURES", schema.KNOWN_FEATURES - {"trained"})
    with pytest.raises(IndexFormatError, match="needs trained, unknown here; upgrade"):
        Catalog.open(tmp_path / "index")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"recall_target": 2}, "recall_target=2"),
        ({"nprobes": 3}, "nprobes=3"),
        ({"nprobe": 0}, "nprobe=0"),
        ("exact", "not 'exact'"),
    ],
)
def test_parameters_that_cannot_work_are_named(tmp_path: Path, params: Any, told: str) -> None:
    Engine.build(tmp_path / "index", documents(3), Clustered(), runtime=MANUAL)
    with Engine.open(tmp_path / "index", Clustered(), runtime=MANUAL) as engine:
        with pytest.raises(ConfigError, match=told):
            engine.search("1 1", params=params)
        with pytest.raises(QueryError, match="explain='tokens'"):
            engine.search("1 1", explain="tokens")  # type: ignore[arg-type]


def test_the_plan_says_what_was_done(tmp_path: Path) -> None:
    with build(tmp_path / "index", index="ivf", bits=1, nlist=32) as engine:
        probed = engine.search(QUERIES[0], params={"nprobe": 4, "num_candidates": 50}, explain="plan").plan
        assert probed is not None
        assert probed["segments"] == {"probe": 1}
        assert probed["nprobe"] == 4
        assert 0 < probed["vectors_read"] <= 50
        assert 0 < probed["codes_scanned"] < N
        assert 0 < probed["pages_read"] <= 2 * probed["vectors_read"]
        exact = engine.search(QUERIES[0], params={"exact": True}, explain="plan").plan
        assert exact is not None
        assert exact["segments"] == {"exact": 1}
        assert exact["vectors_read"] == N
        filtered = engine.search(QUERIES[0], filter={"number": {"lt": 5}}, explain="plan").plan
        assert filtered is not None
        assert (filtered["accepted"], filtered["segments"]) == (5, {"exact": 1})
        assert {"plan", "candidates", "refine"} <= set(filtered["stages_ms"])


def test_retraining_does_not_code_bytes_again(tmp_path: Path) -> None:
    with build(tmp_path / "index", precision="int8", index="ivf") as engine:
        before = [found(engine, query, params={"exact": True}) for query in QUERIES]
        for recipe in (None, RecipeConfig.of(index="flat", sample=256)):
            engine.compact(recipe=recipe, retrain=True)
            assert [found(engine, query, params={"exact": True}) for query in QUERIES] == before


def test_int8_is_calibrated_on_all_documents_not_on_a_sample(tmp_path: Path) -> None:
    encoder = Clustered(metric="dot")
    Engine.build(tmp_path / "index", documents(), encoder, runtime=MANUAL)
    with Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as engine:
        before = found(engine, QUERIES[0], 50)
        engine.compact("int8", recipe=RecipeConfig.of(index="ivf", sample=256))
        after = dict(found(engine, QUERIES[0], 50, params={"exact": True}))
        assert max(abs(after.get(doc_id, score) - score) for doc_id, score in before) < 0.01 * before[0][1]


@pytest.mark.parametrize("recipe", ["fast", "accurate", "graph"])
def test_a_filter_that_accepts_only_what_is_far_from_the_query(tmp_path: Path, recipe: str) -> None:
    encoder = Clustered(spread=1.0)
    config = IndexConfig.of(recipe=RecipeConfig.of(**RECIPES[recipe]), precision="float16")
    far = [
        Document(document.id, document.text, metadata={"topic": int(document.text.split()[0])})
        for document in documents(8000)
    ]
    Engine.build(tmp_path / "index", far, encoder, config=config, runtime=MANUAL)
    with Engine.open(tmp_path / "index", encoder, runtime=MANUAL) as engine:
        hits = 0
        for topic, query in enumerate(QUERIES):
            wanted = {"must_not": [{"key": "topic", "match": {"any": [topic, (topic + 1) % 40]}}]}
            truth = {doc_id for doc_id, _ in found(engine, query, filter=wanted, params={"exact": True})}
            result = engine.search(query, 10, filter=wanted, fields=(), explain="plan")
            assert (result.plan or {})["expected_recall"] is None
            hits += len(truth & {hit.id for hit in result})
        assert hits / (10 * len(QUERIES)) > 0.9


def test_an_index_that_has_outgrown_its_curve_promises_nothing_and_looks_harder(tmp_path: Path) -> None:
    with build(tmp_path / "index", index="ivf", bits=1, nlist=32) as engine:
        before = engine.search(QUERIES[0], explain="plan").plan or {}
        engine.add(documents(4 * N, first=N))
        engine.flush()
        engine.compact()
        after = engine.search(QUERIES[0], explain="plan").plan or {}
        assert before["expected_recall"] >= 0.95
        assert after["expected_recall"] is None
        assert after["num_candidates"] >= 4 * before["num_candidates"]
        assert recall(engine) > 0.9


def test_very_long_vectors_leave_their_segment_to_exact_search(tmp_path: Path) -> None:
    """Numbers that no look-up table can hold: found all the same, and never an unreadable index."""

    class Long(Clustered):
        def encode_document(self, texts: Sequence[str]) -> FloatArray:
            values = super().encode_document(texts)
            long = [int(text.partition(" ")[2] or 0) >= 100_000 for text in texts]
            return np.where(np.array(long)[:, None], np.float32(1e13) * values, values)

        encode_query = encode_document

    for metric in ("l2", "dot"):
        encoder = Long(metric=metric)
        config = IndexConfig.of(recipe=RecipeConfig.of(index="ivf"))
        path = tmp_path / metric
        Engine.build(path, documents(), encoder, config=config, runtime=MANUAL)
        with Engine.open(path, encoder, runtime=MANUAL) as engine:
            engine.add([Document("long", "7 100000")])
            engine.flush()
            assert engine.search("7 100000", 1)[0].id == "long"
            assert len(engine.search(QUERIES[3])) == 10
            assert engine.verify().ok


def test_interrupted_while_the_commit_may_have_happened_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with build(tmp_path / "index", index="ivf") as engine:
        before = [found(engine, query, params={"exact": True}) for query in QUERIES[:5]]
        committing = Catalog.committing

        @contextmanager
        def interrupted(catalog: Catalog) -> Iterator[None]:
            with committing(catalog):
                yield
            raise KeyboardInterrupt  # after the commit has become durable

        with monkeypatch.context() as patched:
            patched.setattr(Catalog, "committing", interrupted)
            patched.setattr("retrieval.maintenance.Maintenance.fold", lambda _, **__: 0)
            with pytest.raises(KeyboardInterrupt):
                engine.compact(recipe=RecipeConfig.of(index="flat"))
    with Engine.open(tmp_path / "index", Clustered(), runtime=MANUAL) as engine:
        assert engine.inspect().recipe is not None
        assert engine.verify().ok
        assert [found(engine, query, params={"exact": True}) for query in QUERIES[:5]] == before


def test_an_index_that_was_created_with_a_recipe_is_trained_by_its_first_compact(tmp_path: Path) -> None:
    config = IndexConfig.of(recipe=RecipeConfig.of(index="ivf"), precision="int8")
    with Engine.create(tmp_path / "index", Clustered(), config=config, runtime=MANUAL) as engine:
        engine.add(documents(500))
        assert engine.inspect().recipe is None
        assert engine.compact().training is not None
        assert (engine.inspect().precision, (engine.inspect().recipe or {})["index"]) == ("int8", "ivf")
        assert engine.compact().training is None


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"index": "hnsw"}, "hnsw takes int8 or float16"),
        ({"index": "ivf", "reduce": "leanvec:49"}, "cannot make 49 dimensions of 48"),
        ({"index": "ivf", "reduce": "pca:20+sparse:30"}, "cannot make 30 dimensions of 20"),
        ({"index": "ivf", "reduce": "pac:20"}, "pac"),
        ({"index": "funnel", "funnel": (16, 48)}, "prefixes of vectors of 48"),
        ({"index": "flat", "codec": "pq", "m": 49}, "only 48 dimensions"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_before_anything_is_encoded(
    tmp_path: Path, recipe: dict[str, Any], told: str
) -> None:
    class Never(Clustered):
        def encode_document(self, texts: Sequence[str]) -> FloatArray:
            raise AssertionError("encoded")

    config = IndexConfig.of(recipe=RecipeConfig.of(**recipe))
    with pytest.raises(ConfigError, match=told):
        Engine.build(tmp_path / "index", documents(5), Never(), config=config, runtime=MANUAL)
    assert not (tmp_path / "index").exists()


def test_settings_that_mean_nothing_are_refused_and_others_change_the_recipe_there_is() -> None:
    for preset, change, told in (
        (None, "bits=4", "means nothing with index=exact"),
        ("exact", "nlist=4", "means nothing with index=exact"),
        ("fast", "m=4", "means nothing with codec=bits"),
        ("graph", "nlist=4", "means nothing with index=vamana"),
        ("fast", "funnel=[16]", "means nothing with index=ivf"),
    ):
        with pytest.raises(ConfigError, match=told):
            recipe_of(preset, [change])
    base = RecipeConfig.of(index="ivf", bits=1, nlist=77)
    assert recipe_of(None, ["bits=4"], base) == base.replace(bits=4)
    assert recipe_of("fast", ["bits=2"], base) == RecipeConfig.of(**PRESETS["fast"]).replace(bits=2)
    assert recipe_of(None, None, base) is None


def test_queries_that_nothing_would_learn_from_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose a preset"):
        Engine.build(tmp_path / "index", documents(5), Clustered(), runtime=MANUAL, queries=QUERIES)
    assert not (tmp_path / "index").exists()
    with build(tmp_path / "index", index="ivf") as engine, pytest.raises(ConfigError, match="add --retrain"):
        engine.compact(queries=QUERIES)
