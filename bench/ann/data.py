"""What is searched: real embeddings and a seeded synthetic law, all of unit length.

On unit vectors inner product, cosine and l2 give the same order, so that every engine may use the
one it is best at.

``minilm-tokens``            token vectors of scifact's documents (encoder ``minilm-late``), a seeded
                             sample; queries are token vectors of scifact's queries
``minilm-tokens:documents``  the same, but the queries are document tokens that are not in the sample
``minilm:COLLECTION``        document vectors of a collection, its own queries; ``minilm:all`` joins all
``synthetic:N``              N vectors of 384 dimensions by `synthetic`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

__all__ = ["Data", "exact_scores", "load", "synthetic"]

TOKENS = "scifact"
DIM = 384
CLUSTERS = 1000
SPREAD = 0.6
BLOCK = 65536


@dataclass(frozen=True)
class Data:
    """``vectors`` ``(n, d)`` and ``queries`` ``(m, d)``: float32, unit length; ``about`` says of what."""

    name: str
    vectors: FloatArray
    queries: FloatArray
    about: str


def load(name: str, n: int | None, n_queries: int, cache: Path, collections: Path, seed: int = 0) -> Data:
    """The data of that name, at most ``n`` vectors and ``n_queries`` queries.

    Raises:
        ValueError: there is no such data.
    """
    family, _, rest = name.partition(":")
    if family == "synthetic":
        return synthetic(int(rest or n or 200_000), n_queries, seed=seed)
    if family == "minilm-tokens" and rest in ("", "documents"):
        return _tokens(name, rest == "documents", n, n_queries, cache, collections, seed)
    if family == "minilm" and rest:
        return _documents(name, rest, n, n_queries, cache, collections, seed)
    raise ValueError(
        f"there is no data {name!r}: give minilm-tokens, minilm-tokens:documents, minilm:COLLECTION, "
        "minilm:all or synthetic:N"
    )


def synthetic(n: int, n_queries: int, dim: int = DIM, seed: int = 0) -> Data:
    """Clustered vectors with a decaying spectrum, and queries of the same law.

    ``x = (c + s g) R / |.|``: the centre ``c`` is one of 1,000, chosen uniformly; ``c`` and ``g`` are
    normal with variance ``1 / i`` in coordinate ``i = 1..dim``; ``s = 0.6``; ``R`` is a random rotation,
    so that no coordinate is special.
    """
    rng = np.random.default_rng(seed)
    scales = 1 / np.sqrt(np.arange(1, dim + 1, dtype=np.float32))
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    centres = rng.standard_normal((CLUSTERS, dim), dtype=np.float32) * scales

    def draw(count: int) -> FloatArray:
        out = np.empty((count, dim), dtype=np.float32)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            chosen = centres[rng.integers(CLUSTERS, size=size)]
            noise = rng.standard_normal((size, dim), dtype=np.float32) * scales
            out[start : start + size] = _unit((chosen + SPREAD * noise) @ rotation)
        return out

    about = f"{CLUSTERS} clusters, variance 1/i in coordinate i, spread {SPREAD}, rotated, seed {seed}"
    return Data(f"synthetic:{n}", draw(n), draw(n_queries), about)


def exact_scores(data: Data, k: int) -> FloatArray:
    """The ``k`` best inner products of each query, ``(m, min(k, n))`` float32, best first; brute force."""
    k = min(k, len(data.vectors))
    best = np.full((len(data.queries), k), -np.inf, dtype=np.float32)
    for start in range(0, len(data.vectors), BLOCK):
        scores = data.queries @ data.vectors[start : start + BLOCK].T
        both = np.concatenate([best, scores], axis=1)
        best = -np.partition(-both, k - 1, axis=1)[:, :k]
    return -np.sort(-best, axis=1)


def _tokens(
    name: str, held_out: bool, n: int | None, n_queries: int, cache: Path, collections: Path, seed: int
) -> Data:
    from bench.embeddings import token_vectors

    rng = np.random.default_rng(seed)
    everything = token_vectors(collections / TOKENS, cache, "documents")
    order = rng.permutation(len(everything))
    n = min(n or len(everything), len(everything) - n_queries)
    if held_out:
        queries, where = _rows(everything, order[n : n + n_queries]), "documents, held out"
    else:
        asked = token_vectors(collections / TOKENS, cache, "queries")
        queries, where = _rows(asked, rng.permutation(len(asked))[:n_queries]), "queries"
    about = (
        f"{n} of {len(everything)} token vectors of {TOKENS} by minilm-late; queries: tokens of its {where}"
    )
    return Data(name, _rows(everything, order[:n]), queries, about)


def _documents(
    name: str, which: str, n: int | None, n_queries: int, cache: Path, collections: Path, seed: int
) -> Data:
    from bench.embeddings import document_vectors, query_vectors

    folders = sorted(path for path in collections.iterdir() if path.is_dir())
    chosen = [path for path in folders if which in ("all", path.name)]
    if not chosen:
        raise ValueError(
            f"there is no collection {which!r} in {collections}: {', '.join(p.name for p in folders)}"
        )
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([document_vectors(folder, cache)[0] for folder in chosen])
    queries = np.concatenate([query_vectors(folder, cache)[0] for folder in chosen])
    vectors = vectors[np.sort(rng.permutation(len(vectors))[: n or len(vectors)])]
    queries = queries[rng.permutation(len(queries))[:n_queries]]
    return Data(name, _unit(vectors), _unit(queries), f"document and query vectors of {which} by minilm")


def _rows(array: FloatArray, chosen: NDArray[np.int64]) -> FloatArray:
    """In the file's order: one pass over the map."""
    return _unit(array[np.sort(chosen)])


def _unit(values: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.ascontiguousarray(values / np.maximum(lengths, 1e-12), dtype=np.float32)
