"""Int8 queries against 1, 2, 4 and 8-bit documents with 512-bit vectors (AVX-512 VNNI and GFNI).

The unit is sixteen documents. Sixteen bytes of four of them fill one vector; a bit matrix product
(gf2p8affineqb) moves the codes of one position in the byte down to bit 0 and clears the rest, for
any number of bits; vpdpbusd multiplies with query bytes in the matching order. One query or four
are taken this way (`rows1`, `rows4`).

More queries share decoded documents: thirty-two documents are decoded into the first-level cache
with documents in the lanes (four bytes each), and every eight queries are multiplied with them in
sixteen vectors of sums (`tile8`): ten loads for sixteen multiply-adds.

Rows are read in whole vectors of sixteen bytes: the caller sees to it that there is something to
read behind the last row, and query bytes are 0 there.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.simd.arithmetic import add, as_i8, as_i32, as_i64, dot_u8i8, zero_i32
from retrieval.kernels.simd.bits import (
    interleave_high_i32,
    interleave_high_i64,
    interleave_low_i32,
    interleave_low_i64,
    transform_bits,
)
from retrieval.kernels.simd.memory import broadcast4, load_i8, load_i64, prefetch, store_i8
from retrieval.kernels.simd.selection import load_rows_i8

__all__ = ["bit_matrices", "decode", "rows1", "rows4", "tile8"]

AHEAD = 4096
"""Bytes between the end of what is read and what is asked for."""


def bit_matrices(bits: int) -> NDArray[np.int64]:
    """For each position in a byte the bit matrix that moves it down to bit 0, ``(8 / bits, 8)``.

    Row 7 - b of a matrix, a byte, says which bit becomes bit b.
    """
    matrices = [
        sum(1 << (part * bits + bit) << 8 * (7 - bit) for bit in range(bits)) for part in range(8 // bits)
    ]
    return np.repeat(np.array(matrices, np.uint64).view(np.int64)[:, None], 8, axis=1)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _load(codes, at, stride):  # type: ignore[no-untyped-def]
    """Sixteen bytes of sixteen rows: lane t of vector g is row 4 t + g."""
    return (
        load_rows_i8(codes, at, 4 * stride),
        load_rows_i8(codes, at + stride, 4 * stride),
        load_rows_i8(codes, at + 2 * stride, 4 * stride),
        load_rows_i8(codes, at + 3 * stride, 4 * stride),
    )


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _prefetch4(codes, at):  # type: ignore[no-untyped-def]
    prefetch(codes, at)
    prefetch(codes, at + 64)
    prefetch(codes, at + 128)
    prefetch(codes, at + 192)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _sum(a, b, c, d):  # type: ignore[no-untyped-def]
    """Four sums of four documents each, spread over four lanes, to sixteen documents in order."""
    ab = as_i64(add(interleave_low_i32(a, b), interleave_high_i32(a, b)))
    cd = as_i64(add(interleave_low_i32(c, d), interleave_high_i32(c, d)))
    return add(as_i32(interleave_low_i64(ab, cd)), as_i32(interleave_high_i64(ab, cd)))


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def rows1(codes, at, stride, quads, parts, matrices, packed):  # type: ignore[no-untyped-def]
    """Dot products of one query with the sixteen documents from byte ``at`` on, as I32x16."""
    a, b, c, d = zero_i32(), zero_i32(), zero_i32(), zero_i32()
    step = 0
    for p in range(quads):
        w, x, y, z = _load(codes, at + 16 * p, stride)
        _prefetch4(codes, at + 16 * stride + AHEAD + 256 * p)
        for i in range(parts):
            matrix, q = load_i64(matrices, 8 * i), load_i8(packed, step)
            a = dot_u8i8(a, transform_bits(w, matrix), q)
            b = dot_u8i8(b, transform_bits(x, matrix), q)
            c = dot_u8i8(c, transform_bits(y, matrix), q)
            d = dot_u8i8(d, transform_bits(z, matrix), q)
            step += 64
    return _sum(a, b, c, d)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _dot4(sums, x, q0, q1, q2, q3):  # type: ignore[no-untyped-def]
    a, b, c, d = sums
    return dot_u8i8(a, x, q0), dot_u8i8(b, x, q1), dot_u8i8(c, x, q2), dot_u8i8(d, x, q3)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def rows4(codes, at, stride, quads, parts, matrices, packed):  # type: ignore[no-untyped-def]
    """Dot products of four queries with sixteen documents: four vectors."""
    zero = zero_i32(), zero_i32(), zero_i32(), zero_i32()
    a, b, c, d = zero, zero, zero, zero
    step, size = 0, packed.shape[1]
    for p in range(quads):
        w, x, y, z = _load(codes, at + 16 * p, stride)
        _prefetch4(codes, at + 16 * stride + AHEAD + 256 * p)
        for i in range(parts):
            matrix = load_i64(matrices, 8 * i)
            q0, q1 = load_i8(packed, step), load_i8(packed, step + size)
            q2, q3 = load_i8(packed, step + 2 * size), load_i8(packed, step + 3 * size)
            a = _dot4(a, transform_bits(w, matrix), q0, q1, q2, q3)
            b = _dot4(b, transform_bits(x, matrix), q0, q1, q2, q3)
            c = _dot4(c, transform_bits(y, matrix), q0, q1, q2, q3)
            d = _dot4(d, transform_bits(z, matrix), q0, q1, q2, q3)
            step += 64
    return (
        _sum(a[0], b[0], c[0], d[0]),
        _sum(a[1], b[1], c[1], d[1]),
        _sum(a[2], b[2], c[2], d[2]),
        _sum(a[3], b[3], c[3], d[3]),
    )


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _interleave(a, b):  # type: ignore[no-untyped-def]
    first, second = as_i32(a), as_i32(b)
    return as_i64(interleave_low_i32(first, second)), as_i64(interleave_high_i32(first, second))


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _store_parts(x, parts, matrices, block, at):  # type: ignore[no-untyped-def]
    for i in range(parts):
        store_i8(block, at + 128 * i, transform_bits(x, load_i64(matrices, 8 * i)))


@njit(nogil=True, error_model="numpy", _nrt=False)
def decode(codes, at, stride, quads, parts, matrices, block, half):  # type: ignore[no-untyped-def]
    """Sixteen documents as bytes, documents in the lanes, four dimensions a lane.

    ``block`` is ``[4 * quads][parts][2][64]``; ``half`` says which 64 bytes are written.
    """
    for p in range(quads):
        w, x, y, z = _load(codes, at + 16 * p, stride)
        _prefetch4(codes, at + 16 * stride + AHEAD + 256 * p)
        low, high = _interleave(w, x)
        low2, high2 = _interleave(y, z)
        to, size = p * 4 * parts * 128 + half * 64, parts * 128
        _store_parts(as_i8(interleave_low_i64(low, low2)), parts, matrices, block, to)
        _store_parts(as_i8(interleave_high_i64(low, low2)), parts, matrices, block, to + size)
        _store_parts(as_i8(interleave_low_i64(high, high2)), parts, matrices, block, to + 2 * size)
        _store_parts(as_i8(interleave_high_i64(high, high2)), parts, matrices, block, to + 3 * size)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _pair(sums, x, y, tiles, at):  # type: ignore[no-untyped-def]
    q = broadcast4(tiles, at)
    return dot_u8i8(sums[0], x, q), dot_u8i8(sums[1], y, q)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def tile8(block, steps, tiles, at):  # type: ignore[no-untyped-def]
    """Dot products of eight queries with the thirty-two documents of ``block``: eight pairs.

    ``tiles`` holds ``[steps][8 queries][4]`` signed bytes from byte ``at`` on.
    """
    zero = zero_i32(), zero_i32()
    a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(steps):
        x, y, to = load_i8(block, 128 * i), load_i8(block, 128 * i + 64), at + 32 * i
        a, b = _pair(a, x, y, tiles, to), _pair(b, x, y, tiles, to + 4)
        c, d = _pair(c, x, y, tiles, to + 8), _pair(d, x, y, tiles, to + 12)
        e, f = _pair(e, x, y, tiles, to + 16), _pair(f, x, y, tiles, to + 20)
        g, h = _pair(g, x, y, tiles, to + 24), _pair(h, x, y, tiles, to + 28)
    return a, b, c, d, e, f, g, h
