"""Scores of float queries by 512-bit vectors: documents become floats in the cache.

One query takes four documents at a time, dimensions in the lanes. More queries are multiplied,
eight at a time, with thirty-two documents in the lanes (as `dots.tile8` does with bytes): no sum
across lanes, and ten loads for sixteen multiply-adds.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.asymmetric.dots import bit_matrices, decode
from retrieval.kernels.asymmetric.groups import GROUP, QUAD, GroupScorer
from retrieval.kernels.asymmetric.query import Documents, by_parts
from retrieval.kernels.simd.arithmetic import (
    as_f32,
    bit_and,
    fma,
    multiply,
    shift_right,
    splat_f32,
    splat_i32,
    sum_f32,
    to_f32,
    zero_f32,
)
from retrieval.kernels.simd.memory import (
    broadcast4,
    load_f32,
    load_i32,
    load_u8_as_i32,
    prefetch,
    store_f32,
)
from retrieval.types import FloatArray

__all__ = ["ExactScorer"]

AHEAD = 4096
TILE = 8
"""Queries that are multiplied at once, where there are more than four."""
CHUNK = 128
"""Dimensions of thirty-two documents at once: their floats stay in the first-level cache."""


class ExactScorer(GroupScorer):
    """Queries as they are, in float32."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        packed = by_parts(queries, bits)
        count, parts, nbytes = packed.shape
        super().__init__(-(-nbytes // QUAD))
        tile = 1 if count == 1 else 4 if count <= 4 else TILE
        packed = np.pad(packed, ((0, -count % tile), (0, 0), (0, self._quads * QUAD - nbytes)))
        if tile == TILE:  # [tile][four bytes][part][byte][query]
            packed = packed.reshape(-1, tile, parts, 4 * self._quads, 4).transpose(0, 3, 2, 4, 1)
        self._packed = np.ascontiguousarray(packed).reshape(len(packed), -1)
        self._bits, self._matrices = bits, bit_matrices(bits)
        self._sums = queries.sum(axis=1, dtype=np.float64).astype(np.float32)
        self._scratch = _scratch(len(self._packed), 4 * self._quads * QUAD * parts, tile == TILE)

    def run(self, documents: Documents, n: int, out: FloatArray) -> None:
        """Score the first ``n`` documents, whole groups, into ``out[:, :n]``."""
        if n:
            query = self._packed, self._sums, self._matrices, self._scratch
            _scores(*documents, n, self._bits, self._quads, *query, out)


def _scratch(tiles: int, few: int, many: bool) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Documents as bytes and as floats (``few`` of them for few queries), and the sums so far."""
    sizes = (CHUNK * GROUP, CHUNK * GROUP, tiles * TILE * GROUP) if many else (0, few, 0)
    return np.empty(sizes[0], np.uint8), np.empty(sizes[1], np.float32), np.empty(sizes[2], np.float32)


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
def _dot1(values, packed, size):  # type: ignore[no-untyped-def]
    """Dot products of one query with four documents."""
    a, b, c, d = zero_f32(), zero_f32(), zero_f32(), zero_f32()
    for i in range(0, size, 16):
        q = load_f32(packed, i)
        a, b = fma(load_f32(values, i), q, a), fma(load_f32(values, size + i), q, b)
        c, d = fma(load_f32(values, 2 * size + i), q, c), fma(load_f32(values, 3 * size + i), q, d)
    return sum_f32(a), sum_f32(b), sum_f32(c), sum_f32(d)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _fma4(x, q, sums):  # type: ignore[no-untyped-def]
    return fma(x, q[0], sums[0]), fma(x, q[1], sums[1]), fma(x, q[2], sums[2]), fma(x, q[3], sums[3])


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _sum4(a):  # type: ignore[no-untyped-def]
    return sum_f32(a[0]), sum_f32(a[1]), sum_f32(a[2]), sum_f32(a[3])


@njit(nogil=True, error_model="numpy", _nrt=False)
def _dot4(values, packed, size):  # type: ignore[no-untyped-def]
    """Dot products of four queries with four documents; by document."""
    zero = zero_f32(), zero_f32(), zero_f32(), zero_f32()
    a, b, c, d = zero, zero, zero, zero
    for i in range(0, size, 16):
        q0, q1 = load_f32(packed, i), load_f32(packed, i + size)
        q = q0, q1, load_f32(packed, i + 2 * size), load_f32(packed, i + 3 * size)
        a, b = _fma4(load_f32(values, i), q, a), _fma4(load_f32(values, size + i), q, b)
        c = _fma4(load_f32(values, 2 * size + i), q, c)
        d = _fma4(load_f32(values, 3 * size + i), q, d)
    return _sum4(a), _sum4(b), _sum4(c), _sum4(d)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _few(codes, scales, offsets, n, bits, quads, packed, sums, values, out):  # type: ignore[no-untyped-def]
    """Up to four queries with four documents at a time."""
    stride, size = codes.shape[1], packed.shape[1]
    for i in range(0, n, 4):
        for j in range(4):
            _widen(codes, (i + j) * stride, bits, quads, values, j * size)
        if len(sums) == 1:
            dots = _dot1(values, packed, size)
            for j in range(4):
                out[0, i + j] = offsets[i + j] * sums[0] + scales[i + j] * dots[j]
            continue
        table = _dot4(values, packed, size)
        for j in range(4):
            for q in range(len(sums)):
                out[q, i + j] = offsets[i + j] * sums[q] + scales[i + j] * table[j][q]


@njit(nogil=True, error_model="numpy", _nrt=False)
def _widen_block(block, size, values):  # type: ignore[no-untyped-def]
    """``[steps][2][16 documents][4]`` bytes, ``size`` of them, to ``[steps][4][2][16]`` floats."""
    mask = splat_i32(255)
    for at in range(0, size, 128):
        x, y = load_i32(block, at), load_i32(block, at + 64)
        for t in range(4):
            store_f32(values, at + 32 * t, to_f32(bit_and(shift_right(x, 8 * t), mask)))
            store_f32(values, at + 32 * t + 16, to_f32(bit_and(shift_right(y, 8 * t), mask)))


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _load_pair(held, at, query):  # type: ignore[no-untyped-def]
    return load_f32(held, at + query * GROUP), load_f32(held, at + query * GROUP + 16)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _store_pair(held, at, query, pair):  # type: ignore[no-untyped-def]
    store_f32(held, at + query * GROUP, pair[0])
    store_f32(held, at + query * GROUP + 16, pair[1])


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _pair(sums, x, y, tiles, at):  # type: ignore[no-untyped-def]
    q = as_f32(broadcast4(tiles, at))
    return fma(x, q, sums[0]), fma(y, q, sums[1])


@njit(nogil=True, error_model="numpy", _nrt=False)
def _tile(values, size, tiles, at, held, to):  # type: ignore[no-untyped-def]
    """To ``held`` add dot products of eight queries with ``size`` of thirty-two documents' floats."""
    a, b, c, d = (
        _load_pair(held, to, 0),
        _load_pair(held, to, 1),
        _load_pair(held, to, 2),
        _load_pair(held, to, 3),
    )
    e, f, g, h = (
        _load_pair(held, to, 4),
        _load_pair(held, to, 5),
        _load_pair(held, to, 6),
        _load_pair(held, to, 7),
    )
    for i in range(0, size, GROUP):
        x, y = load_f32(values, i), load_f32(values, i + 16)
        a, b = _pair(a, x, y, tiles, at), _pair(b, x, y, tiles, at + 1)
        c, d = _pair(c, x, y, tiles, at + 2), _pair(d, x, y, tiles, at + 3)
        e, f = _pair(e, x, y, tiles, at + 4), _pair(f, x, y, tiles, at + 5)
        g, h = _pair(g, x, y, tiles, at + 6), _pair(h, x, y, tiles, at + 7)
        at += TILE
    _store_pair(held, to, 0, a)
    _store_pair(held, to, 1, b)
    _store_pair(held, to, 2, c)
    _store_pair(held, to, 3, d)
    _store_pair(held, to, 4, e)
    _store_pair(held, to, 5, f)
    _store_pair(held, to, 6, g)
    _store_pair(held, to, 7, h)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _write(held, scales, offsets, at, sums, out):  # type: ignore[no-untyped-def]
    """Thirty-two scores of each query: offset * sum + scale * dot."""
    for query in range(len(sums)):
        whole = splat_f32(sums[query])
        for half in range(0, GROUP, 16):
            base = multiply(load_f32(offsets, at + half), whole)
            dots = load_f32(held, query * GROUP + half)
            score = fma(load_f32(scales, at + half), dots, base)
            store_f32(out, query * out.shape[1] + at + half, score)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _many(codes, scales, offsets, n, quads, packed, sums, matrices, scratch, out):  # type: ignore[no-untyped-def]
    """Eight queries at a time against documents made floats once, documents in the lanes."""
    block, values, held = scratch
    stride, parts = codes.shape[1], len(matrices) // 8
    chunk = max(1, CHUNK // (QUAD * parts))
    for i in range(0, n, GROUP):
        held[:] = 0
        for p in range(0, quads, chunk):
            count = min(chunk, quads - p)
            size = count * QUAD * parts * GROUP
            decode(codes, i * stride + QUAD * p, stride, count, parts, matrices, block, 0)
            decode(codes, (i + 16) * stride + QUAD * p, stride, count, parts, matrices, block, 1)
            _widen_block(block, size, values)
            for tile in range(len(packed)):
                at = tile * packed.shape[1] + p * QUAD * parts * TILE
                _tile(values, size, packed, at, held, tile * TILE * GROUP)
        _write(held, scales, offsets, i, sums, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _scores(codes, scales, offsets, n, bits, quads, packed, sums, matrices, scratch, out):  # type: ignore[no-untyped-def]
    """``n`` documents, a multiple of `GROUP`."""
    if len(sums) <= 4:
        _few(codes, scales, offsets, n, bits, quads, packed, sums, scratch[1], out)
    else:
        _many(codes, scales, offsets, n, quads, packed, sums, matrices.reshape(-1), scratch, out)
