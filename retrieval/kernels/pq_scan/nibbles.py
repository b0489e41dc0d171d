"""Packed 4-bit codes, with AVX-512: sixteen-entry tables in registers.

A 64-byte vector of indices has 16 vectors x 4 subquantisers, and a 64-byte table the look-up tables
of those four, so that the index of subquantiser j is ``16 j OR code``: vpermb looks all up, and
vpdpbusd by ones sums the four of a vector into one 32-bit lane. Tables keep 8 bits and nothing
saturates. The other four subquantisers are the high halves of the same bytes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.pq_scan.bytes import quantize_rows
from retrieval.kernels.pq_scan.candidates import (
    collect,
    fetch,
    fetch_four,
    finish,
    offer,
    start,
    valid_lanes,
)
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.topk.threshold import n_groups, reached_by

__all__ = ["scan", "scores"]

DEPTH = 16
"""Totals that each of the first maxima is the largest of."""
SHARE = 16
"""The first threshold costs at most one part in so many of the whole scan."""


@njit(nogil=True, cache=True, error_model="numpy")
def _look_up(total, tables, t, index):  # type: ignore[no-untyped-def]
    """Add the four look-ups of 16 vectors, through the 64 bytes of ``tables`` from ``t``."""
    return v.dot_u8i8(total, v.permute_bytes(mem.load_i8(tables, t), index), v.splat_i8(1))


@njit(nogil=True, cache=True, error_model="numpy")
def _indices(codes, p):  # type: ignore[no-untyped-def]
    """Low and high halves of 64 bytes, each OR 16 x (its subquantiser in the group of four)."""
    packed, nibble, lanes = mem.load_i8(codes, p), v.splat_i8(15), v.as_i8(v.splat_i32(0x30201000))
    shifted = v.as_i8(v.shift_right(v.as_i32(packed), 4))
    return v.bit_or(v.bit_and(packed, nibble), lanes), v.bit_or(v.bit_and(shifted, nibble), lanes)


@njit(nogil=True, cache=True, error_model="numpy")
def _eight(total, tables, t, indices):  # type: ignore[no-untyped-def]
    """Add the eight look-ups of 16 vectors."""
    return _look_up(_look_up(total, tables, t, indices[0]), tables, t + 64, indices[1])


@njit(nogil=True, cache=True, error_model="numpy")
def _largest(a, b, c, d):  # type: ignore[no-untyped-def]
    return v.maximum_i32(v.maximum_i32(a, b), v.maximum_i32(c, d))


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _store(totals, q, a, b, c, d):  # type: ignore[no-untyped-def]
    mem.store_i32(totals, q * 64, a)
    mem.store_i32(totals, q * 64 + 16, b)
    mem.store_i32(totals, q * 64 + 32, c)
    mem.store_i32(totals, q * 64 + 48, d)


@njit(nogil=True, cache=True, error_model="numpy")
def _first_bound(row, codes, n, k, accept):  # type: ignore[no-untyped-def]
    """A total below the ``k``-th best of the first vectors, by their maxima (`topk.threshold`); -1 for a few.

    Without it most of the first thousands would be candidates.
    """
    groups, size, zero = n_groups(k), len(row), v.zero_i32()
    n_blocks = groups * DEPTH // 2
    if n < SHARE * 32 * n_blocks or len(accept):
        return -1
    maxima = np.full(groups * 16, -1, np.int32)
    for block in range(n_blocks):
        p, a, b = block * size, zero, zero
        for g in range(0, size, 128):
            fetch(codes, p + g, p + g + 128)
            a = _eight(a, row, g, _indices(codes, p + g))
            b = _eight(b, row, g, _indices(codes, p + g + 64))
        i = block * 2 % groups * 16
        mem.store_i32(maxima, i, v.maximum_i32(a, mem.load_i32(maxima, i)))
        mem.store_i32(maxima, i + 16, v.maximum_i32(b, mem.load_i32(maxima, i + 16)))
    return reached_by(maxima, k) - 1


@njit(nogil=True, cache=True, error_model="numpy")
def scan_one(tables, codes, n, k, accept, last, out):  # type: ignore[no-untyped-def]
    """The keys of the best ``k`` totals into ``out`` ``(1, min(k, n))``, in order; how many.

    ``tables`` ``(1, groups * 128)`` and ``codes`` ``(n_blocks * groups * 128,)`` bytes, ``k`` above 0;
    ``accept`` ``(n,)`` bytes, or empty for all; ``last`` has the valid ones of the last ``n % 64`` vectors.
    """
    bounds, counts, limits, keys, spare = start(1, n, k)
    bounds[0] = _first_bound(tables[0], codes, n, k, accept)
    row, totals, zero = tables[0], np.empty(64, np.int32), v.zero_i32()
    size = len(row)
    for first in range(0, n, 64):
        p = first // 32 * size
        r = p + size if n - first > 32 else p
        valid = valid_lanes(accept, first, n, last)
        if not valid:
            continue
        a, b, c, d = zero, zero, zero, zero
        for g in range(0, size, 128):
            fetch_four(codes, p + 2 * g)
            a = _eight(a, row, g, _indices(codes, p + g))
            b = _eight(b, row, g, _indices(codes, p + g + 64))
            c = _eight(c, row, g, _indices(codes, r + g))
            d = _eight(d, row, g, _indices(codes, r + g + 64))
        if v.mask_greater_i32(_largest(a, b, c, d), mem.broadcast4(bounds, 0)):
            _store(totals, 0, a, b, c, d)
            offer(totals, valid, first, k, bounds, counts, limits, keys, spare)
    return collect(k, counts, keys, spare, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _four_queries(totals, tables, t, size, indices):  # type: ignore[no-untyped-def]
    """`_eight` for four queries, whose tables are ``size`` bytes apart."""
    return (
        _eight(totals[0], tables, t, indices),
        _eight(totals[1], tables, t + size, indices),
        _eight(totals[2], tables, t + 2 * size, indices),
        _eight(totals[3], tables, t + 3 * size, indices),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def scan_four(tables, codes, n, k, accept, last, out):  # type: ignore[no-untyped-def]
    """`scan_one` for four queries in one pass: ``tables`` ``(4, groups * 128)``, ``out`` of four rows."""
    bounds, counts, limits, keys, spare = start(4, n, k)
    for q in range(4):
        bounds[q] = _first_bound(tables[q], codes, n, k, accept)
    totals, zero, size, flat = np.empty(256, np.int32), v.zero_i32(), tables.shape[1], tables.reshape(-1)
    for first in range(0, n, 64):
        p = first // 32 * size
        r = p + size if n - first > 32 else p
        valid = valid_lanes(accept, first, n, last)
        if not valid:
            continue
        a, b = (zero, zero, zero, zero), (zero, zero, zero, zero)
        c, d = (zero, zero, zero, zero), (zero, zero, zero, zero)
        for g in range(0, size, 128):
            fetch_four(codes, p + 2 * g)
            a = _four_queries(a, flat, g, size, _indices(codes, p + g))
            b = _four_queries(b, flat, g, size, _indices(codes, p + g + 64))
            c = _four_queries(c, flat, g, size, _indices(codes, r + g))
            d = _four_queries(d, flat, g, size, _indices(codes, r + g + 64))
        if (
            v.mask_greater_i32(_largest(a[0], b[0], c[0], d[0]), mem.broadcast4(bounds, 0))
            | v.mask_greater_i32(_largest(a[1], b[1], c[1], d[1]), mem.broadcast4(bounds, 1))
            | v.mask_greater_i32(_largest(a[2], b[2], c[2], d[2]), mem.broadcast4(bounds, 2))
            | v.mask_greater_i32(_largest(a[3], b[3], c[3], d[3]), mem.broadcast4(bounds, 3))
        ):
            _store(totals, 0, a[0], b[0], c[0], d[0])
            _store(totals, 1, a[1], b[1], c[1], d[1])
            _store(totals, 2, a[2], b[2], c[2], d[2])
            _store(totals, 3, a[3], b[3], c[3], d[3])
            offer(totals, valid, first, k, bounds, counts, limits, keys, spare)
    return collect(k, counts, keys, spare, out)


@njit(nogil=True, cache=True, error_model="numpy")
def scan(tables, codes, n, k, accept, last, scaling, keys, best):  # type: ignore[no-untyped-def]
    """Each query's best ``k``: how many, or -1 if an entry of the tables is not finite.

    ``tables`` ``(n_queries, m, 16)`` float32; ``codes``, ``accept`` and ``last`` as for `scan_one`; ``keys``
    int64 and ``best`` float32 ``(n_queries, min(k, n))`` become ordinals and scores, and ``scaling``
    ``(2, n_queries)`` the tables' scales and biases.
    """
    rows = quantize_rows(tables, 8, scaling)
    n_queries, found, q = len(rows), -1, 0
    while q < n_queries:
        if n_queries >= 4 and n_queries - q >= 3:
            q = min(q, n_queries - 4)  # three that are left go with one more
            found = scan_four(rows[q : q + 4], codes, n, k, accept, last, keys[q : q + 4])
            q += 4
        else:
            found = scan_one(rows[q : q + 1], codes, n, k, accept, last, keys[q : q + 1])
            q += 1
    finish(keys, found, scaling, best)
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def scores(tables, codes, out):  # type: ignore[no-untyped-def]
    """Float scores ``out`` ``(n_queries, n_padded)``, in the order of the subquantisers.

    ``tables`` ``(n_queries, groups * 128)`` float32, the sixteen of a subquantiser together; ``n_padded`` a
    multiple of 32.
    """
    n_queries, size = tables.shape
    for block in range(out.shape[1] // 32):
        p = block * size
        fetch(codes, p, p + size)
        for q in range(n_queries):
            table, a, b = tables[q], v.zero_f32(), v.zero_f32()
            for g in range(0, size, 128):
                x, y = v.as_i32(mem.load_i8(codes, p + g)), v.as_i32(mem.load_i8(codes, p + g + 64))
                for s in range(8):
                    entries, bits = mem.load_f32(table, g + s * 16), 8 * (s % 4) + 4 * (s // 4)
                    a = v.add(a, pick.permute_f32(entries, v.shift_right(x, bits)))
                    b = v.add(b, pick.permute_f32(entries, v.shift_right(y, bits)))
            mem.store_f32(out[q], block * 32, a)
            mem.store_f32(out[q], block * 32 + 16, b)
