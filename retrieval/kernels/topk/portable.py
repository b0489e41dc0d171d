"""Scan against the running threshold, with NumPy: its comparison and partition use what the machine has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["best_rows"]

BLOCK = 16384


def _keys(scores: FloatArray, ordinals: IntArray) -> IntArray:
    """As in `retrieval.kernels.topk.avx512`: a smaller key is a better score, ties by ordinal."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    order = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return np.asarray(((~order).astype(np.int64) << 32) | ordinals)


def _best(scores: FloatArray, k: int, accept: NDArray[np.uint8]) -> IntArray | None:
    keys, bound = np.empty(0, np.int64), None
    for first in range(0, len(scores), BLOCK):
        block = scores[first : first + BLOCK]
        if np.isnan(block.max()):
            return None
        passing = block > bound if bound is not None else np.ones(len(block), np.bool_)
        if len(accept):
            passing &= accept[first : first + BLOCK] != 0
        ordinals = np.flatnonzero(passing)
        keys = np.concatenate([keys, _keys(block[ordinals], ordinals + first)])
        if len(keys) > k > 0:
            keys = np.partition(keys, k - 1)[:k]
            bound = scores[keys[k - 1] & 0xFFFFFFFF]
    return keys[:k]


def best_rows(scores: FloatArray, k: int, accept: NDArray[np.uint8], out: IntArray) -> int:
    """See `retrieval.kernels.topk.avx512.best_rows`; the same."""
    count = 0
    for row, keys in zip(scores, out, strict=True):
        best = _best(row, k, accept)
        if best is None:
            return -1
        count = len(best)
        keys[:count] = best
    return count
