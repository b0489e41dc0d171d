"""Scores of rows anywhere in memory, with AVX-512: a row is asked for several rows before it is read."""
# Numba matches a choice with its function by the arguments' names, used or not.
# ruff: noqa: ARG001, PLW0108

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from retrieval.kernels.rescore.stop import add, start
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd.partial import element, load_part_f32

__all__ = ["score"]

AHEAD = 4096
"""Bytes of rows to ask for before they are read; at most `ROWS` rows."""
ROWS = 16

_inline = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
_inner = njit(nogil=True, error_model="numpy", _nrt=False)


def _sixteen(rows: Any, at: Any) -> Any:
    """Sixteen elements as floats."""
    raise NotImplementedError


def _rest(query: Any, rows: Any, at: Any, first: Any, dim: Any, l2: Any) -> Any:
    """What the elements from ``first`` on, fewer than 16, add to the sum."""
    raise NotImplementedError


@overload(_sixteen, strict=False)
def _choose_sixteen(rows: Any, at: Any) -> Callable[..., Any]:
    if rows.dtype == types.float32:
        return lambda rows, at: mem.load_f32(rows, at)
    if rows.dtype == types.uint16:
        return lambda rows, at: mem.load_f16(rows, at)
    return lambda rows, at: v.to_f32(mem.load_u8_as_i32(rows, at))


@_inline
def _fold(total, x, y, l2):  # type: ignore[no-untyped-def]
    """Add products, or squared differences."""
    if l2:
        difference = v.sub(x, y)
        total = v.fma(difference, difference, total)
    else:
        total = v.fma(x, y, total)
    return total


@_inline
def _rest_of_floats(query, rows, at, first, dim, l2):  # type: ignore[no-untyped-def]
    left = dim - first
    x, y = load_part_f32(query, first, left), load_part_f32(rows, at + first, left)
    return v.sum_f32(_fold(v.zero_f32(), x, y, l2))


@_inline
def _rest_of_bytes(query, rows, at, first, dim, l2):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(first, dim):
        y = np.float32(element(rows, at + j))
        total += (query[j] - y) * (query[j] - y) if l2 else query[j] * y
    return total


@overload(_rest, strict=False)
def _choose_rest(query: Any, rows: Any, at: Any, first: Any, dim: Any, l2: Any) -> Callable[..., Any]:
    if rows.dtype == types.uint8:
        return lambda query, rows, at, first, dim, l2: _rest_of_bytes(query, rows, at, first, dim, l2)
    return lambda query, rows, at, first, dim, l2: _rest_of_floats(query, rows, at, first, dim, l2)


@_inline
def _score_row(query, rows, at, dim, l2):  # type: ignore[no-untyped-def]
    a, b, pairs = v.zero_f32(), v.zero_f32(), dim // 32 * 32
    for j in range(0, pairs, 32):
        a = _fold(a, mem.load_f32(query, j), _sixteen(rows, at + j), l2)
        b = _fold(b, mem.load_f32(query, j + 16), _sixteen(rows, at + j + 16), l2)
    whole = dim // 16 * 16
    if whole > pairs:
        a = _fold(a, mem.load_f32(query, pairs), _sixteen(rows, at + pairs), l2)
    total = v.sum_f32(v.add(a, b))
    if dim > whole:
        total += _rest(query, rows, at, whole, dim, l2)
    return -total if l2 else total


@_inline
def _distance_row(query, steps, rows, at, dim):  # type: ignore[no-untyped-def]
    """Minus the squared distance of ``query`` and a row whose numbers are multiplied by ``steps`` first."""
    total, whole = v.zero_f32(), dim // 16 * 16
    for j in range(0, whole, 16):
        scaled = v.multiply(mem.load_f32(steps, j), _sixteen(rows, at + j))
        total = _fold(total, mem.load_f32(query, j), scaled, True)
    distance = v.sum_f32(total)
    for j in range(whole, dim):
        difference = query[j] - steps[j] * np.float32(element(rows, at + j))
        distance += difference * difference
    return -distance


@_inline
def _fetch(rows, ordinal, n, stride, dim, line):  # type: ignore[no-untyped-def]
    """Ask for a row; of one that does not exist, for nothing."""
    if 0 <= ordinal < n:
        for j in range(0, dim, line):
            mem.prefetch(rows, ordinal * stride + j)
        mem.prefetch(rows, ordinal * stride + dim - 1)


@_inner
def _score_one(query, steps, rows, shape, ordinals, every, tops, heap, l2, scores):  # type: ignore[no-untyped-def]
    """One query: how many rows were scored, or -1 less the place of an ordinal of no row."""
    n, stride, line, ahead = shape
    dim, count = len(query), 0
    for i in range(min(ahead, len(scores))):
        _fetch(rows, i if every else ordinals[i], n, stride, dim, line)
    for i in range(len(scores)):
        if len(heap) and count >= len(heap) and heap[0] > tops[i]:
            for j in range(i, len(scores)):
                scores[j] = -np.inf
            break
        if i + ahead < len(scores):
            _fetch(rows, i + ahead if every else ordinals[i + ahead], n, stride, dim, line)
        ordinal = i if every else ordinals[i]
        if ordinal >= n or ordinal < -1:
            return -1 - i
        scores[i] = -np.inf
        if ordinal >= 0:
            if len(steps):
                scores[i] = _distance_row(query, steps, rows, ordinal * stride, dim)
            else:
                scores[i] = _score_row(query, rows, ordinal * stride, dim, l2)
            if len(heap):
                add(heap, count, scores[i])
            count += 1
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def score(  # type: ignore[no-untyped-def]
    queries, steps, rows, stride, size, ordinals, l2, estimates, slacks, k, scores, visited
):
    """`reference.rescore` into ``scores`` and ``visited``: -1, or a query with an ordinal of no row.

    ``rows`` ``(n, d)`` are float32, uint16 (the bits of float16) or uint8, ``stride`` elements of ``size``
    bytes apart. ``ordinals`` is empty for all rows, ``estimates`` and ``slacks`` for no stop,
    ``steps`` for numbers as they are: those of bytes come with l2.
    """
    line, dim, every = 64 // size, queries.shape[1], len(ordinals) == 0
    shape = len(rows), stride, line, max(1, min(ROWS, AHEAD // (dim * size)))
    tops, heap = start(scores.shape[1], len(estimates), k)
    for q in range(len(queries)):
        asked = ordinals[q] if len(ordinals) else visited[:0]
        if len(estimates):
            top = np.float32(-np.inf)
            for i in range(len(tops) - 1, -1, -1):
                if asked[i] >= 0:
                    top = max(top, estimates[q, i] + slacks[q, i])
                tops[i] = top
        visited[q] = _score_one(queries[q], steps, rows, shape, asked, every, tops, heap, l2, scores[q])
        if visited[q] < 0:
            return q
    return -1
