"""Scores of int8 queries by 512-bit vectors: packing, and the pass over the codes."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.asymmetric.dots import bit_matrices, decode, rows1, rows4, tile8
from retrieval.kernels.asymmetric.groups import GROUP, QUAD, GroupScorer
from retrieval.kernels.asymmetric.query import Documents, IntegerQuery
from retrieval.kernels.simd.arithmetic import fma, multiply, splat_f32, to_f32
from retrieval.kernels.simd.memory import load_f32, store_f32
from retrieval.types import FloatArray

__all__ = ["Scorer"]


class Scorer(GroupScorer):
    """Queries made ready. One query, two to four, and more are laid out differently."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        query = IntegerQuery.of(queries, bits)
        self._count, self._parts, nbytes = query.packed.shape
        super().__init__(-(-nbytes // QUAD))
        tile = 1 if self._count == 1 else 4 if self._count <= 4 else 8
        room = (0, -self._count % tile), (0, 0), (0, self._quads * QUAD - nbytes)
        # [query][quad][part][byte]
        packed = np.pad(query.packed, room).reshape(-1, self._parts, self._quads, QUAD).transpose(0, 2, 1, 3)
        self._factors = np.pad(query.factors, (room[0], (0, 0)))
        self._matrices = bit_matrices(bits)
        if tile < 8:
            self._packed = np.repeat(packed[:, :, :, None], 4, axis=3).reshape(len(packed), -1)
            self._block = np.empty(0, np.uint8)
        else:  # [tile][quad][column][part][query][4 bytes]
            split = packed.reshape(-1, tile, self._quads, self._parts, 4, 4).transpose(0, 2, 4, 3, 1, 5)
            self._packed = split.reshape(len(split), -1)
            self._block = np.empty(self._quads * QUAD * self._parts * GROUP, np.uint8)

    def run(self, documents: Documents, n: int, out: FloatArray) -> None:
        """Score the first ``n`` documents, whole groups, into ``out[:, :n]``."""
        if n:
            query = self._packed, self._factors, self._matrices
            _scores(*documents, n, *query, (self._count, self._quads, self._parts), self._block, out)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _write(sums, scales, offsets, at, factors, query, out):  # type: ignore[no-untyped-def]
    """Sixteen scores: offset * sum + scale * (step * dot + lost)."""
    dots = fma(to_f32(sums), splat_f32(factors[query, 0]), splat_f32(factors[query, 1]))
    base = multiply(load_f32(offsets, at), splat_f32(factors[query, 2]))
    store_f32(out, query * out.shape[1] + at, fma(load_f32(scales, at), dots, base))


@njit(nogil=True, error_model="numpy", _nrt=False)
def _write_pair(pair, scales, offsets, at, factors, query, count, out):  # type: ignore[no-untyped-def]
    if query < count:
        _write(pair[0], scales, offsets, at, factors, query, out)
        _write(pair[1], scales, offsets, at + 16, factors, query, out)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _few(codes, scales, offsets, n, packed, factors, matrices, shape, out):  # type: ignore[no-untyped-def]
    """One query, or up to four."""
    count, quads, parts = shape
    stride = codes.shape[1]
    for i in range(0, n, 16):
        if count == 1:
            a = rows1(codes, i * stride, stride, quads, parts, matrices, packed)
            _write(a, scales, offsets, i, factors, 0, out)
        else:
            a, b, c, d = rows4(codes, i * stride, stride, quads, parts, matrices, packed)
            _write(a, scales, offsets, i, factors, 0, out)
            _write(b, scales, offsets, i, factors, 1, out)
            if count > 2:
                _write(c, scales, offsets, i, factors, 2, out)
            if count > 3:
                _write(d, scales, offsets, i, factors, 3, out)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _many(codes, scales, offsets, n, packed, factors, matrices, shape, block, out):  # type: ignore[no-untyped-def]
    """Five queries or more, eight at a time, against documents decoded once."""
    count, quads, parts = shape
    stride = codes.shape[1]
    for i in range(0, n, 32):
        decode(codes, i * stride, stride, quads, parts, matrices, block, 0)
        decode(codes, (i + 16) * stride, stride, quads, parts, matrices, block, 1)
        for tile in range(len(packed)):
            sums = tile8(block, 4 * quads * parts, packed, tile * packed.shape[1])
            a, b, c, d, e, f, g, h = sums
            q = 8 * tile
            _write_pair(a, scales, offsets, i, factors, q, count, out)
            _write_pair(b, scales, offsets, i, factors, q + 1, count, out)
            _write_pair(c, scales, offsets, i, factors, q + 2, count, out)
            _write_pair(d, scales, offsets, i, factors, q + 3, count, out)
            _write_pair(e, scales, offsets, i, factors, q + 4, count, out)
            _write_pair(f, scales, offsets, i, factors, q + 5, count, out)
            _write_pair(g, scales, offsets, i, factors, q + 6, count, out)
            _write_pair(h, scales, offsets, i, factors, q + 7, count, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _scores(codes, scales, offsets, n, packed, factors, matrices, shape, block, out):  # type: ignore[no-untyped-def]
    """``n`` documents, a multiple of `GROUP`."""
    if shape[0] <= 4:
        _few(codes, scales, offsets, n, packed, factors, matrices, shape, out)
    else:
        _many(codes, scales, offsets, n, packed, factors, matrices, shape, block, out)
