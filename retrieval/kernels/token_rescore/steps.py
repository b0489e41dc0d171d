"""Rescoring in blocks, best estimates first: what `best_stored` is, whoever scores a block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from retrieval.types import FloatArray, IntArray

__all__ = ["by_blocks"]

BLOCK = 32
"""Documents scored between two looks at the ``k``-th best score."""


def by_blocks(
    score: Callable[[IntArray], FloatArray],
    select: Callable[[FloatArray, int, float], IntArray],
    ordinals: IntArray,
    k: int,
    slack: float,
    estimates: FloatArray | None,
    margin: float,
) -> tuple[IntArray, FloatArray, int]:
    """`retrieval.kernels.token_rescore.reference.best_stored` by two functions of one backend.

    Raises:
        ValueError: ``k`` below 1, estimates that do not fit the ordinals.
    """
    if k < 1:
        raise ValueError(f"k is {k}: it must be at least 1")
    n = len(ordinals)
    if estimates is None:
        scores = score(ordinals)
    else:
        if estimates.dtype != np.float32 or estimates.shape != ordinals.shape:
            raise ValueError(
                f"estimates are {estimates.dtype} {estimates.shape}: they must be float32 {ordinals.shape}"
            )
        # What the candidates from each place on can score at most.
        tops = np.maximum.accumulate(estimates[::-1])[::-1] + margin
        scores = score(ordinals[:k])
        while len(scores) < n:
            kth_best = np.partition(scores, len(scores) - k)[len(scores) - k]
            if tops[len(scores)] < kth_best - slack:
                break
            scores = np.concatenate([scores, score(ordinals[len(scores) : len(scores) + BLOCK])])
    kept = select(scores, k, slack)
    return ordinals[kept], scores[kept], len(scores)
