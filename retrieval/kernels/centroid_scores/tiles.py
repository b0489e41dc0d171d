"""Sums of centroids by AMX, 32 of them at a time; what is made of the sums is as with vectors."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.centroid_scores.avx512 import keep, per_lane
from retrieval.kernels.centroid_scores.reference import BLOCK, COLUMNS
from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.maxsim.lanes import load_sums
from retrieval.kernels.maxsim.packing import LANES, from_line
from retrieval.kernels.maxsim.tiles import AHEAD, products
from retrieval.kernels.maxsim.tiles import BLOCK as TOGETHER
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.memory import load_i32
from retrieval.kernels.simd.tiles import end_tiles, start_tiles

__all__ = ["score_first"]


@inner
def _eight(sums, row, column, start):  # type: ignore[no-untyped-def]
    """Sums of eight centroids with 16 query tokens, begun at ``start``."""
    return (
        add(load_sums(sums, 2 * row + column), start),
        add(load_sums(sums, 2 * row + 2 + column), start),
        add(load_sums(sums, 2 * row + 4 + column), start),
        add(load_sums(sums, 2 * row + 6 + column), start),
        add(load_sums(sums, 2 * row + 8 + column), start),
        add(load_sums(sums, 2 * row + 10 + column), start),
        add(load_sums(sums, 2 * row + 12 + column), start),
        add(load_sums(sums, 2 * row + 14 + column), start),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def score_first(stored, packed, lanes, numbers, units, out, shape, config):  # type: ignore[no-untyped-def]
    """Score as many of the first blocks of eight centroids as tiles are filled by: how many. Arguments
    are those of `retrieval.kernels.centroid_scores.avx512._score_all`, and of
    `retrieval.kernels.maxsim.tiles.products`."""
    codes, _, n, shift = stored
    start, _, scales = per_lane(numbers, units, lanes)
    pairs, steps = len(start) // COLUMNS, n // TOGETHER
    table, rows, maxima = out[0].reshape(-1), out[1].reshape(pairs, -1), out[2].reshape(pairs, -1)
    sums = from_line(np.empty(2 * TOGETHER * COLUMNS + LANES, np.int32))
    start_tiles(config)
    for pair in range(pairs):
        low, high = load_i32(start, COLUMNS * pair), load_i32(start, COLUMNS * pair + COLUMNS // 2)
        # Sums are looked at while the next ones are made: what was just stored is not there yet.
        for step in range(steps + 1):
            half = step % 2 * TOGETHER
            if step < steps:
                first = step * TOGETHER
                products(
                    codes,
                    first,
                    0,
                    TOGETHER // 2,
                    first + AHEAD,
                    shape,
                    2 * pair,
                    packed,
                    sums,
                    half,
                    half + TOGETHER // 2,
                )
            for block in range(TOGETHER // BLOCK if step else 0):
                row = TOGETHER - half + block * BLOCK
                a, b = _eight(sums, row, 0, low), _eight(sums, row, 1, high)
                number = (step - 1) * (TOGETHER // BLOCK) + block
                keep(a, b, number, pair, len(start), shift, scales, table, rows, maxima)
    end_tiles()
    return steps * (TOGETHER // BLOCK)
