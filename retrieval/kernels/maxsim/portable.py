"""MaxSim of one query in plain loops, which LLVM vectorises along a token's dimensions.

Four query tokens against two document tokens at a time: eight sums for six loads. Also plain Python.
Many query tokens of int8 lie in the lanes of `retrieval.kernels.maxsim.pairs` instead: nothing needs to
be added across lanes then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit
from numpy.typing import NDArray

from retrieval.kernels.helpers import over_turns
from retrieval.kernels.maxsim.pairs import GROUP, inner, multiply_four, pack_pairs
from retrieval.kernels.simd.halves import load_8i32, maximum_8i32, store_8i32, zero_8i32
from retrieval.kernels.turns import finish, follow, take
from retrieval.types import FloatArray, IntArray

__all__ = ["maxsim", "maxsim_bf16", "maxsim_i8"]

QUERIES = 4
"""Query tokens at a time."""
CHUNK = 64
"""Tokens widened at a time; they stay in the second-level cache."""

FEW = 2
"""Up to so many query tokens of int8 plain loops are faster: most lanes would be empty."""

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
def _product(query, q, values, t):  # type: ignore[no-untyped-def]
    """Of int16 and bytes, which LLVM adds in pairs (vpmaddwd)."""
    total = np.int32(0)
    for k in range(values.shape[1]):
        total = np.int32(total + np.int32(query[q, k]) * np.int32(values[t, k]))
    return total


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
def _score_octets(query, offs, values, offsets, ordinals, turns, scores):  # type: ignore[no-untyped-def]
    """One token at a time against each query token; ``offs`` is what the bytes' 128 adds to each product."""
    n, count = len(scores), 0
    i, end = take(turns, n)
    while i < n:
        at = ordinals[i] if len(ordinals) else i
        start, stop = offsets[at], offsets[at + 1]
        scores[i] = 0
        for q in range(len(query) if stop > start else 0):
            best = np.int32(_product(query, q, values, start) - offs[q])
            for t in range(start + 1, stop):  # the difference fits 32 bits, whatever the product does
                best = max(best, np.int32(_product(query, q, values, t) - offs[q]))
            scores[i] += best
        count, (i, end) = count + 1, follow(turns, i, end, n)
    finish(turns, count)


@inner
def _first4(first, last, width):  # type: ignore[no-untyped-def]
    """Where four rows begin; those that lack are the last one."""
    end = (last - 1) * width
    at = first * width
    return at, min(at + width, end), min(at + 2 * width, end), min(at + 3 * width, end)


@inner
def _fold_pairs(packed, rows, last, width, best):  # type: ignore[no-untyped-def]
    """As `_fold_octets`, for a query by `pack_pairs`; ``rows`` is flat."""
    for group in range(len(best) // GROUP):
        m, n = load_8i32(best, GROUP * group), load_8i32(best, GROUP * group + 8)
        for t in range(0, last, 4):
            zero = zero_8i32()
            none = zero, zero, zero, zero
            a, b = multiply_four(none, none, rows, _first4(t, last, width), width, packed, group)
            m = maximum_8i32(maximum_8i32(maximum_8i32(a[0], a[1]), maximum_8i32(a[2], a[3])), m)
            n = maximum_8i32(maximum_8i32(maximum_8i32(b[0], b[1]), maximum_8i32(b[2], b[3])), n)
        store_8i32(best, GROUP * group, m)
        store_8i32(best, GROUP * group + 8, n)


@_kernel
def _score_pairs(packed, n_q, values, offsets, ordinals, turns, scores):  # type: ignore[no-untyped-def]
    d = values.shape[1]
    width = d + d % 2
    best = np.empty(len(packed) // width, np.int32)
    rows = np.zeros((CHUNK, width), np.int16)
    flat, n, count = rows.reshape(-1), len(scores), 0
    i, end = take(turns, n)
    while i < n:
        at = ordinals[i] if len(ordinals) else i
        start, stop = offsets[at], offsets[at + 1]
        best[:] = -(2**31)
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            for t in range(first, last):
                for k in range(d):
                    rows[t - first, k] = np.int16(values[t, k]) - np.int16(128)
            _fold_pairs(packed, flat, last - first, width, best)
        scores[i] = best[:n_q].sum() if stop > start else 0
        count, (i, end) = count + 1, follow(turns, i, end, n)
    finish(turns, count)


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
    threads: int = 1,
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim_i8`."""
    values = _readable(values_u8, np.uint8)
    if len(query_i8) > FEW and not config.DISABLE_JIT:
        packed, n_q = pack_pairs(query_i8), len(query_i8)
        over_turns(
            lambda turns: _score_pairs(packed, n_q, values, offsets, ordinals, turns, scores),
            len(scores),
            threads,
        )
    else:
        query = query_i8.astype(np.int16)
        offs = (128 * query.sum(axis=1, dtype=np.int64)).astype(np.int32)
        over_turns(
            lambda turns: _score_octets(query, offs, values, offsets, ordinals, turns, scores),
            len(scores),
            threads,
        )


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
