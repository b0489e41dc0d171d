"""The ``k``-th best score so far, as the root of a heap; also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["add", "start"]


@njit(nogil=True, error_model="numpy")
def start(depth, n_estimates, k):  # type: ignore[no-untyped-def]
    """Room for what candidates can score at most, and for the best ``k``; none without estimates."""
    if n_estimates == 0:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    return np.empty(depth, np.float32), np.empty(min(k, depth), np.float32)


@njit(nogil=True, error_model="numpy", _nrt=False)
def add(heap, count, score):  # type: ignore[no-untyped-def]
    """Add a score to the largest ``len(heap)`` of the ``count`` before it, the least of them first."""
    size = len(heap)
    if count < size:
        i = count
        while i > 0 and heap[(i - 1) // 2] > score:
            heap[i] = heap[(i - 1) // 2]
            i = (i - 1) // 2
        heap[i] = score
    elif score > heap[0]:
        i, child = 0, 1
        while child < size:
            if child + 1 < size and heap[child + 1] < heap[child]:
                child += 1
            if heap[child] >= score:
                break
            heap[i] = heap[child]
            i, child = child, 2 * child + 1
        heap[i] = score
