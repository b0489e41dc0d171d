"""Cases of postings: tokens of documents of about 120 to centroids, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case

__all__ = ["CASES"]

MEAN_LENGTH = 120


def _tokens(rng: np.random.Generator, scale: float, n: int, n_centroids: int) -> tuple[Any, Any, int]:
    """Centroids of tokens, some far more frequent than others, and the documents' offsets."""
    doclens = rng.poisson(MEAN_LENGTH, max(int(n * scale), 3))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(doclens)])
    kinds = max(int(n_centroids * scale), 5)
    centroids = np.minimum(rng.zipf(1.3, int(offsets[-1])) - 1, kinds - 1)
    return centroids.astype(np.uint16 if kinds <= 2**16 else np.uint32), offsets, kinds


def _make_distinct(n: int, n_centroids: int) -> Callable[..., tuple[Any, ...]]:
    return lambda rng, scale: _tokens(rng, scale, n, n_centroids)


def _make_invert(n: int, n_centroids: int) -> Callable[..., tuple[Any, ...]]:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        from retrieval.kernels.postings.reference import distinct

        centroids, offsets, kinds = _tokens(rng, scale, n, n_centroids)
        named, counts = distinct(centroids, offsets, kinds)
        return named, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), kinds

    return make


def _count(ids: Any, *_: Any) -> float:
    return float(len(ids))


def _bytes_distinct(ids: Any, *_: Any) -> float:
    """A token read, its stamp read and written, and at most once its centroid written."""
    return float(len(ids)) * (2 * ids.itemsize + 16)


def _bytes_invert(ids: Any, *_: Any) -> float:
    """A centroid read twice, its place read and written twice, and a posting written."""
    return float(len(ids)) * (2 * ids.itemsize + 32 + 4)


def _case(function: str, n: int, n_centroids: int) -> Case:
    is_distinct = function == "distinct"
    return Case(
        "postings",
        function,
        f"{n} documents, {n_centroids} centroids",
        (_make_distinct if is_distinct else _make_invert)(n, n_centroids),
        "tokens" if is_distinct else "postings",
        _count,
        "read",
        _bytes_distinct if is_distinct else _bytes_invert,
    )


CASES = [
    _case(function, *size)
    for function in ("distinct", "invert")
    for size in ((5_000, 8_192), (20_000, 100_000))
]
