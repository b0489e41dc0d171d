"""Float tables as bytes, with AVX-512: the same as `retrieval.kernels.pq_scan.reference.quantize_tables`."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick

__all__ = ["quantize_rows"]


@njit(nogil=True, cache=True, error_model="numpy")
def _order_range(flat, first, ksub):  # type: ignore[no-untyped-def]
    """``(least, greatest, whether all are finite)`` of ``ksub`` floats, a multiple of 16; see `_floats`."""
    most, bad = pick.order_bits_f32(mem.load_f32(flat, first)), np.uint16(0)
    least = most
    for i in range(first, first + ksub, 16):
        x = mem.load_f32(flat, i)
        difference, order = v.sub(x, x), pick.order_bits_f32(x)
        bad |= pick.mask_nan_f32(difference, difference)  # of what is not finite
        most, least = v.maximum_i32(most, order), v.minimum_i32(least, order)
    return ~v.largest_i32(v.bit_xor(least, v.splat_i32(-1))), v.largest_i32(most), bad == 0


@njit(nogil=True, cache=True, error_model="numpy")
def _floats(order):  # type: ignore[no-untyped-def]
    """Floats from integers of the same order (`simd.selection.order_bits_f32`), in place."""
    for i in range(len(order)):
        order[i] ^= (order[i] >> 31) & 0x7FFFFFFF
    return order.view(np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def quantize_rows(tables, multiple, scaling):  # type: ignore[no-untyped-def]
    """Bytes ``(n_queries, m rounded up to a multiple * ksub)``, zeros beyond ``m``, aligned to 64 bytes.

    ``scaling`` ``(2, n_queries)`` becomes scales and biases. Empty if an entry is not finite.
    """
    n_queries, m, ksub = tables.shape
    size, flat = (m + multiple - 1) // multiple * multiple * ksub, tables.reshape(-1)
    room, ranges = np.zeros(n_queries * size + 64, np.uint8), np.empty(2 * m, np.int32)
    start = -room.ctypes.data % 64
    rows = room[start : start + n_queries * size]
    for q in range(n_queries):
        for s in range(m):
            ranges[s], ranges[m + s], finite = _order_range(flat, (q * m + s) * ksub, ksub)
            if not finite:
                return rows[:0].reshape(0, size)
        low_high, widest, bias = _floats(ranges), 0.0, 0.0
        for s in range(m):
            low = np.float64(low_high[s])
            widest, bias = max(widest, np.float64(low_high[m + s]) - low), bias + low
        scaling[0, q], scaling[1, q] = widest / 255, bias
        inverse = 1 / (widest / 255) if widest > 0 else 1.0
        for s in range(m):
            t, low = (q * m + s) * ksub, np.float64(low_high[s])
            for i in range(0, ksub, 16):
                pick.store_scaled_u8(rows, q * size + s * ksub + i, mem.load_f32(flat, t + i), low, inverse)
    return rows.reshape(n_queries, size)
