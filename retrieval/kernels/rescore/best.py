"""Refine in one call, with AVX-512: fold the query, score with an early stop, select, score exactly, sort."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.rescore.avx512 import score
from retrieval.kernels.rescore.exact import exact
from retrieval.kernels.rescore.stop import add

__all__ = ["best"]

_FAST: Any = {"contract", "reassoc"}
_inner = njit(nogil=True, error_model="numpy", _nrt=False, fastmath=_FAST)


@_inner
def _fold(query, steps, offsets, folded):  # type: ignore[no-untyped-def]
    """The query for numbers as they are stored; gives the product with the offsets."""
    total = np.float64(0)
    for j in range(len(query)):
        folded[j] = query[j] * steps[j]
        total += np.float64(query[j]) * offsets[j]
    return np.float32(total)


@_inner
def _move(query, offsets, moved):  # type: ignore[no-untyped-def]
    """The query less what a number of 0 stands for."""
    for j in range(len(query)):
        moved[j] = np.float32(np.float64(query[j]) - offsets[j])


@_inner
def _square(query):  # type: ignore[no-untyped-def]
    total = np.float64(0)
    for x in query:
        total += np.float64(x) * np.float64(x)
    return np.float32(total)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _keep(scores, ordinals, heap, slack, kept, out):  # type: ignore[no-untyped-def]
    """Ordinals and scores of all but what is below the least of the best by more than the slack."""
    n = 0
    for x in scores:
        if x > -np.inf:
            add(heap, n, x)
            n += 1
    limit = heap[0] - slack if n > len(heap) else np.float32(-np.inf)
    count = 0
    for i in range(len(scores)):
        if scores[i] > -np.inf and scores[i] >= limit:
            kept[count], out[count] = ordinals[i], scores[i]
            count += 1
    return count


@njit(nogil=True, error_model="numpy")
def _sort(kept, out, final):  # type: ignore[no-untyped-def]
    """The best final score first."""
    order = np.argsort(-final, kind="mergesort")
    kept[:], out[:], final[:] = kept[order], out[order], final[order]


@njit(nogil=True, cache=True, error_model="numpy")
def best(  # type: ignore[no-untyped-def]
    query,
    rows,
    stride,
    size,
    steps,
    offsets,
    span,
    low,
    ordinals,
    l2,
    estimates,
    errors,
    width,
    k,
    slack,
    kept,
    out,
    final,
    visited,
):
    """`reference.rescore_best` into ``kept``, ``out``, ``final`` and ``visited`` ``(1,)``: how many are kept,
    -1 for an ordinal of no row. What bytes stand for, ``estimates`` and ``errors`` are empty for none."""
    depth, asked, constant = len(ordinals), query, np.float32(0)
    scaled = steps[:0]  # what rows are multiplied by: of inner products the query is
    if l2:
        constant = _square(query[0])
        if len(steps):
            asked, scaled = np.empty_like(query), steps
            _move(query[0], offsets, asked[0])
    elif len(steps):
        asked = np.empty_like(query)
        constant = _fold(query[0], steps, offsets, asked[0])
    n_limits = 1 if len(estimates) else 0
    limits, slacks = np.empty((n_limits, depth), np.float32), np.empty((n_limits, depth), np.float32)
    if n_limits:
        for i in range(depth):
            limits[0, i], slacks[0, i] = estimates[i] - constant, np.float32(width) * errors[i]
    scores = np.empty((1, depth), np.float32)
    listed = ordinals.reshape(1, depth)
    rest = listed, l2, limits, slacks, k, scores, visited
    if depth and score(asked, scaled, rows, stride, size, *rest) >= 0:
        return -1
    for i in range(depth):
        scores[0, i] += constant
    heap = np.empty(min(k, depth), np.float32)
    count = _keep(scores[0], ordinals, heap, np.float32(slack), kept, out)
    exact(query, rows, size, span, low, kept[:count], l2, final)
    _sort(kept[:count], out[:count], final[:count])
    return count
