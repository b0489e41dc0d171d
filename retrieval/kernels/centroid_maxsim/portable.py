"""Centroid rows in plain loops: the inner one, over query tokens, is what LLVM vectorises."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.runs import is_damaged

__all__ = ["score"]


@njit(nogil=True, cache=True, error_model="numpy")
def score(table, n_q, n_centroids, centroids, offsets, ordinals, listed, scores):  # type: ignore[no-untyped-def]
    """Fill ``scores``; the position of the first damaged document, or -1. ``table`` is flat."""
    best = np.empty(n_q, table.dtype)
    for i in range(len(scores)):
        at = ordinals[i] if listed else i
        start, stop = offsets[at], offsets[at + 1]
        if is_damaged(centroids, start, stop, n_centroids):
            return i
        scores[i] = 0
        if stop == start:
            continue
        best[:] = table[n_q * np.int64(centroids[start]) : n_q * (np.int64(centroids[start]) + 1)]
        for t in range(start + 1, stop):
            row = table[n_q * np.int64(centroids[t]) : n_q * (np.int64(centroids[t]) + 1)]
            for q in range(n_q):
                best[q] = max(best[q], row[q])
        total = np.int64(0)
        for q in range(n_q):
            total += best[q]
        scores[i] = total
    return -1
