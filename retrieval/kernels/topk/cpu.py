"""Selection of the best scores, by partition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["select"]


def select(scores: NDArray[Any], k: int, slack: float) -> IntArray:
    """See `retrieval.kernels.topk.reference.select`; the same."""
    n = len(scores)
    if n <= k:
        return np.arange(n)
    kth_best = np.partition(scores, n - k)[n - k]
    return np.flatnonzero(scores >= kth_best - slack)
