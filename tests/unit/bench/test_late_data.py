"""Token vectors for the late-interaction benchmark: kept, projected, made up; and the exact answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import embeddings
from bench.late import data as datasets
from bench.late import synthetic, truth
from bench.peers.late_base import Tokens, best, maxsim, rescored
from retrieval.types import Ragged

SMALL = replace(synthetic.LAW, dim=16, words=200, topics=5, topic_words=20, mean_length=12, queries=9)


class Words:
    """A vector a word, from its letters; what begins with ``x`` has a token that is left out."""

    dim = 6

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "words"}

    def document_tokens(self, text: str) -> list[str]:
        return [word for word in text.split() if not word.startswith("x")]

    query_tokens = document_tokens

    def encode_document(self, texts: Sequence[str]) -> Ragged:
        return Ragged.from_list([self._vectors(text) for text in texts], self.dim)

    encode_query = encode_document

    def _vectors(self, text: str) -> Any:
        rows = [np.random.default_rng(list(word.encode())).random(6) for word in self.document_tokens(text)]
        return np.array(rows, dtype=np.float32).reshape(-1, 6)


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(embeddings, "_encoder", lambda _: Words())
    monkeypatch.setattr(embeddings, "CHUNK", 2)
    folder = tmp_path / "data" / "tiny"
    (folder / "qrels").mkdir(parents=True)
    texts = ["a b c", "xx xy", "d", "a d e f", "b b"]
    write(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    asked = {"q0": "a d", "q1": "xz", "q2": "b", "q3": "e f"}
    write(folder / "queries.jsonl", [{"_id": name, "text": text} for name, text in asked.items()])
    (folder / "qrels/test.tsv").write_text("q0\td3\t1\nq2\td4\t2\nq1\td0\t1\n")
    return folder


def write(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def random_tokens(lengths: Sequence[int], dim: int = 8, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((sum(lengths), dim)).astype(np.float32)
    return Tokens(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def score_of(query: Any, document: Any) -> float:
    """MaxSim by its definition, in float64."""
    return sum(max(float(np.dot(q.astype(float), x.astype(float))) for x in document) for q in query)


def test_lengths_are_kept_and_add_up(collection: Path, tmp_path: Path) -> None:
    lengths = embeddings.token_lengths(collection, tmp_path, "documents")
    assert lengths.tolist() == [3, 0, 1, 4, 2]
    assert embeddings.token_lengths(collection, tmp_path, "queries").tolist() == [2, 0, 1, 2]
    assert embeddings.text_ids(collection, "documents") == ["d0", "d1", "d2", "d3", "d4"]
    values = embeddings.token_vectors(collection, tmp_path, "documents")
    np.testing.assert_array_equal(values[4:8], Words()._vectors("a d e f"))


def test_lengths_that_do_not_add_up_are_refused(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Words, "document_tokens", lambda self, text: text.split())
    monkeypatch.setattr(
        Words, "_vectors", lambda self, text: np.zeros((len(text.split()) - 1, 6), np.float32)
    )
    with pytest.raises(ValueError, match=r"names 12 tokens of tiny's documents, but gave 7"):
        embeddings.token_lengths(collection, tmp_path, "documents")


def test_a_collection_leaves_out_what_has_no_token_and_what_is_not_judged(
    collection: Path, tmp_path: Path
) -> None:
    data = datasets.load("tiny", None, 10, tmp_path / "cache", collection.parent)
    assert data.document_ids == ["d0", "d2", "d3", "d4"]
    assert data.query_ids == ["q0", "q2"], "q1 has no token, q3 no judgement"
    assert data.texts == ["a d", "b"]
    assert data.qrels == {"q0": {"d3": 1}, "q2": {"d4": 2}}
    np.testing.assert_array_equal(data.documents[2], Words()._vectors("a d e f"))
    np.testing.assert_array_equal(data.queries[1], Words()._vectors("b"))
    one = datasets.load("tiny", None, 1, tmp_path / "cache", collection.parent)
    assert len(one.queries) == 1
    assert one.key != data.key


def test_fewer_dimensions_keep_the_best_directions(collection: Path, tmp_path: Path) -> None:
    whole = datasets.load("tiny", None, 10, tmp_path / "cache", collection.parent)
    data = datasets.load("tiny", 3, 10, tmp_path / "cache", collection.parent)
    assert data.documents.dim == data.queries.dim == 3
    assert data.documents.offsets.tolist() == whole.documents.offsets.tolist()
    assert data.key != whole.key
    values = whole.documents.values
    axes = np.linalg.eigh(values.T @ values)[1][:, -3:]
    for many, few in ((whole.documents, data.documents), (whole.queries, data.queries)):
        kept = many.values @ axes
        kept /= np.linalg.norm(kept, axis=1, keepdims=True)
        got = np.asarray(few.values, dtype=np.float32)
        np.testing.assert_allclose(got @ got.T, kept @ kept.T, atol=3e-3)  # whatever the axes' signs
    again = datasets.load("tiny", 3, 10, tmp_path / "cache", collection.parent)
    np.testing.assert_array_equal(again.documents.values, data.documents.values)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_documents_are_cut_after_the_directions_were_fitted(collection: Path, tmp_path: Path) -> None:
    whole = datasets.load("tiny", 3, 10, tmp_path / "cache", collection.parent)
    cut = datasets.load("tiny", 3, 10, tmp_path / "cache", collection.parent, document_length=2)
    assert np.diff(cut.documents.offsets).tolist() == [2, 1, 2, 2]
    np.testing.assert_array_equal(cut.documents[2], whole.documents[2][:2])
    np.testing.assert_array_equal(cut.queries.values, whole.queries.values)
    assert cut.key != whole.key
    assert cut.name != whole.name


@pytest.mark.parametrize(
    ("name", "dim"), [("none", None), ("synthetic:", None), ("synthetic:0", None), ("synthetic:5", 64)]
)
def test_unknown_data_is_refused(name: str, dim: int | None, collection: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no data|write synthetic:N"):
        datasets.load(name, dim, 5, tmp_path, collection.parent)
    with pytest.raises(ValueError, match="--dim 7"):
        datasets.load("tiny", 7, 5, tmp_path, collection.parent)


def load_synthetic(folder: Path, n: int, law: synthetic.Law = SMALL) -> tuple[Tokens, Tokens]:
    paths = synthetic.write(folder, n, law)
    return tuple(
        Tokens(np.load(paths[side]), np.concatenate([[0], np.cumsum(np.load(paths[f"{side}-lengths"]))]))
        for side in ("documents", "queries")
    )  # type: ignore[return-value]


def test_synthetic_text_does_not_depend_on_blocks_or_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, queries = load_synthetic(tmp_path / "a", 50)
    monkeypatch.setattr(synthetic, "BLOCK", 7)
    again, same_queries = load_synthetic(tmp_path / "b", 50)
    np.testing.assert_array_equal(again.values, documents.values)
    np.testing.assert_array_equal(same_queries.values, queries.values)
    fewer, _ = load_synthetic(tmp_path / "c", 23)
    np.testing.assert_array_equal(fewer.values, documents.values[: fewer.count])
    other, _ = load_synthetic(tmp_path / "d", 50, replace(SMALL, seed=1))
    assert not np.array_equal(other[0][:1], documents[0][:1])
    assert not list(tmp_path.glob("*/*.partial"))


def test_synthetic_text_has_structure(tmp_path: Path) -> None:
    law = replace(SMALL, dim=64, words=2000, mean_length=40.0, queries=60)
    documents, queries = load_synthetic(tmp_path, 300, law)
    assert len(queries) == 60
    norms = np.linalg.norm(documents.values.astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)
    lengths = np.diff(documents.offsets)
    assert 36 < lengths.mean() < 44
    assert lengths.min() >= 1
    assert np.diff(queries.offsets).max() <= 32
    within = np.mean([np.mean(documents[i] @ documents[i].T) for i in range(50)])
    between = np.mean([np.mean(documents[i] @ documents[i + 50].T) for i in range(50)])
    assert within > between + 0.05, "a document's tokens have its topic and its own shift"
    asked = np.random.default_rng([law.seed, 1]).permutation(300)[:60]
    found = truth.exact(documents, queries, 1).ids[:, 0]
    assert (found == asked).mean() > 0.7, "a query is nearest to the document it was taken from"


@pytest.mark.parametrize("size", [1, 7, 33, 1000])
def test_blocks_are_whole_texts(size: int) -> None:
    tokens = random_tokens([3, 1, 40, 2, 2, 31, 1])
    rows, texts = [], []
    for first, end, vectors in tokens.blocks(size):
        assert end > first
        assert len(vectors) <= size or end == first + 1
        rows.append(vectors)
        texts += range(first, end)
    assert texts == list(range(7))
    np.testing.assert_array_equal(np.concatenate(rows), tokens.values)


def test_maxsim_and_rescoring_follow_the_definition() -> None:
    documents, query = random_tokens([1, 5, 2, 31, 3]), random_tokens([4], seed=1)[0]
    expected = [score_of(query, documents[i]) for i in range(5)]
    found = maxsim(documents.values, documents.offsets[:-1], query)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    candidates = np.array([4, 0, 3])
    order = sorted(candidates, key=lambda i: -expected[i])
    halves = Tokens(documents.values.astype(np.float16), documents.offsets)
    for given in (documents, halves):
        assert rescored(given, query, candidates, 2).tolist() == order[:2]
        assert rescored(given, query, candidates, 9).tolist() == order
    assert rescored(documents, query, np.array([], dtype=np.int64), 2).tolist() == []
    assert best(np.array([1.0, 3.0, 3.0, 0.0]), 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize(("block", "group", "depth"), [(1, 1, 3), (40, 2, 5), (10_000, 64, 100)])
def test_exact_answers_are_those_of_a_full_sort(
    block: int, group: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "BLOCK", block)
    monkeypatch.setattr(truth, "GROUP", group)
    documents = random_tokens(list(np.random.default_rng(5).integers(1, 33, 37)))
    queries = random_tokens([1, 31, 7, 2, 32], seed=1)
    table = np.array([[score_of(queries[i], documents[j]) for j in range(37)] for i in range(5)])
    found = truth.exact(documents, queries, depth)
    assert found.ids.shape == found.scores.shape == (5, min(depth, 37))
    np.testing.assert_array_equal(found.ids, np.argsort(-table, axis=1)[:, :depth])
    np.testing.assert_allclose(found.scores, -np.sort(-table, axis=1)[:, :depth], rtol=1e-5)


def test_recall_counts_scores_of_the_first_k() -> None:
    exact = truth.Truth(np.array([[4, 7, 2, 9]]), np.array([[3.0, 2.0, 2.0, 1.0]], dtype=np.float32))

    def of(k: int, *found: int) -> float:
        return truth.recall([np.array(found, dtype=np.int64)], exact, k)

    assert of(2, 4, 7) == of(2, 2, 4) == 1, "one of two equal documents is as good"
    assert of(2, 7, 2) == 1
    assert of(2, 4, 4) == of(2, 4) == of(2, 4, 9) == 0.5
    assert of(2, 9, 5, 4, 7) == 0, "only the first two count"
    assert of(4, 4, 7, 2, 9) == of(100, 9, 2, 7, 4) == 1
    assert of(1) == 0


def test_ndcg_is_by_the_judgements(collection: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    data = datasets.load("tiny", None, 10, tmp_path / "cache", collection.parent)
    right = [np.array([2, 0]), np.array([3, 0])]
    assert truth.ndcg(right, data) == pytest.approx(1)
    second = [np.array([0, 2]), np.array([3])]
    assert truth.ndcg(second, data) == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert truth.ndcg(right, replace(data, qrels={})) is None


def test_the_truth_is_kept(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.load("tiny", None, 10, tmp_path / "cache", collection.parent)
    first = truth.kept(data, tmp_path / "cache")
    monkeypatch.setattr(truth, "exact", None)
    again = truth.kept(data, tmp_path / "cache")
    np.testing.assert_array_equal(first.ids, again.ids)
    np.testing.assert_array_equal(first.scores, again.scores)
