"""Each query token's best centroids from the largest sums of blocks of eight, with 512-bit vectors.

What the maxima of ``nprobe`` blocks reach, ``nprobe`` centroids reach. That bound is found for 32 query
tokens at a time, bit by bit; blocks below it are never looked at again, and the sums of the others (little
more than ``nprobe`` of them) are made once more.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.simd.arithmetic import (
    add,
    as_i32,
    as_i64,
    dot_u8i8,
    mask_greater_i16,
    maximum_i16,
    splat_i16,
    sub,
    zero_i32,
)
from retrieval.kernels.simd.bits import (
    interleave_high_i32,
    interleave_high_i64,
    interleave_low_i32,
    interleave_low_i64,
    mask_less_i64,
    shift_left,
)
from retrieval.kernels.simd.memory import load_i8, load_i16, load_i64, prefetch, store_i16, store_i64
from retrieval.kernels.simd.narrow import choose_greater_i16, sum_quarters_i64
from retrieval.kernels.simd.partial import element, load_part_i8
from retrieval.kernels.simd.selection import compress_i64, count_bits, splat_i64
from retrieval.kernels.topk.avx512 import PADDING
from retrieval.kernels.topk.order import sort_best

__all__ = ["best_centroids"]

BLOCK, COLUMNS, LINE = 8, 32, 64
LOWEST, HIGHEST_BIT = -2048, 11
"""Maxima have 12 bits."""
EVERYTHING = -(2**31)
GROUPS, EACH, MOST = 1024, 8, 16384
"""The fewest maxima to search, how many for each probe, and the most (they are counted in int16)."""
AHEAD = 4


@njit(nogil=True, error_model="numpy")
def _fold(maxima, n_groups):  # type: ignore[no-untyped-def]
    """``n_groups`` rows of 32, blocks dealt to them in turns: neighbours are alike."""
    if len(maxima) <= n_groups * COLUMNS:
        return maxima
    folded = maxima[: n_groups * COLUMNS].copy()
    for first in range(n_groups * COLUMNS, len(maxima), n_groups * COLUMNS):
        for i in range(0, min(n_groups * COLUMNS, len(maxima) - first), COLUMNS):
            store_i16(folded, i, maximum_i16(load_i16(folded, i), load_i16(maxima, first + i)))
    return folded


@njit(nogil=True, error_model="numpy")
def _bounds(maxima, n_probe, bounds):  # type: ignore[no-untyped-def]
    """For each of 32 lanes the largest number that ``n_probe`` of the maxima reach (`LOWEST`: none does)."""
    reached, none, one = splat_i16(LOWEST), splat_i16(0), splat_i16(1)
    enough = splat_i16(min(n_probe, 2**15 - 1) - 1)
    for bit in range(HIGHEST_BIT, -1, -1):
        trial = add(reached, splat_i16(1 << bit))
        below, a, b = sub(trial, one), none, none
        for i in range(0, len(maxima) - COLUMNS, 2 * COLUMNS):
            a = add(a, choose_greater_i16(load_i16(maxima, i), below, one, none))
            b = add(b, choose_greater_i16(load_i16(maxima, i + COLUMNS), below, one, none))
        if len(maxima) % (2 * COLUMNS):
            a = add(a, choose_greater_i16(load_i16(maxima, len(maxima) - COLUMNS), below, one, none))
        reached = choose_greater_i16(add(a, b), enough, trial, reached)
    store_i16(bounds, 0, reached)


@njit(nogil=True, error_model="numpy")
def _blocks_above(maxima, bounds, valid, blocks, counts):  # type: ignore[no-untyped-def]
    """The blocks that reach each lane's bound, ascending, to the rows of ``blocks``."""
    below = sub(load_i16(bounds, 0), splat_i16(1))
    counts[:] = 0
    for i in range(0, len(maxima), COLUMNS):
        mask = np.int64(mask_greater_i16(load_i16(maxima, i), below)) & valid
        while mask:
            lane = _first_bit(mask)
            blocks[lane, counts[lane]] = i // COLUMNS
            counts[lane] += 1
            mask &= mask - 1


@inner
def _first_bit(mask):  # type: ignore[no-untyped-def]
    """Number of the lowest bit that is set: the bits below it, counted."""
    below = (mask & -mask) - 1
    return count_bits(np.uint16(below & 0xFFFF)) + count_bits(np.uint16((below >> 16) & 0xFFFF))


