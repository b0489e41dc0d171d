"""Scores in float64, each row by itself: equal rows get equal bits wherever they lie.

Plain loops that LLVM vectorises along a row; also runs as plain Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.rescore.portable import _copy, _widen

__all__ = ["exact"]

_FAST: Any = {"contract", "reassoc"}


@njit(nogil=True, error_model="numpy", _nrt=False)
def _decode(rows, row, span, low, floats):  # type: ignore[no-untyped-def]
    """A row of bytes as the floats that they stand for, rounded as `Int8Codec.decode` rounds."""
    for j in range(len(floats)):
        level = (np.float32(rows[row, j]) + np.float32(0.5)) / np.float32(255)
        floats[j] = level * span[j] + low[j]


@njit(nogil=True, error_model="numpy", _nrt=False, fastmath=_FAST)
def _score(query, floats, l2):  # type: ignore[no-untyped-def]
    total = 0.0
    if l2:
        for j in range(len(query)):
            difference = np.float64(query[j]) - np.float64(floats[j])
            total += difference * difference
        return -np.sqrt(total)
    for j in range(len(query)):
        total += np.float64(query[j]) * np.float64(floats[j])
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def exact(query, rows, size, span, low, ordinals, l2, scores):  # type: ignore[no-untyped-def]
    """`reference.score_exactly` into ``scores``: whether all ordinals are of rows. ``rows`` are as in
    `avx512.score`."""
    words = np.empty(query.shape[1], np.uint32)
    floats = words.view(np.float32)
    for i in range(len(ordinals)):
        if not 0 <= ordinals[i] < len(rows):
            return False
        if len(span):
            _decode(rows, ordinals[i], span, low, floats)
        elif size == 2:
            _widen(rows, ordinals[i], words, floats)
        else:
            _copy(rows, ordinals[i], floats)
        scores[i] = _score(query[0], floats, l2)
    return True
