"""Scan against the running threshold, with NumPy: its comparison and partition use what the machine has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = [
    "PADDING",
    "near_best",
    "near_best_free",
    "sorted_rows",
    "sorted_rows_free",
]

BLOCK = 16384
PADDING = 0


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


def sorted_rows(
    scores: FloatArray, k: int, accept: NDArray[np.uint8], best: FloatArray, ordinals: IntArray
) -> int:
    """See `retrieval.kernels.topk.avx512.sorted_rows`; the same."""
    count = 0
    for row, row_best, row_ordinals in zip(scores, best, ordinals, strict=True):
        keys = _best(row, k, accept)
        if keys is None:
            return -1
        count = len(keys)
        row_ordinals[:count] = np.sort(keys) & 0xFFFFFFFF
        row_best[:count] = row[row_ordinals[:count]]
    return count


def near_best(scores: FloatArray, k: int, slack: Any, _accept: NDArray[np.uint8], out: IntArray) -> int:
    """See `retrieval.kernels.topk.avx512.near_best`; the same."""
    if np.isnan(scores.max()):
        return -1
    n = len(scores)
    found = np.flatnonzero(scores >= np.partition(scores, n - k)[n - k] - slack)
    out[: len(found)] = found[: len(out)]
    return len(found)


sorted_rows_free, near_best_free = sorted_rows, near_best
