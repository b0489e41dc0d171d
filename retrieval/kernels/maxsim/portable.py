"""MaxSim of one query in plain loops, which LLVM vectorises along a token's dimensions.

Four query tokens against two document tokens at a time: eight sums for six loads. Also plain Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["maxsim", "maxsim_bf16", "maxsim_i8"]

QUERIES = 4
"""Query tokens at a time."""
CHUNK = 64
"""Tokens widened at a time; they stay in the second-level cache."""

_REBASE = np.float32(2.0**112)
_inner = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}, _nrt=False)
_kernel = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})


@_inner
def _larger(a, b):  # type: ignore[no-untyped-def]
    """The larger; NaN if there is one."""
    return b if b > a or np.isnan(b) else a


@_inner
def _fold_floats(query, rows, first, last, best):  # type: ignore[no-untyped-def]
    """Raise ``best[q]`` to the largest inner product with rows ``first:last``."""
    for q in range(0, len(query), QUERIES):
        for t in range(first, last, 2):
            u = min(t + 1, last - 1)
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
            for k in range(query.shape[1]):
                x, y = rows[t, k], rows[u, k]
                a0 += query[q, k] * x
                b0 += query[q, k] * y
                a1 += query[q + 1, k] * x
                b1 += query[q + 1, k] * y
                a2 += query[q + 2, k] * x
                b2 += query[q + 2, k] * y
                a3 += query[q + 3, k] * x
                b3 += query[q + 3, k] * y
            best[q] = _larger(best[q], _larger(a0, b0))
            best[q + 1] = _larger(best[q + 1], _larger(a1, b1))
            best[q + 2] = _larger(best[q + 2], _larger(a2, b2))
            best[q + 3] = _larger(best[q + 3], _larger(a3, b3))


@_inner
def _fold_octets(query, rows, last, best):  # type: ignore[no-untyped-def]
    """As `_fold_floats`, of int16, whose products LLVM adds in pairs (vpmaddwd)."""
    for q in range(0, len(query), QUERIES):
        for t in range(0, last, 2):
            u = min(t + 1, last - 1)
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.int32(0)
            for k in range(query.shape[1]):
                x, y = np.int32(rows[t, k]), np.int32(rows[u, k])
                a0 = np.int32(a0 + np.int32(query[q, k]) * x)
                b0 = np.int32(b0 + np.int32(query[q, k]) * y)
                a1 = np.int32(a1 + np.int32(query[q + 1, k]) * x)
                b1 = np.int32(b1 + np.int32(query[q + 1, k]) * y)
                a2 = np.int32(a2 + np.int32(query[q + 2, k]) * x)
                b2 = np.int32(b2 + np.int32(query[q + 2, k]) * y)
                a3 = np.int32(a3 + np.int32(query[q + 3, k]) * x)
                b3 = np.int32(b3 + np.int32(query[q + 3, k]) * y)
            best[q] = max(best[q], a0, b0)
            best[q + 1] = max(best[q + 1], a1, b1)
            best[q + 2] = max(best[q + 2], a2, b2)
            best[q + 3] = max(best[q + 3], a3, b3)


@_inner
def _widen(halves, first, last, brain, words, floats):  # type: ignore[no-untyped-def]
    """Rows of 16-bit floats (``brain``: bfloat16) as float32; both outputs are the same memory."""
    for t in range(first, last):
        for k in range(halves.shape[1]):
            half = np.uint32(halves[t, k])
            if brain:
                word = half << np.uint32(16)
            else:
                sign, size = half & np.uint32(0x8000), half & np.uint32(0x7FFF)
                word = sign << np.uint32(16) | size << np.uint32(13)
                if size >= np.uint32(0x7C00):  # infinite or NaN stays so
                    word |= np.uint32(0x7F800000)
            words[t - first, k] = word
        if not brain:  # the exponent now counts from -127 and not from -15
            for k in range(halves.shape[1]):
                floats[t - first, k] *= _REBASE


@_kernel
def _score_floats(query, values, offsets, ordinals, scores):  # type: ignore[no-untyped-def]
    best = np.empty(len(query), np.float32)
    for i in range(len(scores)):
        at = ordinals[i] if len(ordinals) else i
        start, stop = offsets[at], offsets[at + 1]
        best[:] = -np.inf if stop > start else 0
        _fold_floats(query, values, start, stop, best)
        scores[i] = best.sum()


@_kernel
def _score_halves(query, halves, brain, offsets, ordinals, scores):  # type: ignore[no-untyped-def]
    best = np.empty(len(query), np.float32)
    words = np.empty((CHUNK, query.shape[1]), np.uint32)
    floats = words.view(np.float32)
    for i in range(len(scores)):
        at = ordinals[i] if len(ordinals) else i
        start, stop = offsets[at], offsets[at + 1]
        best[:] = -np.inf if stop > start else 0
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            _widen(halves, first, last, brain, words, floats)
            _fold_floats(query, floats, 0, last - first, best)
        scores[i] = best.sum()


@_kernel
def _score_octets(query, values, offsets, ordinals, scores):  # type: ignore[no-untyped-def]
    best = np.empty(len(query), np.int32)
    rows = np.empty((CHUNK, query.shape[1]), np.int16)
    for i in range(len(scores)):
        at = ordinals[i] if len(ordinals) else i
        start, stop = offsets[at], offsets[at + 1]
        best[:] = -(2**31) if stop > start else 0
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            for t in range(first, last):
                for k in range(query.shape[1]):
                    rows[t - first, k] = np.int16(values[t, k]) - np.int16(128)
            _fold_octets(query, rows, last - first, best)
        scores[i] = best.sum()


def maxsim(
    query: FloatArray, values: NDArray[Any], offsets: IntArray, ordinals: IntArray, scores: FloatArray
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim`; arguments are checked, no ordinals mean all."""
    if values.dtype == np.float16:
        _score_halves(_padded(query), _readable(values, np.uint16), False, offsets, ordinals, scores)
    else:
        _score_floats(_padded(query), _readable(values, np.float32), offsets, ordinals, scores)


def maxsim_bf16(
    query: FloatArray,
    values_bits: NDArray[np.uint16],
    offsets: IntArray,
    ordinals: IntArray,
    scores: FloatArray,
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim_bf16`; ``query`` is rounded to bfloat16 already."""
    _score_halves(_padded(query), _readable(values_bits, np.uint16), True, offsets, ordinals, scores)


def maxsim_i8(
    query_i8: NDArray[np.int8],
    values_u8: NDArray[np.uint8],
    offsets: IntArray,
    ordinals: IntArray,
    scores: NDArray[np.int32],
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim_i8`."""
    query = _padded(query_i8.astype(np.int16))
    _score_octets(query, _readable(values_u8, np.uint8), offsets, ordinals, scores)


def _padded(query: NDArray[Any]) -> NDArray[Any]:
    """Zeros up to a multiple of `QUERIES` tokens: the largest of their inner products is 0."""
    padded = np.zeros((-(-len(query) // QUERIES) * QUERIES, query.shape[1]), dtype=query.dtype)
    padded[: len(query)] = query
    return padded


def _readable(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """The same bits as another type, read-only: Numba compiles for each kind it meets."""
    view = values.view(np.ndarray).view(dtype)
    view.flags.writeable = False
    return view
