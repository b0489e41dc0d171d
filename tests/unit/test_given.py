"""Documents that bring their vectors: an index without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import (
    Document,
    Engine,
    ErrorPolicy,
    GivenVectors,
    Hybrid,
    IndexConfig,
    RecipeConfig,
    RuntimeConfig,
    export_index,
    import_index,
    open_corpus,
    repair_index,
    verify_index,
)
from retrieval.errors import (
    ConfigError,
    DataError,
    EncoderMismatchError,
    IndexDamagedError,
    IndexUnfinishedError,
    QueryError,
)
from tests.encoders import HashingDense, HashingLate

MANUAL = RuntimeConfig.of(maintenance="manual")
TEXTS = ["wings lift", "heat shield melts", "thin wings flutter", "heat in slip flow", "shock wave"]


def twin_of(kind: str) -> tuple[Any, GivenVectors]:
    """An encoder, and one for its vectors."""
    encoder: Any = HashingDense(8) if kind == "dense" else HashingLate(8)
    return encoder, GivenVectors(8, kind, model="hashing")  # type: ignore[arg-type]


def documents(encoder: Any, texts: Sequence[str] = TEXTS, first: int = 0) -> list[Document]:
    vectors = encoder.encode_document(texts)
    return [Document(f"d{i}", text, vectors=vectors[i - first]) for i, text in enumerate(texts, first)]


def bare(found: Sequence[Document]) -> list[Document]:
    return [Document(document.id, document.text) for document in found]


def hits(engine: Any, encoder: Any, query: str = "heat wings") -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in engine.search(np.asarray(encoder.encode_query([query])[0]))]


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_answers_are_those_of_an_index_that_encodes(kind: str, tmp_path: Path) -> None:
    encoder, given = twin_of(kind)
    own, more = documents(encoder), documents(encoder, ["wings wings", "melts"], 5)
    Engine.build(tmp_path / "encoding", bare(own), encoder)
    Engine.build(tmp_path / "given", own, given)
    with Engine.open(tmp_path / "encoding", encoder) as before, Engine.open(tmp_path / "given") as engine:
        assert hits(engine, encoder) == hits(before, encoder)
        before.add(bare(more))
        assert engine.add(more).documents == 2
        changed = documents(encoder, ["heat heat"], 1)
        before.upsert(bare(changed))
        assert engine.upsert(changed).replaced == 1
        assert hits(engine, encoder) == hits(before, encoder)
        assert engine.flush() and engine.get("d6") == more[1] and engine.get("d6").vectors is None
        assert hits(engine, encoder) == hits(before, encoder)
        engine.snapshot(tmp_path / "copy")
    export_index(tmp_path / "copy", tmp_path / "copy.tar")
    import_index(tmp_path / "copy.tar", tmp_path / "back")
    with Engine.open(tmp_path / "back", given) as engine:
        assert len(engine) == 7 and verify_index(engine.path).ok


BAD: dict[str, tuple[Any, str]] = {
    "none": (None, "has no vectors"),
    "short": (np.ones(7), r"shape \(7,\) do not fit.* expected \(8,\)"),
    "several": (np.ones((2, 8)), "do not fit"),
    "nan": (np.full(8, np.nan), "NaN"),
    "infinite": ([1e60] * 8, "infinity"),
    "zero": (np.zeros(8), "no direction"),
    "words": (["one"] * 8, "no array of numbers"),
    "ragged": ([[1.0], [1.0, 2.0]], "no array of numbers"),
    "empty": (np.empty((0, 8)), "do not fit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_vectors_are_refused_one_by_one(name: str, tmp_path: Path) -> None:
    encoder, given = twin_of("dense")
    vectors, told = BAD[name]
    bad = [Document("bad", "text", vectors=vectors), *documents(encoder)]
    with pytest.raises(DataError, match=f"document 1: .*{told}"):
        Engine.build(tmp_path / "stopped", bad, given)
    report = Engine.build(tmp_path / "i", bad, given, policy=ErrorPolicy("skip"))
    assert (report.documents, report.skipped) == (5, 1)
    with Engine.open(tmp_path / "i", runtime=MANUAL) as engine:
        with pytest.raises(DataError, match=told):
            engine.upsert(bad)
        again = engine.upsert(bad, policy=ErrorPolicy("skip"))
        assert (again.documents, again.replaced, again.skipped) == (5, 5, 1)
    if name == "several":
        late = Engine.create(tmp_path / "late", GivenVectors(8, "late"))
        assert late.add([Document("fine", "text", vectors=vectors)]).tokens == 2
        late.close()


def test_lengths_do_not_count_for_cosine_however_short(tmp_path: Path) -> None:
    encoder, given = twin_of("dense")
    own, sizes = documents(encoder), (1, 1e-20, 1e-30, 1e-42, 2.0**40)
    scaled = [
        replace(one, vectors=np.asarray(one.vectors) * np.float32(size))
        for one, size in zip(own, sizes, strict=True)
    ]
    for name, some in (("i", own), ("j", scaled)):
        Engine.build(tmp_path / name, some, given)
    with Engine.open(tmp_path / "i") as engine, Engine.open(tmp_path / "j") as same:
        expected, query = dict(hits(engine, encoder)), np.asarray(encoder.encode_query(["heat wings"])[0])
        for factor in (1, 1e-30):
            found = {hit.id: hit.score for hit in same.search(query * np.float32(factor))}
            assert found == pytest.approx(expected, abs=1e-3)  # 1e-42 has three digits
        alike = {one: hit for one, hit in dict(hits(same, encoder)).items() if one in ("d0", "d4")}
        assert alike == {one: expected[one] for one in ("d0", "d4")}, "others are as they are alone"


def test_an_index_that_encodes_takes_no_vectors(tmp_path: Path) -> None:
    encoder, _ = twin_of("dense")
    with pytest.raises(DataError, match="encodes texts by itself"):
        Engine.build(tmp_path / "i", documents(encoder), encoder)


def test_texts_cannot_be_asked_but_beside_vectors(tmp_path: Path) -> None:
    encoder, given = twin_of("late")
    Engine.build(tmp_path / "i", documents(encoder), given)
    with Engine.open(tmp_path / "i") as engine:
        with pytest.raises(QueryError, match="vector="):
            engine.search("heat")
        query = np.asarray(encoder.encode_query(["slip wings"])[0])
        (hit,) = engine.search(query, k=1)
        told = engine.explain(query, hit.id)
        assert told.score == pytest.approx(hit.score, abs=1e-6) and told.query == ""
        assert [match.query_token.text for match in told.matches] == ["#0", "#1"]
        hybrid = Hybrid(engine, language="none")
        with pytest.raises(QueryError, match="vector="):
            hybrid.search("shock")
        found = hybrid.search("shock", vectors=query, explain="plan")
        assert {one.id for one in found} >= {"d4", hit.id} and found.plan is not None
    with pytest.raises(EncoderMismatchError, match="model"):
        Engine.open(tmp_path / "i", GivenVectors(8, "late", model="another"))


@pytest.mark.parametrize(("kind", "index"), [("dense", "ivf"), ("late", "tokens")])
def test_recipes_are_trained_and_measured_with_their_own_vectors(
    kind: str, index: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    shape = (8,) if kind == "dense" else (3, 8)
    given, vectors = GivenVectors(8, kind), random.standard_normal((80, *shape))  # type: ignore[arg-type]
    own = [Document(f"d{i}", "text", vectors=each) for i, each in enumerate(vectors)]
    recipe = (
        {"index": index, "codec": "bits", "nlist": 4}
        if kind == "dense"
        else {"index": index, "codec": "none"}
    )
    config = IndexConfig.of(recipe=RecipeConfig.of(**recipe, held_out=16))
    asked = [each.astype(np.float32) for each in vectors[:8]]
    for queries in (None, asked):
        path = tmp_path / ("pseudo" if queries is None else "real")
        report = Engine.build(path, own, given, config=config, queries=queries)
        assert report.training is not None and report.training.quality is not None
        assert report.training.quality["curve"]["points"]
        with Engine.open(path) as engine:
            assert engine.search(asked[3], k=1, params={"recall_target": 0.99})[0].id == "d3"
    with Engine.open(path) as engine:
        assert engine.diagnose()["trials"]


def test_a_build_goes_on_with_the_same_vectors_only(tmp_path: Path) -> None:
    encoder, given = twin_of("dense")
    own, config = documents(encoder), IndexConfig.of(segment_documents=2)
    with pytest.raises(DataError, match="document 4"):
        Engine.build(tmp_path / "i", [*own[:3], Document("d3", "heat")], given, config=config)
    with pytest.raises(IndexUnfinishedError):
        Engine.open(tmp_path / "i")
    other = [Document("d0", own[0].text, vectors=-np.asarray(own[0].vectors)), *own[1:]]
    with pytest.raises(DataError, match="input changed"):
        Engine.build(tmp_path / "i", other, given, config=config, resume=True)
    assert Engine.build(tmp_path / "i", own, given, config=config, resume=True).resumed_documents == 2
    Engine.build(tmp_path / "whole", own, given, config=config)
    names = [path.relative_to(tmp_path / "i") for path in (tmp_path / "i").glob("segments/*/*")]
    assert len(names) >= 9
    for name in names:
        assert (tmp_path / "i" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_damaged_vectors_are_lost_and_the_others_are_not(tmp_path: Path) -> None:
    encoder, given = twin_of("dense")
    Engine.build(tmp_path / "i", documents(encoder), given, config=IndexConfig.of(segment_documents=2))
    path = min(tmp_path.glob("i/segments/*/codes.bin"))
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    report = repair_index(tmp_path / "i")
    assert [lost.ids for lost in report.lost] == [("d0", "d1")] and not report.dropped
    assert "they were given" in report.lost[0].problem
    assert repair_index(tmp_path / "i", drop_lost=True).dropped
    with Engine.open(tmp_path / "i") as engine:
        assert {one for one, _ in hits(engine, encoder)} == {"d2", "d3", "d4"}
        engine.compact("int8")
    with pytest.raises(ConfigError, match="brought their vectors"):
        repair_index(tmp_path / "i", recalibrate=True)
    next(tmp_path.glob("i/codecs/*/*.bin")).unlink()
    with pytest.raises(IndexDamagedError, match="they were given"):
        repair_index(tmp_path / "i")


@pytest.mark.parametrize(("name", "kind"), [("births", "dense"), ("births", "late"), ("offsets", "dense")])
def test_whole_vectors_are_not_lost_with_what_is_beside_them(name: str, kind: str, tmp_path: Path) -> None:
    encoder, given = twin_of(kind)
    with Engine.create(tmp_path / "i", given, runtime=MANUAL) as engine:
        engine.add(documents(encoder, TEXTS[:2]))
        engine.compact()
        engine.add(documents(encoder, TEXTS[2:], 2))
        engine.delete(["d1"])
        engine.compact()
        engine.delete(["d3"])
        expected = hits(engine, encoder)
    (path,) = tmp_path.glob(f"i/segments/*/{name}.bin")
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    report = repair_index(tmp_path / "i", drop_lost=True)
    assert (report.segments, report.documents, report.lost) == (1, 0, ())
    assert verify_index(tmp_path / "i").ok
    with Engine.open(tmp_path / "i", runtime=MANUAL) as engine:
        assert hits(engine, encoder) == expected and len(expected) == 3
        engine.upsert(documents(encoder, ["heat"], 4))
        assert len(hits(engine, encoder)) == 3


def test_pooling_that_needs_no_texts(tmp_path: Path) -> None:
    encoder, given = twin_of("late")
    Engine.build(tmp_path / "i", documents(encoder), given, config=IndexConfig.of(pooling="fixed:1"))
    with Engine.open(tmp_path / "i") as engine:
        assert engine.inspect().tokens == 5
        query = np.asarray(encoder.encode_query(["heat"])[0])
        assert engine.explain(query, "d1").matches[0].document_token is not None
    with pytest.raises(ConfigError, match="places of tokens"):
        Engine.create(tmp_path / "j", given, config=IndexConfig.of(pooling="words"))


@pytest.mark.parametrize("kind", ["dense", "late"])
def test_texts_are_not_needed(kind: str, tmp_path: Path) -> None:
    encoder, given = twin_of(kind)
    wordless = [Document(one.id, "", vectors=one.vectors) for one in documents(encoder)]
    Engine.build(tmp_path / "i", wordless[:3], given)
    with Engine.open(tmp_path / "i", runtime=MANUAL) as engine:
        engine.add(wordless[3:4])
        engine.upsert([replace(wordless[0], metadata={"n": 1}), wordless[4]])
        engine.compact()
        asked = np.asarray(encoder.encode_query(["heat wings"])[0])
        result = engine.search(asked, k=9)
        assert sorted(hit.id for hit in result) == ["d0", "d1", "d2", "d3", "d4"]
        assert engine.explain(asked, "d1").score == next(hit.score for hit in result if hit.id == "d1")
        assert [hit.id for hit in Hybrid(engine, language="none").search("heat", vectors=asked)]
    assert verify_index(tmp_path / "i").ok
    with pytest.raises(DataError, match="both blank"):
        Engine.build(tmp_path / "j", [replace(wordless[0], vectors=None)], encoder)


def test_rows_without_a_text(tmp_path: Path) -> None:
    source = tmp_path / "docs.jsonl"
    source.write_text('{"id": 1, "vector": [1, 0]}\n{"id": 2, "vectors": [[0, 1]], "title": "two"}\n')
    Engine.build(tmp_path / "i", open_corpus(source, vectors=True), GivenVectors(2))
    with Engine.open(tmp_path / "i") as engine:
        assert [(hit.id, hit.title, hit.text) for hit in engine.search(np.array([0, 1.0]), k=1)] == [
            ("2", "two", "")
        ]
