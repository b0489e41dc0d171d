"""Token pooling through the engine: whatever way a document comes in, the same is stored of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Document, Engine, IndexConfig, RecipeConfig, RuntimeConfig, inspect_index, repair_index
from retrieval.encode import as_ragged
from retrieval.errors import ConfigError, DataError, IndexDamagedError
from retrieval.reduce.pooling import pool, pooling_of
from retrieval.storage import Catalog
from retrieval.types import FloatArray, Token
from tests.encoders import HashingDense, PiecesLate

WORDS = (
    *("reading", "letters", "of", "winter", "a", "candle", "kettle", "frost", "river"),
    *("ferry", "bread", "no", "sledge", "oar", "lamp"),
)
SPECS = ("ward:2", "fixed:5", "words", "norm:0.4", 'drop:["no","of","le"]')
SMALL = RuntimeConfig.of(maintenance="manual", pending_documents=3)
"""More than three documents at once go to segments."""
QUERIES = ("candle of winter", "ferry", "a lamp no river reading letters")


def documents(n: int, first: int = 0) -> list[Document]:
    random = np.random.default_rng(first)
    lengths = random.integers(1, 15, n)
    return [
        Document(f"d{first + i}", ", ".join(random.choice(WORDS, length)), title="no" * (i % 2))
        for i, length in enumerate(lengths)
    ]


def config(spec: str, **more: Any) -> IndexConfig:
    return IndexConfig.of(**{"pooling": spec, "segment_documents": 7, **more})


def pooled(document: Document, spec: str, encoder: PiecesLate) -> FloatArray:
    """By the room `reduce` alone, and as float16."""
    text = document.full_text
    pooling = pooling_of(spec)
    assert pooling is not None
    vectors = as_ragged(encoder.encode_document([text]), encoder, 1)
    is_unit = encoder.length == 1
    return pool(vectors, pooling, lambda _: encoder.document_tokens(text), is_unit).values.astype(np.float16)


def check_stored(engine: Engine, there: Sequence[Document], spec: str, encoder: PiecesLate) -> None:
    """Everything is found, with the score of its pooled vectors."""
    expected = {document.id: pooled(document, spec, encoder).astype(np.float64) for document in there}
    assert engine.inspect().tokens == sum(map(len, expected.values()))
    for query in QUERIES:
        vectors = encoder.encode_query([query])[0].astype(np.float64)
        found = {hit.id: hit.score for hit in engine.search(query, len(there) + 1)}
        scores = {doc_id: (vectors @ values.T).max(axis=1).sum() for doc_id, values in expected.items()}
        assert found == pytest.approx(scores, rel=1e-6)


@pytest.mark.parametrize("length", [1.0, None])
@pytest.mark.parametrize("spec", SPECS)
def test_every_way_in_stores_the_same(tmp_path: Path, spec: str, length: float | None) -> None:
    encoder = PiecesLate(length=length)
    report = Engine.build(tmp_path / "i", documents(20), encoder, config=config(spec))
    assert report.tokens == inspect_index(tmp_path / "i").tokens
    with Engine.open(tmp_path / "i", encoder, runtime=SMALL) as engine:
        check_stored(engine, documents(20), spec, encoder)
        few = engine.add(documents(2, first=100))  # waits in the catalog
        assert few.tokens == sum(len(pooled(document, spec, encoder)) for document in documents(2, first=100))
        engine.add(documents(9, first=200))  # goes to segments
        changed = [replace(document, id=f"d{i}") for i, document in enumerate(documents(2, first=300))]
        engine.upsert(changed)
        engine.delete(["d5"])
        there = {one.id: one for one in (*documents(20), *documents(2, 100), *documents(9, 200), *changed)}
        del there["d5"]
        engine.compact()
        check_stored(engine, list(there.values()), spec, encoder)


def test_queries_keep_their_vectors(tmp_path: Path) -> None:
    encoder = PiecesLate()
    Engine.build(tmp_path / "i", documents(5), encoder, config=config("fixed:1"))
    with Engine.open(tmp_path / "i", encoder) as engine:
        matches = engine.explain("candle of winter", "d1").matches
    assert [match.query_token.text for match in matches] == ["ca", "nd", "le", "of", "wi", "nt", "er"]
    assert {match.document_position for match in matches} == {0}


def test_a_resumed_build_pools_as_it_began(tmp_path: Path) -> None:
    encoder, path = PiecesLate(), tmp_path / "i"

    def interrupted() -> Any:
        yield from documents(20)[:10]
        raise DataError("cut off")

    with pytest.raises(DataError, match="cut off"):
        Engine.build(path, interrupted(), encoder, config=config("ward:2"))
    for other in ("none", "ward:3", "words"):
        with pytest.raises(ConfigError, match=rf"pooling='{other}', but the build began with 'ward:2'"):
            Engine.build(path, documents(20), encoder, config=config(other), resume=True)
    Engine.build(path, documents(20), encoder, config=config("ward:2"), resume=True)
    Engine.build(tmp_path / "whole", documents(20), encoder, config=config("ward:2"))
    for file in sorted((tmp_path / "whole").glob("segments/*/codes.bin")):
        assert file.read_bytes() == (path / file.relative_to(tmp_path / "whole")).read_bytes()


class Hidden:
    """Tells no tokens, and must not be asked for vectors."""

    kind, metric, dim = "late", "maxsim", 16

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "hidden"}

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        raise AssertionError("encoded")

    encode_query = encode_document


@pytest.mark.parametrize(
    ("spec", "encoder", "told"),
    [
        ("ward:2", HashingDense(), "this encoder is dense"),
        ("words", Hidden(), "places of tokens"),
        ("ward:0.5", Hidden(), "token pooling is 'ward:0.5'"),
        ("two", Hidden(), "token pooling is 'two'"),
    ],
)
@pytest.mark.parametrize("make", ["build", "create"])
def test_what_cannot_be_pooled_makes_no_index(
    tmp_path: Path, spec: str, encoder: Any, told: str, make: str
) -> None:
    arguments = [documents(3)] if make == "build" else []
    with pytest.raises(ConfigError, match=told):
        getattr(Engine, make)(tmp_path / "i", *arguments, encoder, config=config(spec))
    assert not (tmp_path / "i").exists()


def test_an_empty_index_pools_what_is_added(tmp_path: Path) -> None:
    encoder = PiecesLate()
    with Engine.create(tmp_path / "i", encoder, config=config("words")) as engine:
        assert engine.inspect().pooling == "words"
        engine.add(documents(3))
        check_stored(engine, documents(3), "words", encoder)


def test_a_recipe_searches_pooled_vectors_and_leaves_them(tmp_path: Path) -> None:
    encoder = PiecesLate()
    recipe = RecipeConfig.of(index="tokens", codec="none", ncentroids=16, held_out=8, recall_target=0.999)
    with Engine.create(tmp_path / "i", encoder, config=config("ward:2"), runtime=SMALL) as engine:
        engine.add(documents(120))
        before = engine.inspect().tokens
        engine.compact(recipe=recipe, force=True)
        assert (engine.inspect().tokens, engine.inspect().pooling) == (before, "ward:2")
        engine.add(documents(2, first=500))
        engine.compact()
        everything = {"nprobe": 16, "num_scored": 1000, "num_candidates": 1000}
        for query in QUERIES:
            exact = engine.search(query, 10, params={"exact": True})
            found = engine.search(query, 10, params=everything)
            assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in exact]
        engine.compact(recipe=RecipeConfig())
        check_stored(engine, [*documents(120), *documents(2, first=500)], "ward:2", encoder)


@pytest.mark.parametrize("spec", ["ward:2", "words"])
def test_repair_pools_again(tmp_path: Path, spec: str) -> None:
    encoder = PiecesLate()
    Engine.build(tmp_path / "i", documents(10), encoder, config=config(spec))
    damaged = min((tmp_path / "i").glob("segments/*/codes.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert repair_index(tmp_path / "i", encoder).documents == 7
    with Engine.open(tmp_path / "i", encoder) as engine:
        assert engine.verify().ok
        check_stored(engine, documents(10), spec, encoder)


@pytest.mark.parametrize("spec", ["none", *SPECS])
def test_explanations_add_up_and_name_their_tokens(tmp_path: Path, spec: str) -> None:
    encoder = PiecesLate(length=None)
    Engine.build(tmp_path / "i", documents(12), encoder, config=config(spec))
    with Engine.open(tmp_path / "i", encoder) as engine:
        for query, hit in itertools.product(QUERIES, engine.search(QUERIES[0], 12)):
            found = engine.explain(query, hit.id)
            assert found.scored_from == "stored"
            assert found.score == pytest.approx(sum(match.contribution for match in found.matches))
            if query == QUERIES[0]:
                assert found.score == pytest.approx(hit.score, rel=1e-6)
            vectors = dict(zip(encoder.document_tokens(found.text), _of(encoder, found.text), strict=True))
            for match, vector in zip(found.matches, encoder.encode_query([query])[0], strict=True):
                # The mean of the vectors of the tokens that are named gives the similarity that is told.
                mean = np.mean([vectors[token] for token in match.document_tokens], axis=0)
                assert match.similarity == pytest.approx(float(vector @ mean), rel=5e-3, abs=5e-3)
                token = match.document_token
                assert token is not None
                if token.start is not None:
                    assert found.text[token.start : token.end] == token.text


def _of(encoder: PiecesLate, text: str) -> FloatArray:
    return encoder.encode_document([text])[0].astype(np.float64)


def test_words_are_explained_as_words(tmp_path: Path) -> None:
    document = Document("a", "reading winter letters")
    Engine.build(tmp_path / "i", [document], PiecesLate(), config=config("words"))
    with Engine.open(tmp_path / "i", PiecesLate()) as engine:
        first, second = engine.explain("wi re", "a").matches
    assert first.document_token == Token("winter", 8, 14)
    assert [token.text for token in first.document_tokens] == ["wi", "nt", "er"]
    assert second.document_token == Token("reading", 0, 7)


class Moody(PiecesLate):
    """Reads documents otherwise once ``changed``."""

    changed = False

    def document_tokens(self, text: str) -> list[Token]:
        return super().document_tokens(text)[: 3 if self.changed else None]


def test_what_is_encoded_otherwise_now_is_explained_by_numbers(tmp_path: Path) -> None:
    encoder = Moody()
    Engine.build(
        tmp_path / "i", [Document("a", "reading winter letters")], encoder, config=config("ward:1.5")
    )
    encoder.changed = True
    with Engine.open(tmp_path / "i", encoder) as engine:
        (match,) = engine.explain("wi", "a").matches
    assert match.document_token == Token(f"#{match.document_position}")
    assert match.document_tokens == ()
    assert match.similarity > 0.5


def test_codes_are_marked(tmp_path: Path) -> None:
    """What is kept of a vector decides, whatever it is found by."""
    encoder = PiecesLate()
    recipe = RecipeConfig.of(index="tokens", codec="pq", m=4, ncentroids=16, held_out=8)
    Engine.build(tmp_path / "i", documents(300), encoder, config=config("ward:2", recipe=recipe), force=True)
    with Engine.open(tmp_path / "i", encoder, runtime=SMALL) as engine:
        assert engine.explain(QUERIES[0], "d1").scored_from == "stored"
        engine.compact("residual", force=True)
        for hit in engine.search(QUERIES[0], 5):
            found = engine.explain(QUERIES[0], hit.id)
            assert found.scored_from == "codes"
            assert found.score == pytest.approx(hit.score, rel=1e-5)
            assert all(match.document_tokens for match in found.matches)


def test_damage_to_what_says_how_to_pool_is_told(tmp_path: Path) -> None:
    Engine.build(tmp_path / "i", documents(3), PiecesLate(), config=config("ward:2"))
    with Catalog.open(tmp_path / "i", write=True) as catalog:
        assert catalog.pooling() == "ward:2"
        with catalog.transaction("damage"):
            catalog.set_meta("config", ["no", "mapping"])
        with pytest.raises(IndexDamagedError, match="the configuration cannot be read"):
            catalog.pooling()
