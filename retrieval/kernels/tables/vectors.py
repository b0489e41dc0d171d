"""Tables by vectors of 16 floats, an entry for each number, in LLVM's own operations."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.rotate.vectors import turn_long
from retrieval.kernels.simd.arithmetic import add, multiply, splat_f32
from retrieval.kernels.simd.memory import load_f32, store_f32

__all__ = ["fill", "turn_and_fill"]

LANES = 16


@njit(nogil=True, cache=True, error_model="numpy")
def fill(queries, meanings, out):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.tables.portable.fill`; the same up to rounding."""
    (n, dim), pieces, m = queries.shape, len(meanings), out.shape[1]
    flat, levels, row = queries.reshape(-1), meanings.reshape(-1), out.reshape(-1)
    whole, last = dim // pieces, dim - dim // pieces * pieces
    first, second = load_f32(levels, 0), load_f32(levels, (pieces - 1) // 3 * LANES)
    third, fourth = load_f32(levels, pieces // 2 * LANES), load_f32(levels, (pieces - 1) * LANES)
    for q in range(n):
        at, to = q * dim, q * m * LANES
        if pieces == 4:
            for s in range(whole):
                i = at + 4 * s
                low = add(multiply(splat_f32(flat[i]), first), multiply(splat_f32(flat[i + 1]), second))
                high = add(multiply(splat_f32(flat[i + 2]), third), multiply(splat_f32(flat[i + 3]), fourth))
                store_f32(row, to + s * LANES, add(low, high))
        elif pieces == 2:
            for s in range(whole):
                i = at + 2 * s
                both = add(multiply(splat_f32(flat[i]), first), multiply(splat_f32(flat[i + 1]), fourth))
                store_f32(row, to + s * LANES, both)
        else:
            for s in range(whole):
                store_f32(row, to + s * LANES, multiply(splat_f32(flat[at + s]), first))
        if last > 0:
            total = multiply(splat_f32(flat[at + whole * pieces]), first)
            for p in range(1, last):
                level = load_f32(levels, p * LANES)
                total = add(total, multiply(splat_f32(flat[at + whole * pieces + p]), level))
            store_f32(row, to + whole * LANES, total)


@njit(nogil=True, cache=True, error_model="numpy")
def turn_and_fill(queries, signs, size, meanings, out):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.tables.portable.turn_and_fill`; for windows of 16 and more."""
    turned = np.empty_like(queries)
    turn_long(queries, signs, size, turned)
    fill(turned, meanings, out)
