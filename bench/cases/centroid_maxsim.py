"""Cases of centroid_maxsim: the mark's shape, and awkward ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.centroid_maxsim.tables import aligned

__all__ = ["CASES", "documents"]

N_TOKENS, DOCUMENT = 1_000_000, 160


def documents(rng: np.random.Generator, scale: float, k: int, dtype: str) -> tuple[Any, Any]:
    """Centroids and offsets of about a million tokens."""
    lengths = rng.integers(0, 2 * DOCUMENT, max(int(N_TOKENS * scale) // DOCUMENT, 4))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return rng.integers(0, k, int(offsets[-1])).astype(dtype), offsets


def _make(k: int, n_q: int, table: str, dtype: str) -> Callable[..., tuple[Any, ...]]:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        rows = max(int(k * min(1.0, scale * 10)), 2)
        scores = aligned((rows, n_q), table)
        info = np.iinfo(table)
        scores[:] = rng.integers(info.min, info.max, (rows, n_q), endpoint=True)
        return (scores, *documents(rng, scale, rows, dtype))

    return make


def _numpy(table: Any, centroids: Any, offsets: Any) -> Callable[[], object]:
    """Gather, then a maximum a document: blocks of documents, so that gathered rows stay in cache."""
    filled = offsets[:-1] < offsets[1:]

    def run() -> Any:
        scores = np.zeros(len(offsets) - 1, dtype=np.int32)
        for first in range(0, len(scores), 64):
            last = min(first + 64, len(scores))
            rows = table[centroids[offsets[first] : offsets[last]]]
            starts = (offsets[first:last] - offsets[first])[filled[first:last]]
            if len(starts):
                best = np.maximum.reduceat(rows, starts, axis=0)
                scores[first:last][filled[first:last]] = best.sum(axis=1, dtype=np.int32)
        return scores

    return run


def _torch(table: Any, centroids: Any, offsets: Any) -> Callable[[], object]:
    """The same with one embedding_bag, which has no bytes: float32 rows."""
    import torch

    rows, ids = torch.from_numpy(table.astype(np.float32)), torch.from_numpy(centroids.astype(np.int64))
    starts = torch.from_numpy(offsets[:-1].astype(np.int64))
    bag = torch.nn.functional.embedding_bag
    return lambda: bag(ids, rows, starts, mode="max").sum(dim=1)


def _case(label: str, k: int, n_q: int, table: str, dtype: str, mark: float | None = None) -> Case:
    row = n_q * np.dtype(table).itemsize
    return Case(
        operation="centroid_maxsim",
        function="centroid_maxsim",
        label=label,
        make=_make(k, n_q, table, dtype),
        unit="tokens",
        units=lambda _table, centroids, _offsets: len(centroids),
        limit="cache",
        work=lambda _table, centroids, _offsets: len(centroids) * row,
        mark=mark,
        peers={"numpy gather": _numpy, "torch embedding_bag": _torch},
    )


CASES = [
    _case("u8 32 q, 8192 centroids", 8192, 32, "uint8", "uint16", mark=1e9 / 1.6),
    _case("u8 32 q, 262144 centroids", 262_144, 32, "uint8", "uint32"),
    _case("i16 32 q, 8192 centroids", 8192, 32, "int16", "uint16"),
    _case("u8 48 q, 8192 centroids", 8192, 48, "uint8", "uint16"),
    _case("u8 7 q, 1000 centroids", 1000, 7, "uint8", "uint16"),
]
