"""Kept embeddings: encoded once, read again, never mixed up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import embeddings
from bench.ann import data as datasets
from retrieval.types import Ragged


class Counting:
    """Vectors from the text's length; late or dense by name; counts what it is asked."""

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, 0

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name}

    def encode_document(self, texts: Sequence[str]) -> Any:
        self.asked += len(texts)
        vectors = [np.full((len(text.split()), 4), len(text), np.float32) for text in texts]
        return Ragged.from_list(vectors, 4) if "late" in self.name else np.stack([v[0] for v in vectors])

    encode_query = encode_document


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counting]]:
    made: dict[str, Counting] = {}
    monkeypatch.setattr(embeddings, "_encoder", lambda name: made.setdefault(name, Counting(name)))
    monkeypatch.setattr(embeddings, "CHUNK", 2)
    yield made


def make_collection(folder: Path, texts: Sequence[str]) -> Path:
    folder.mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(lines))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "four"}\n{"_id": "r", "text": "a b c"}\n')
    return folder


def test_documents_are_encoded_once(tmp_path: Path, encoders: dict[str, Counting]) -> None:
    folder, cache = make_collection(tmp_path / "c", ["a", "bb", "", "dddd", "eeeee"]), tmp_path / "cache"
    vectors, ids = embeddings.document_vectors(folder, cache)
    assert ids == ["d0", "d1", "d3", "d4"], "what has no text is left out"
    np.testing.assert_array_equal(vectors, np.repeat([[1], [2], [4], [5]], 4, axis=1))
    assert isinstance(vectors, np.memmap)
    again, _ = embeddings.document_vectors(folder, cache)
    np.testing.assert_array_equal(again, vectors)
    assert encoders["minilm"].asked == 4
    assert [path.suffix for path in cache.iterdir()] == [".npy"], "nothing is left behind"


def test_another_encoder_or_corpus_has_other_vectors(tmp_path: Path, encoders: dict[str, Counting]) -> None:
    cache = tmp_path / "cache"
    one, other = (
        make_collection(tmp_path / "a/c", ["x", "y"]),
        make_collection(tmp_path / "b/c", ["x", "yyyy"]),
    )
    first = embeddings.document_vectors(one, cache)[0]
    second = embeddings.document_vectors(other, cache)[0]
    assert first[1, 0] == 1
    assert second[1, 0] == 4
    embeddings.document_vectors(one, cache, "another")
    assert encoders["another"].asked == 2
    assert len(list(cache.iterdir())) == 3


def test_queries_and_tokens(tmp_path: Path, encoders: dict[str, Counting]) -> None:
    folder, cache = make_collection(tmp_path / "c", ["a b", "ccc", "d e f"]), tmp_path / "cache"
    vectors, ids = embeddings.query_vectors(folder, cache)
    assert ids == ["q", "r"]
    assert vectors[:, 0].tolist() == [4, 5]
    tokens = embeddings.token_vectors(folder, cache, "documents")
    assert tokens[:, 0].tolist() == [3, 3, 3, 5, 5, 5]
    assert embeddings.token_vectors(folder, cache, "queries")[:, 0].tolist() == [4, 5, 5, 5]
    assert encoders["minilm-late"].asked == 5


def test_data_from_collections(tmp_path: Path, encoders: dict[str, Counting]) -> None:
    texts = [" ".join("w" * (1 + (i + j) % 5) for j in range(3)) for i in range(8)]
    folder, cache = make_collection(tmp_path / "data/scifact", texts), tmp_path / "cache"
    make_collection(tmp_path / "data/other", ["a", "b"])
    found = datasets.load("minilm-tokens", 10, 3, cache, folder.parent)
    assert found.vectors.shape == (10, 4)
    assert found.queries.shape == (3, 4)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    again = datasets.load("minilm-tokens", 10, 3, cache, folder.parent)
    np.testing.assert_array_equal(found.vectors, again.vectors)
    held = datasets.load("minilm-tokens:documents", None, 5, cache, folder.parent)
    assert len(held.vectors) + len(held.queries) == 24
    assert len(datasets.load("minilm:other", None, 9, cache, folder.parent).vectors) == 2
    assert len(datasets.load("minilm:all", None, 9, cache, folder.parent).vectors) == 10
    with pytest.raises(ValueError, match="there is no collection 'none'"):
        datasets.load("minilm:none", None, 9, cache, folder.parent)


def test_nothing_to_keep_is_refused(tmp_path: Path, encoders: dict[str, Counting]) -> None:
    folder = make_collection(tmp_path / "c", [""])
    with pytest.raises(ValueError, match="nothing to keep"):
        embeddings.document_vectors(folder, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
