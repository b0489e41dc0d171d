"""Selection of the best scores, by sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["select"]


def select(scores: NDArray[Any], k: int, slack: float) -> IntArray:
    """Positions whose score is at least the k-th best minus ``slack``, in ascending order.

    ``scores`` is ``(n,)`` without NaN; with ``n <= k`` every position is returned. Whatever ties
    with the k-th best is kept, so a later, exact comparison can break the tie.
    """
    if len(scores) <= k:
        return np.arange(len(scores))
    kth_best = np.sort(scores)[::-1][k - 1]
    return np.flatnonzero(scores >= kth_best - slack)
