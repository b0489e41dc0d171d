"""8-bit codes, row by row, with AVX-512: tables of 256 bytes in four registers.

Bytes of 64 vectors are transposed, 16 subquantisers at a time, so that one vector register holds
the codes of one subquantiser: two vpermi2b look 128 entries up each and the code's top bit
chooses. Sums are kept in 16 bits (the whole, modulo 2**16, and its upper bytes), and widened
every 256 subquantisers, before they can overflow.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.pq_scan.bytes import quantize_rows
from retrieval.kernels.pq_scan.candidates import collect, fetch, finish, offer, start, valid_lanes
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick

__all__ = ["scan", "scores"]


@njit(nogil=True, cache=True, error_model="numpy")
def _shuffle(r):  # type: ignore[no-untyped-def]
    """A quarter of the transposition of 16 x 16 bytes in each 128-bit lane."""
    low, high = pick.interleave_low_i8, pick.interleave_high_i8
    return (
        low(r[0], r[8]), high(r[0], r[8]), low(r[1], r[9]), high(r[1], r[9]),
        low(r[2], r[10]), high(r[2], r[10]), low(r[3], r[11]), high(r[3], r[11]),
        low(r[4], r[12]), high(r[4], r[12]), low(r[5], r[13]), high(r[5], r[13]),
        low(r[6], r[14]), high(r[6], r[14]), low(r[7], r[15]), high(r[7], r[15]),
    )  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy")
def _four_rows(codes, p, m):  # type: ignore[no-untyped-def]
    """Of 64 rows of ``m`` bytes 0, 16, 32 and 48, and with each the 4th, 8th and 12th after it."""
    load, step = pick.load_rows_i8, 16 * m
    return (
        load(codes, p, 4 * m),
        load(codes, p + step, 4 * m),
        load(codes, p + 2 * step, 4 * m),
        load(codes, p + 3 * step, 4 * m),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _rows(codes, p, m):  # type: ignore[no-untyped-def]
    """Sixteen bytes of each of 64 rows, so that after the transposition byte 4 j + c is row 16 c + j."""
    first, second = _four_rows(codes, p, m), _four_rows(codes, p + m, m)
    return first + second + _four_rows(codes, p + 2 * m, m) + _four_rows(codes, p + 3 * m, m)


@njit(nogil=True, cache=True, error_model="numpy")
def _transpose(codes, first, m, columns):  # type: ignore[no-untyped-def]
    """The rows from byte ``first`` on to ``columns`` ``(m rounded up to 16, 64)``, flat."""
    for s in range(0, len(columns) // 64, 16):
        r = _shuffle(_shuffle(_shuffle(_shuffle(_rows(codes, first + s, m)))))
        p = s * 64
        mem.store_i8(columns, p, r[0])
        mem.store_i8(columns, p + 64, r[1])
        mem.store_i8(columns, p + 128, r[2])
        mem.store_i8(columns, p + 192, r[3])
        mem.store_i8(columns, p + 256, r[4])
        mem.store_i8(columns, p + 320, r[5])
        mem.store_i8(columns, p + 384, r[6])
        mem.store_i8(columns, p + 448, r[7])
        mem.store_i8(columns, p + 512, r[8])
        mem.store_i8(columns, p + 576, r[9])
        mem.store_i8(columns, p + 640, r[10])
        mem.store_i8(columns, p + 704, r[11])
        mem.store_i8(columns, p + 768, r[12])
        mem.store_i8(columns, p + 832, r[13])
        mem.store_i8(columns, p + 896, r[14])
        mem.store_i8(columns, p + 960, r[15])


@njit(nogil=True, cache=True, error_model="numpy")
def _look_up(tables, t, index):  # type: ignore[no-untyped-def]
    """Bytes of the 256 from ``t`` on."""
    low = pick.permute_two_i8(mem.load_i8(tables, t), mem.load_i8(tables, t + 64), index)
    high = pick.permute_two_i8(mem.load_i8(tables, t + 128), mem.load_i8(tables, t + 192), index)
    return pick.choose_by_sign_i8(index, low, high)


@njit(nogil=True, cache=True, error_model="numpy")
def _add(tables, t, columns, totals, q):  # type: ignore[no-untyped-def]
    """Totals of 64 vectors for the query whose tables begin at ``t``, to ``totals[64 q:]``; the largest.

    The four 8-bit places of a 32-bit lane are four stretches of 16 vectors (see `_rows`).
    """
    a, b, c, d = v.zero_i32(), v.zero_i32(), v.zero_i32(), v.zero_i32()
    low16 = v.splat_i32(0xFFFF)
    for begin in range(0, len(columns), 256 * 64):
        whole, upper = v.splat_i16(0), v.splat_i16(0)
        for p in range(begin, min(begin + 256 * 64, len(columns)), 64):
            found = v.as_i16(_look_up(tables, t + p * 4, mem.load_i8(columns, p)))
            whole = v.add(whole, found)
            upper = v.add(upper, v.shift_right(found, 8))
        lower = v.as_i32(v.sub(whole, v.multiply(upper, v.splat_i16(256))))
        a = v.add(a, v.bit_and(lower, low16))
        b = v.add(b, v.bit_and(v.as_i32(upper), low16))
        c = v.add(c, v.shift_right(lower, 16))
        d = v.add(d, v.shift_right(v.as_i32(upper), 16))
    mem.store_i32(totals, q * 64, a)
    mem.store_i32(totals, q * 64 + 16, b)
    mem.store_i32(totals, q * 64 + 32, c)
    mem.store_i32(totals, q * 64 + 48, d)
    return v.maximum_i32(v.maximum_i32(a, b), v.maximum_i32(c, d))


@njit(nogil=True, cache=True, error_model="numpy")
def _scan(tables, codes, end, direct, m, n, k, accept, last, out):  # type: ignore[no-untyped-def]
    """The keys of the best ``k`` totals of each query into the rows of ``out``, in order; how many in a row.

    ``tables`` ``(n_queries * m16 * 256,)``, ``m16`` being ``m`` rounded up to 16, padded with zeros;
    ``codes`` ``(n * m,)``; ``end`` ``(128 * m + 16,)`` repeats the rows from ``direct`` on, a multiple of
    64: those for which a block of 64, or the read beyond its last row, would leave ``codes``.
    ``accept`` ``(n,)`` bytes, or empty for all; ``last`` has the valid ones of the last ``n % 64``.
    """
    n_queries, columns = len(out), np.empty((m + 15) // 16 * 1024, np.uint8)
    bounds, counts, limits, keys, spare = start(n_queries, n, k)
    totals = np.empty(n_queries * 64, np.int32)
    for first in range(0, n, 64):
        valid = valid_lanes(accept, first, n, last)
        if not valid:
            continue
        if first < direct:
            fetch(codes, first * m, (first + 64) * m)
            _transpose(codes, first * m, m, columns)
        else:
            _transpose(end, (first - direct) * m, m, columns)
        passing = False
        for q in range(n_queries):
            largest = _add(tables, q * len(columns) * 4, columns, totals, q)
            passing |= v.mask_greater_i32(largest, mem.broadcast4(bounds, q)) != 0
        if passing:
            offer(totals, valid, first, k, bounds, counts, limits, keys, spare)
    return collect(k, counts, keys, spare, out)


@njit(nogil=True, cache=True, error_model="numpy")
def scan(tables, codes, end, direct, n, k, accept, last, scaling, keys, best):  # type: ignore[no-untyped-def]
    """`retrieval.kernels.pq_scan.nibbles.scan` for 8-bit codes; ``end`` and ``direct`` as for `_scan`."""
    rows = quantize_rows(tables, 16, scaling)
    if not len(rows):
        return -1
    found = _scan(rows.reshape(-1), codes, end, direct, tables.shape[1], n, k, accept, last, keys)
    finish(keys, found, scaling, best)
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def scores(tables, codes, end, direct, m, out):  # type: ignore[no-untyped-def]
    """Float scores ``out`` ``(n_queries, n rounded up to 64)``, in the order of the subquantisers.

    ``tables`` ``(n_queries * m * 256,)`` float32; ``codes``, ``end`` and ``direct`` as for `scan`.
    """
    n_queries, n = out.shape
    columns, flat, byte = np.empty((m + 15) // 16 * 1024, np.uint8), out.reshape(-1), v.splat_i32(255)
    for first in range(0, n, 64):
        if first < direct:
            fetch(codes, first * m, (first + 64) * m)
            _transpose(codes, first * m, m, columns)
        else:
            _transpose(end, (first - direct) * m, m, columns)
        for q in range(n_queries):
            a, b, c, d = v.zero_f32(), v.zero_f32(), v.zero_f32(), v.zero_f32()
            for s in range(m):
                x, t = v.as_i32(mem.load_i8(columns, s * 64)), (q * m + s) * 256
                a = v.add(a, pick.gather_f32(tables, t, v.bit_and(x, byte)))
                b = v.add(b, pick.gather_f32(tables, t, v.bit_and(v.shift_right(x, 8), byte)))
                c = v.add(c, pick.gather_f32(tables, t, v.bit_and(v.shift_right(x, 16), byte)))
                d = v.add(d, pick.gather_f32(tables, t, v.shift_right(x, 24)))
            mem.store_f32(flat, q * n + first, a)
            mem.store_f32(flat, q * n + first + 16, b)
            mem.store_f32(flat, q * n + first + 32, c)
            mem.store_f32(flat, q * n + first + 48, d)
