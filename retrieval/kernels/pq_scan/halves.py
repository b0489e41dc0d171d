"""Totals of packed 4-bit codes with AVX2: eight vectors of four subquantisers in 256 bits.

A shuffle has one table of 16 bytes, so each of the four subquantisers has its own; an index whose top bit
is set picks 0, so what the four find is put together by OR. Bytes are added up as int16 of two.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.simd.arithmetic import add, bit_and, bit_or, shift_right
from retrieval.kernels.simd.halves import (
    as_16i16,
    as_32i8,
    broadcast_table,
    load_32i8,
    multiply_pairs,
    pick_bytes,
    splat_16i16,
    splat_32i8,
    store_8i32,
    zero_8i32,
)

__all__ = ["totals"]

GROUP, BLOCK, TABLE = 8, 32, 16
ROW = 128
"""Bytes of a block's codes for a group of subquantisers, and of a group's tables."""
RUN = 32
"""Groups whose totals int16 holds: 4 * 255 a lane each."""

_inner = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


@_inner
def _look_up(nibbles, tables, at, others):  # type: ignore[no-untyped-def]
    """Entries of four subquantisers, whose tables begin at ``at``; ``others`` has a mask for each."""
    a = pick_bytes(broadcast_table(tables, at), bit_or(nibbles, others[0]))
    b = pick_bytes(broadcast_table(tables, at + TABLE), bit_or(nibbles, others[1]))
    c = pick_bytes(broadcast_table(tables, at + 2 * TABLE), bit_or(nibbles, others[2]))
    d = pick_bytes(broadcast_table(tables, at + 3 * TABLE), bit_or(nibbles, others[3]))
    return bit_or(bit_or(a, b), bit_or(c, d))


@_inner
def _add_pairs(total, entries):  # type: ignore[no-untyped-def]
    pairs = as_16i16(entries)
    return add(total, add(bit_and(pairs, splat_16i16(255)), shift_right(pairs, 8)))


@_inner
def _eight(packed, first, tables, start, groups, others):  # type: ignore[no-untyped-def]
    """Totals of the eight vectors whose first codes are at ``first``."""
    low, total = splat_32i8(15), zero_8i32()
    for run in range(0, groups, RUN):
        part = splat_16i16(0)
        for g in range(run, min(run + RUN, groups)):
            codes, at = load_32i8(packed, first + g * ROW), start + g * ROW
            part = _add_pairs(part, _look_up(bit_and(codes, low), tables, at, others))
            high = bit_and(as_32i8(shift_right(as_16i16(codes), 4)), low)
            part = _add_pairs(part, _look_up(high, tables, at + ROW // 2, others))
        total = add(total, multiply_pairs(part, splat_16i16(1)))
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _scan(tables, packed, groups, masks, out):  # type: ignore[no-untyped-def]
    """``tables`` and ``packed`` are flat; ``out`` is ``(n_queries, n_blocks * 32)``."""
    found = np.empty(BLOCK, np.int32)
    others = load_32i8(masks, 0), load_32i8(masks, 32), load_32i8(masks, 64), load_32i8(masks, 96)
    for block in range(out.shape[1] // BLOCK):
        for q in range(len(out)):
            for i in range(0, BLOCK, GROUP):
                first = block * groups * ROW + i * 4
                store_8i32(found, i, _eight(packed, first, tables, q * groups * ROW, groups, others))
            for i in range(BLOCK):
                out[q, block * BLOCK + i] = found[i]


def totals(entries: NDArray[np.uint8], packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sums of ``entries`` ``(n_queries, m, 16)`` for all packed vectors, ``(n_queries, n_blocks * 32)``."""
    n_queries, m, _ = entries.shape
    groups = packed.shape[1]
    tables = np.zeros((n_queries, groups * GROUP, TABLE), np.uint8)
    tables[:, :m] = entries
    masks = np.where(np.arange(BLOCK) % 4 == np.arange(4)[:, None], 0, 128).astype(np.uint8)
    out = np.empty((n_queries, len(packed) * BLOCK), np.float32)
    _scan(tables.reshape(-1), packed.reshape(-1), groups, masks.reshape(-1), out)
    return out