@inner
def _dot(codes, at, levels, row, size):  # type: ignore[no-untyped-def]
    total, whole = zero_i32(), size // LINE * LINE
    for j in range(0, whole, LINE):
        total = dot_u8i8(total, load_i8(codes, at + j), load_i8(levels, row + j))
    if whole < size:
        part = load_part_i8(codes, at + whole, size - whole)
        total = dot_u8i8(total, part, load_part_i8(levels, row + whole, size - whole))
    return total


@inner
def _pairwise(a, b):  # type: ignore[no-untyped-def]
    return add(interleave_low_i32(a, b), interleave_high_i32(a, b))


@inner
def _fours(a, b):  # type: ignore[no-untyped-def]
    a, b = as_i64(a), as_i64(b)
    return add(as_i32(interleave_low_i64(a, b)), as_i32(interleave_high_i64(a, b)))


@inner
def _sums8(codes, at, levels, row, size):  # type: ignore[no-untyped-def]
    """Sums of eight centroids, which begin at byte ``at``, with one query token, as 64-bit integers."""
    a = _pairwise(_dot(codes, at, levels, row, size), _dot(codes, at + size, levels, row, size))
    at += 2 * size
    b = _pairwise(_dot(codes, at, levels, row, size), _dot(codes, at + size, levels, row, size))
    at += 2 * size
    c = _pairwise(_dot(codes, at, levels, row, size), _dot(codes, at + size, levels, row, size))
    at += 2 * size
    d = _pairwise(_dot(codes, at, levels, row, size), _dot(codes, at + size, levels, row, size))
    return sum_quarters_i64(_fours(a, b), _fours(c, d))


@njit(nogil=True, error_model="numpy")
def _push(stored, levels, row, blocks, least, eights, keys):  # type: ignore[no-untyped-def]
    """Keys (`kernels.topk`: order of sum, then id) of the blocks' centroids that reach ``least``."""
    codes, size, n, _ = stored
    bound, minus, count = splat_i64(least - 1), splat_i64(-1), 0
    for i in range(len(blocks)):
        if i + AHEAD < len(blocks):
            soon = element(blocks, i + AHEAD) * BLOCK * size
            for j in range(0, BLOCK * size, LINE):
                prefetch(codes, soon + j)
        first = element(blocks, i) * BLOCK
        sums = _sums8(codes, first * size, levels, row, size)
        ids = add(splat_i64(first), load_i64(eights, 0))
        there = 255 if n - first >= BLOCK else (1 << (n - first)) - 1
        mask = np.uint8(mask_less_i64(bound, sums) & there)
        found = add(shift_left(sub(minus, sums), 32), ids)
        store_i64(keys, count, compress_i64(found, mask))
        count += count_bits(mask)
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def best_centroids(stored, levels, numbers, maxima, probes, scores):  # type: ignore[no-untyped-def]
    """Fill ``probes`` and ``scores`` ``(n_q, nprobe)``.

    ``stored`` is (flat codes, bytes of a centroid, K, shift); ``maxima`` ``(ceil(n_q / 32), blocks, 32)`` are
    the largest sums of blocks, shifted right.
    """
    _, size, n, shift = stored
    offsets, steps, base = numbers
    n_probe, flat = probes.shape[1], levels.reshape(-1)
    n_groups = min(max(GROUPS, EACH * n_probe), MOST)
    blocks, counts = np.empty((COLUMNS, maxima.shape[1]), np.int32), np.empty(COLUMNS, np.int64)
    keys, spare = np.empty(n + PADDING, np.int64), np.empty(n + PADDING, np.int64)
    bounds, eights = np.empty(COLUMNS, np.int16), np.arange(8)
    for pair in range(maxima.shape[0]):
        lanes, largest = min(len(levels) - COLUMNS * pair, COLUMNS), maxima[pair].reshape(-1)
        _bounds(_fold(largest, n_groups), n_probe, bounds)
        _blocks_above(largest, bounds, (1 << lanes) - 1, blocks, counts)
        for lane in range(lanes):
            q = COLUMNS * pair + lane
            # Without a bound everything passes.
            least = (np.int64(bounds[lane]) << shift) + offsets[q] if bounds[lane] > LOWEST else EVERYTHING
            chosen = blocks[lane, : counts[lane]]
            count = _push(stored, flat, q * size, chosen, least, eights, keys)
            sort_best(keys, 0, count, n_probe, spare, probes[q])
            for i in range(n_probe):
                raw = ~(probes[q, i] >> 32)
                scores[q, i] = np.float32((raw - offsets[q]) * steps[q] + base[q])
                probes[q, i] &= 0xFFFFFFFF
