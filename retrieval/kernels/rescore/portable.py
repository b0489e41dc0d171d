"""Scores of rows in plain loops, which LLVM vectorises along a row; also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.rescore.stop import add, start

__all__ = ["score"]

_REBASE = np.float32(2.0**112)
_inner = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}, _nrt=False)


@_inner
def _widen(halves, row, words, floats):  # type: ignore[no-untyped-def]
    """A row of float16 bits as float32; both outputs are the same memory."""
    for j in range(len(words)):
        half = np.uint32(halves[row, j])
        size = half & np.uint32(0x7FFF)
        words[j] = (half & np.uint32(0x8000)) << np.uint32(16) | size << np.uint32(13)
        if size >= np.uint32(0x7C00):  # infinite or NaN stays so
            words[j] |= np.uint32(0x7F800000)
    for j in range(len(words)):  # the exponent now counts from -127 and not from -15
        floats[j] *= _REBASE


@_inner
def _copy(rows, row, floats):  # type: ignore[no-untyped-def]
    for j in range(len(floats)):
        floats[j] = np.float32(rows[row, j])


@_inner
def _score(query, floats, l2):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    if l2:
        for j in range(len(query)):
            total -= (query[j] - floats[j]) * (query[j] - floats[j])
    else:
        for j in range(len(query)):
            total += query[j] * floats[j]
    return total


@_inner
def _scale(steps, floats):  # type: ignore[no-untyped-def]
    for j in range(len(floats)):
        floats[j] *= steps[j]


@njit(nogil=True, cache=True, error_model="numpy")
def _tops(ordinals, estimates, slacks, tops):  # type: ignore[no-untyped-def]
    """What the candidates from each place on can score at most."""
    top = np.float32(-np.inf)
    for i in range(len(tops) - 1, -1, -1):
        if ordinals[i] >= 0:
            top = max(top, estimates[i] + slacks[i])
        tops[i] = top


@njit(nogil=True, cache=True, error_model="numpy")
def score(  # type: ignore[no-untyped-def]
    queries,
    steps,
    rows,
    stride,  # noqa: ARG001
    size,
    ordinals,
    l2,
    estimates,
    slacks,
    k,
    scores,
    visited,
):
    """See `retrieval.kernels.rescore.avx512.score`; the same up to rounding."""
    words = np.empty(queries.shape[1], np.uint32)
    floats = words.view(np.float32)
    tops, heap = start(scores.shape[1], len(estimates), k)
    scores[:] = -np.inf
    for q in range(len(queries)):
        visited[q] = 0
        if len(estimates):
            _tops(ordinals[q], estimates[q], slacks[q], tops)
        for i in range(scores.shape[1]):
            if len(heap) and visited[q] >= len(heap) and heap[0] > tops[i]:
                break
            ordinal = ordinals[q, i] if len(ordinals) else i
            if ordinal >= len(rows) or ordinal < -1:
                return q
            if ordinal >= 0:
                if size == 2:
                    _widen(rows, ordinal, words, floats)
                else:
                    _copy(rows, ordinal, floats)
                if len(steps):
                    _scale(steps, floats)
                scores[q, i] = _score(queries[q], floats, l2)
                if len(heap):
                    add(heap, visited[q], scores[q, i])
                visited[q] += 1
    return -1
