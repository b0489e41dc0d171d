"""Hamming distance of bit strings, and the nearest of them, in plain NumPy.

``distance(a, b) = popcount(a XOR b)``: the number of bits that differ (R. W. Hamming, Error detecting
and error correcting codes, Bell System Technical Journal 29(2), 1950).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["hamming", "hamming_distances"]


def hamming_distances(query: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Bits that differ between ``query`` ``(nbytes,)`` and each of ``codes`` ``(n, nbytes)``: ``(n,)``."""
    return np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.int32)


def hamming(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], IntArray]:
    """The ``k`` nearest codes of each query, nearest first, equal distances by ordinal.

    Args:
        queries: ``(n_queries, nbytes)``.
        codes: ``(n, nbytes)``; the ordinal of a code is its row.
        k: how many; fewer come back where fewer are accepted.
        accept: ``(n,)``: the codes that may be found; None: all.

    Returns:
        Distances and ordinals, both ``(n_queries, min(k, accepted))``.
    """
    ordinals = np.arange(len(codes)) if accept is None else np.flatnonzero(accept)
    k = min(k, len(ordinals))
    distances = np.empty((len(queries), k), np.int32)
    found = np.empty((len(queries), k), np.int64)
    for i, query in enumerate(queries):
        all_distances = hamming_distances(query, codes[ordinals])
        nearest = np.argsort(all_distances, kind="stable")[:k]
        distances[i], found[i] = all_distances[nearest], ordinals[nearest]
    return distances, found
