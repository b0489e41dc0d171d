"""The best of scores that are computed a block of codes at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.topk import topk
from retrieval.kernels.topk.cpu import merge
from retrieval.types import FloatArray, IntArray

__all__ = ["best_of_blocks"]

BLOCK = 8192
"""Codes scored at once."""


def best_of_blocks(
    score: Callable[[int, int], FloatArray],
    n_queries: int,
    n: int,
    k: int,
    accept: NDArray[np.bool_] | None,
) -> tuple[FloatArray, IntArray]:
    """The best ``k`` accepted ordinals of each query, ties by ordinal.

    ``score(first, last)`` gives the scores ``(n_queries, last - first)`` of some codes.

    Returns:
        Scores and ordinals, both ``(n_queries, min(k, accepted))``.
    """
    k = min(k, n if accept is None else int(np.count_nonzero(accept)))
    best, ordinals = np.empty((n_queries, 0), np.float32), np.empty((n_queries, 0), np.int64)
    for first in range(0, n, BLOCK) if k else ():
        last = min(first + BLOCK, n)
        mask = None if accept is None else accept[first:last]
        found = [topk(row, k, mask) for row in score(first, last)]
        merged = [
            merge([best[i], scores], [ordinals[i], first + own], k) for i, (scores, own) in enumerate(found)
        ]
        size = min(k, best.shape[1] + (len(found[0][0]) if found else 0))
        best = np.array([scores for scores, _ in merged], np.float32).reshape(n_queries, size)
        ordinals = np.array([own for _, own in merged], np.int64).reshape(n_queries, size)
    return (best, ordinals) if n_queries else (np.empty((0, k), np.float32), np.empty((0, k), np.int64))
