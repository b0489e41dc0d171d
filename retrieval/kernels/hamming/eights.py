"""Distances of eight codes from one query or four, with 512-bit vectors.

A count of differing bits in 64 bits takes a byte. So the counts of eight codes, up to eight vectors
of eight, are shifted into the bytes of one vector; one permutation brings the bytes of a code
together and one byte sum gives eight distances: two or three instructions a code beside the XOR and
the count of each vector, for any length.

Short codes (whole 64-bit words, eight at most) are read as one stream: eight codes are ``words`` full
vectors. Longer ones are read row by row, in pieces of 192 bytes (three counts of 64 fit in a byte),
the last vector masked. The code is straight: loops of so few turns cost more than their work.

Nothing here allocates, and without ``_nrt=False`` every call would count references to its arrays.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd.arithmetic import (
    add,
    as_i8,
    as_i64,
    bit_or,
    bit_xor,
    permute_bytes,
    popcount,
    zero_i64,
)
from retrieval.kernels.simd.bits import load_masked_i8, shift_left, sum_bytes
from retrieval.kernels.simd.memory import load_i64, prefetch

__all__ = ["eight", "eight4"]

PIECE = 192
AHEAD = 4096
"""Bytes between what is read and what is asked for: the hardware's own prefetching stops at a page."""


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _differ(a, patterns, query, at):  # type: ignore[no-untyped-def]
    return popcount(bit_xor(a, load_i64(patterns, query * patterns.shape[1] + at)))


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _differ4(a, patterns, query, at):  # type: ignore[no-untyped-def]
    return (
        _differ(a, patterns, query, at),
        _differ(a, patterns, query + 1, at),
        _differ(a, patterns, query + 2, at),
        _differ(a, patterns, query + 3, at),
    )


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _push(packed, first, second):  # type: ignore[no-untyped-def]
    """Two more bytes of counts into each 64-bit lane."""
    return bit_or(bit_or(shift_left(packed, 16), shift_left(first, 8)), second)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _push4(packed, first, second):  # type: ignore[no-untyped-def]
    return (
        _push(packed[0], first[0], second[0]),
        _push(packed[1], first[1], second[1]),
        _push(packed[2], first[2], second[2]),
        _push(packed[3], first[3], second[3]),
    )


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _add4(a, b):  # type: ignore[no-untyped-def]
    return add(a[0], b[0]), add(a[1], b[1]), add(a[2], b[2]), add(a[3], b[3])


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _sum(packed, order):  # type: ignore[no-untyped-def]
    return sum_bytes(permute_bytes(as_i8(packed), order))


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _sum4(packed, order):  # type: ignore[no-untyped-def]
    return _sum(packed[0], order), _sum(packed[1], order), _sum(packed[2], order), _sum(packed[3], order)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _zero4():  # type: ignore[no-untyped-def]
    return zero_i64(), zero_i64(), zero_i64(), zero_i64()


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _pair(packed, codes, at, patterns, query, i):  # type: ignore[no-untyped-def]
    """Two more vectors."""
    prefetch(codes, at + i + AHEAD)
    prefetch(codes, at + i + 64 + AHEAD)
    first = _differ(load_i64(codes, at + i), patterns, query, i)
    second = _differ(load_i64(codes, at + i + 64), patterns, query, i + 64)
    return _push(packed, first, second)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _stream(codes, at, words, patterns, query, order):  # type: ignore[no-untyped-def]
    """Distances of eight short codes."""
    packed, i = zero_i64(), 0
    if words % 2:
        prefetch(codes, at + AHEAD)
        packed, i = _differ(load_i64(codes, at), patterns, query, 0), 64
    if words >= 2:
        packed = _pair(packed, codes, at, patterns, query, i)
    if words >= 4:
        packed = _pair(packed, codes, at, patterns, query, i + 128)
    if words >= 6:
        packed = _pair(packed, codes, at, patterns, query, i + 256)
    if words >= 8:
        packed = _pair(packed, codes, at, patterns, query, i + 384)
    return _sum(packed, order)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _pair4(packed, codes, at, patterns, query, i):  # type: ignore[no-untyped-def]
    prefetch(codes, at + i + AHEAD)
    prefetch(codes, at + i + 64 + AHEAD)
    first = _differ4(load_i64(codes, at + i), patterns, query, i)
    second = _differ4(load_i64(codes, at + i + 64), patterns, query, i + 64)
    return _push4(packed, first, second)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _stream4(codes, at, words, patterns, query, order):  # type: ignore[no-untyped-def]
    packed, i = _zero4(), 0
    if words % 2:
        prefetch(codes, at + AHEAD)
        packed, i = _differ4(load_i64(codes, at), patterns, query, 0), 64
    if words >= 2:
        packed = _pair4(packed, codes, at, patterns, query, i)
    if words >= 4:
        packed = _pair4(packed, codes, at, patterns, query, i + 128)
    if words >= 6:
        packed = _pair4(packed, codes, at, patterns, query, i + 256)
    if words >= 8:
        packed = _pair4(packed, codes, at, patterns, query, i + 384)
    return _sum4(packed, order)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _row(codes, at, start, last, mask, patterns, query):  # type: ignore[no-untyped-def]
    """Counts of one piece of one code: one to three vectors, the last masked."""
    prefetch(codes, at + last + AHEAD)
    total = _differ(as_i64(load_masked_i8(codes, at + last, mask)), patterns, query, last)
    if last > start:
        prefetch(codes, at + start + AHEAD)
        total = add(total, _differ(load_i64(codes, at + start), patterns, query, start))
    if last > start + 64:
        prefetch(codes, at + start + 64 + AHEAD)
        total = add(total, _differ(load_i64(codes, at + start + 64), patterns, query, start + 64))
    return total


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _row4(codes, at, start, last, mask, patterns, query):  # type: ignore[no-untyped-def]
    prefetch(codes, at + last + AHEAD)
    total = _differ4(as_i64(load_masked_i8(codes, at + last, mask)), patterns, query, last)
    if last > start:
        prefetch(codes, at + start + AHEAD)
        total = _add4(total, _differ4(load_i64(codes, at + start), patterns, query, start))
    if last > start + 64:
        prefetch(codes, at + start + 64 + AHEAD)
        total = _add4(total, _differ4(load_i64(codes, at + start + 64), patterns, query, start + 64))
    return total


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _last(nbytes, start):  # type: ignore[no-untyped-def]
    """Where the last vector of the piece at ``start`` is, and the mask of its bytes."""
    stop = min(start + PIECE, nbytes)
    last = start + (stop - start - 1) // 64 * 64
    return last, np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - (stop - last))


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _rows(codes, at, nbytes, patterns, query, order):  # type: ignore[no-untyped-def]
    """Distances of eight codes of any length."""
    total = zero_i64()
    for start in range(0, nbytes, PIECE):
        last, mask = _last(nbytes, start)
        packed = zero_i64()
        for row in range(at, at + 8 * nbytes, 2 * nbytes):
            first = _row(codes, row, start, last, mask, patterns, query)
            second = _row(codes, row + nbytes, start, last, mask, patterns, query)
            packed = _push(packed, first, second)
        total = add(total, _sum(packed, order))
    return total


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _rows4(codes, at, nbytes, patterns, query, order):  # type: ignore[no-untyped-def]
    total = _zero4()
    for start in range(0, nbytes, PIECE):
        last, mask = _last(nbytes, start)
        packed = _zero4()
        for row in range(at, at + 8 * nbytes, 2 * nbytes):
            first = _row4(codes, row, start, last, mask, patterns, query)
            second = _row4(codes, row + nbytes, start, last, mask, patterns, query)
            packed = _push4(packed, first, second)
        total = _add4(total, _sum4(packed, order))
    return total


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def eight(codes, at, nbytes, short, patterns, query, order):  # type: ignore[no-untyped-def]
    """Distances of the eight codes from byte ``at`` on, as I64x8; no byte beyond them is read.

    ``patterns``, ``short`` and ``order`` are what `retrieval.kernels.hamming.avx512` prepares.
    """
    if short:
        return _stream(codes, at, nbytes // 8, patterns, query, order)
    return _rows(codes, at, nbytes, patterns, query, order)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def eight4(codes, at, nbytes, short, patterns, query, order):  # type: ignore[no-untyped-def]
    """The same from four queries, the first of them ``query``: four vectors."""
    if short:
        return _stream4(codes, at, nbytes // 8, patterns, query, order)
    return _rows4(codes, at, nbytes, patterns, query, order)
