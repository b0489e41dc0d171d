"""Scores of float queries by 512-bit vectors: documents become floats in the cache, four at a time."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.asymmetric.groups import QUAD, GroupScorer
from retrieval.kernels.asymmetric.query import Documents, by_parts
from retrieval.kernels.simd.arithmetic import bit_and, fma, shift_right, splat_i32, sum_f32, to_f32, zero_f32
from retrieval.kernels.simd.memory import load_f32, load_u8_as_i32, prefetch, store_f32
from retrieval.types import FloatArray

__all__ = ["ExactScorer"]

AHEAD = 4096
TILE = 4


class ExactScorer(GroupScorer):
    """Queries as they are, in float32."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        packed = by_parts(queries, bits)
        self._count, self._bits = len(queries), bits
        super().__init__(-(-packed.shape[2] // QUAD))
        room = (0, -self._count % TILE), (0, 0), (0, self._quads * QUAD - packed.shape[2])
        self._packed = np.pad(packed, room).reshape(self._count + room[0][1], -1)
        self._sums = queries.sum(axis=1, dtype=np.float64).astype(np.float32)

    def run(self, documents: Documents, n: int, out: FloatArray) -> None:
        """Score the first ``n`` documents, whole groups, into ``out[:, :n]``."""
        if n:
            _scores(*documents, n, self._bits, self._quads, self._packed, self._sums, self._count, out)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _widen(codes, at, bits, quads, values, to):  # type: ignore[no-untyped-def]
    """One document as floats, part after part."""
    mask = splat_i32(2**bits - 1)
    for p in range(quads):
        prefetch(codes, at + AHEAD + QUAD * p)
        x = load_u8_as_i32(codes, at + QUAD * p)
        for part in range(8 // bits):
            place = to + (part * quads + p) * QUAD
            store_f32(values, place, to_f32(bit_and(shift_right(x, part * bits), mask)))


@njit(nogil=True, error_model="numpy", _nrt=False)
def _dot1(values, at, packed, query, size):  # type: ignore[no-untyped-def]
    """Dot products of one query with four documents."""
    a, b, c, d = zero_f32(), zero_f32(), zero_f32(), zero_f32()
    for i in range(0, size, 16):
        q = load_f32(packed, query * size + i)
        a, b = fma(load_f32(values, at + i), q, a), fma(load_f32(values, at + size + i), q, b)
        c, d = fma(load_f32(values, at + 2 * size + i), q, c), fma(load_f32(values, at + 3 * size + i), q, d)
    return sum_f32(a), sum_f32(b), sum_f32(c), sum_f32(d)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _fma4(x, q, sums):  # type: ignore[no-untyped-def]
    return fma(x, q[0], sums[0]), fma(x, q[1], sums[1]), fma(x, q[2], sums[2]), fma(x, q[3], sums[3])


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _sum4(a):  # type: ignore[no-untyped-def]
    return sum_f32(a[0]), sum_f32(a[1]), sum_f32(a[2]), sum_f32(a[3])


@njit(nogil=True, error_model="numpy", _nrt=False)
def _dot4(values, at, packed, query, size):  # type: ignore[no-untyped-def]
    """Dot products of four queries with four documents; by document."""
    zero = zero_f32(), zero_f32(), zero_f32(), zero_f32()
    a, b, c, d = zero, zero, zero, zero
    for i in range(0, size, 16):
        k = query * size + i
        q0, q1 = load_f32(packed, k), load_f32(packed, k + size)
        q = q0, q1, load_f32(packed, k + 2 * size), load_f32(packed, k + 3 * size)
        a, b = _fma4(load_f32(values, at + i), q, a), _fma4(load_f32(values, at + size + i), q, b)
        c = _fma4(load_f32(values, at + 2 * size + i), q, c)
        d = _fma4(load_f32(values, at + 3 * size + i), q, d)
    return _sum4(a), _sum4(b), _sum4(c), _sum4(d)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _four(scales, offsets, i, values, packed, sums, count, out):  # type: ignore[no-untyped-def]
    """Scores of four documents for all queries."""
    size = packed.shape[1]
    if count == 1:
        dots = _dot1(values, 0, packed, 0, size)
        for j in range(TILE):
            out[0, i + j] = offsets[i + j] * sums[0] + scales[i + j] * dots[j]
        return
    for query in range(0, count, TILE):
        table = _dot4(values, 0, packed, query, size)
        for j in range(TILE):
            for q in range(min(TILE, count - query)):
                out[query + q, i + j] = offsets[i + j] * sums[query + q] + scales[i + j] * table[j][q]


@njit(nogil=True, cache=True, error_model="numpy")
def _scores(codes, scales, offsets, n, bits, quads, packed, sums, count, out):  # type: ignore[no-untyped-def]
    stride, size = codes.shape[1], packed.shape[1]
    values = np.empty(TILE * size, np.float32)
    for i in range(0, n, TILE):
        for j in range(TILE):
            _widen(codes, (i + j) * stride, bits, quads, values, j * size)
        _four(scales, offsets, i, values, packed, sums, count, out)
