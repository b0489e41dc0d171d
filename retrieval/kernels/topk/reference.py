"""Selection of the best scores, by sorting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["merge", "select", "topk", "topk_rows"]


def topk(scores: FloatArray, k: int, accept: NDArray[np.bool_] | None = None) -> tuple[FloatArray, IntArray]:
    """The best ``k`` of ``scores`` ``(n,)`` float32: ``(scores (k',), ordinals (k',) int64)``.

    ``accept`` ``(n,)`` leaves ordinals out; ``k'`` is ``k`` or the number of accepted ordinals if
    that is less. Score descending, ties by ordinal ascending; -0.0 equals 0.0, infinities are scores.

    Raises:
        ValueError: a score is NaN, accepted or not.
    """
    if np.isnan(scores).any():
        raise ValueError(f"the score at position {np.flatnonzero(np.isnan(scores))[0]} is NaN")
    ordinals = np.arange(len(scores)) if accept is None else np.flatnonzero(accept)
    best = ordinals[np.lexsort((ordinals, -scores[ordinals]))[:k]]
    return scores[best], best


def topk_rows(scores: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    """`topk` of each row of ``(n_queries, n)``: two arrays of ``(n_queries, min(k, n))``."""
    shape = (len(scores), min(k, scores.shape[1]))
    found = [topk(row, k) for row in scores]
    return (
        np.array([row for row, _ in found], dtype=np.float32).reshape(shape),
        np.array([row for _, row in found], dtype=np.int64).reshape(shape),
    )


def merge(
    scores: Sequence[FloatArray] | FloatArray, ids: Sequence[IntArray] | IntArray, k: int
) -> tuple[FloatArray, IntArray]:
    """The best ``k`` of several answers: ``(scores (k',) float32, ids (k',) int64)``.

    ``scores`` and ``ids`` are ``(n_lists, n)`` or one array a list, of any lengths. Score descending,
    ties by id ascending; the lists may be in any order.

    Raises:
        ValueError: a score is NaN.
    """
    if any(np.isnan(row).any() for row in scores):
        raise ValueError("a score is NaN")
    all_scores = np.concatenate([np.empty(0, np.float32), *scores])
    all_ids = np.concatenate([np.empty(0, np.int64), *ids])
    best = np.lexsort((all_ids, -all_scores))[:k]
    return all_scores[best], all_ids[best]


def select(scores: NDArray[Any], k: int, slack: float) -> IntArray:
    """Positions whose score is at least the k-th best minus ``slack``, in ascending order.

    ``scores`` is ``(n,)`` without NaN; with ``n <= k`` every position is returned. Whatever ties
    with the k-th best is kept, so a later, exact comparison can break the tie.
    """
    if len(scores) <= k:
        return np.arange(len(scores))
    kth_best = np.sort(scores)[::-1][k - 1]
    return np.flatnonzero(scores >= kth_best - slack)
