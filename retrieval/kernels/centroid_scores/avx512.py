"""All centroids' sums with 512-bit vectors, and rows of small integers from them.

The loop is that of `retrieval.kernels.maxsim.blocks`: eight centroids against 32 query tokens, sums in
registers. What is asked for is made of them while they are there: bytes, int16, and the largest of the
eight, by which `retrieval.kernels.centroid_scores.probes` finds the best centroids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels import host
from retrieval.kernels.centroid_maxsim.tables import aligned
from retrieval.kernels.centroid_scores.probes import best_centroids
from retrieval.kernels.centroid_scores.query import Rounded, in_units
from retrieval.kernels.centroid_scores.reference import BLOCK, COLUMNS, Centroids
from retrieval.kernels.maxsim.blocks import eight, inner, largest8, multiply_pair, multiply_single
from retrieval.kernels.maxsim.packing import LANES, pack
from retrieval.kernels.maxsim.tiles import shape_of
from retrieval.kernels.simd.arithmetic import add, maximum_i16, multiply, splat_i16, to_f32, zero_i32
from retrieval.kernels.simd.memory import load_f32, load_i32, store_i8, store_i16
from retrieval.kernels.simd.narrow import (
    narrow_i16,
    narrow_u8,
    nearest_i32,
    shift_right_signed,
    store_high_half,
    store_low_half,
)
from retrieval.kernels.simd.tiles import configure, tile_width
from retrieval.types import FloatArray, IntArray

__all__ = ["LEVELS", "keep", "per_lane", "scan_blocks", "score"]

LEVELS = 2048
"""The largest of eight sums is kept in so many steps: enough to tell the best apart, few to search."""


def score(
    rounded: Rounded, centroids: Centroids, byte_unit: float, row_unit: float, nprobe: int
) -> tuple[NDArray[np.uint8], NDArray[np.int16], IntArray, FloatArray]:
    """Bytes ``(K, lanes)``, rows ``(blocks, K, 32)``, each in a unit (0: none), probes and their scores."""
    n, n_q, blocks = centroids.n, len(rounded.steps), rounded.lanes // COLUMNS
    table = aligned((n if byte_unit else 0, rounded.lanes), np.uint8)
    rows = aligned((blocks, n if row_unit else 0, COLUMNS), np.int16)
    maxima = np.empty((blocks, -(-n // BLOCK) if nprobe else 0, COLUMNS), np.int16)
    probes, scores = np.empty((n_q, nprobe), np.int64), np.empty((n_q, nprobe), np.float32)
    # No sum is larger: a norm of levels times the largest norm of codes.
    largest = float(rounded.norms.max()) * centroids.longest / centroids.step
    shift = int(largest / LEVELS + 1).bit_length()
    stored = centroids.codes.reshape(-1), centroids.codes.shape[1], n, shift
    numbers = rounded.offsets, rounded.steps, rounded.base
    units = byte_unit, row_unit
    told = stored, pack(rounded.levels), rounded.lanes, numbers, units, (table, rows, maxima)
    _score_all(*told, _score_first(n_q, *told))
    if nprobe:
        best_centroids(stored, rounded.levels, numbers, maxima, probes, scores)
    return table, rows, probes, scores


def _score_first(n_q: int, stored: Any, *told: Any) -> int:
    """Blocks that were scored by tiles, where there are any that fit."""
    if not host.has_tiles() or not tile_width(stored[1]):
        return 0
    from retrieval.kernels.centroid_scores import tiles

    shape = shape_of(n_q, stored[1])
    return int(tiles.score_first(stored, *told, shape, configure(shape[1])))


@inner
def _first8(start, stride):  # type: ignore[no-untyped-def]
    """Where the rows of a block begin."""
    return (
        start,
        start + stride,
        start + 2 * stride,
        start + 3 * stride,
        start + 4 * stride,
        start + 5 * stride,
        start + 6 * stride,
        start + 7 * stride,
    )


@inner
def _scaled(sums, factor):  # type: ignore[no-untyped-def]
    return nearest_i32(multiply(to_f32(sums), factor))


@inner
def _store_bytes(a, b, fa, fb, table, at, width):  # type: ignore[no-untyped-def]
    """Two centroids' bytes, 32 each, ``width`` apart: ``a`` has 16 tokens of both, ``b`` the other 16."""
    both = narrow_u8(_scaled(a[0], fa), _scaled(b[0], fb), _scaled(a[1], fa), _scaled(b[1], fb))
    if width == COLUMNS:
        store_i8(table, at, both)
    else:
        store_low_half(table, at, both)
        store_high_half(table, at + width, both)


@inner
def _bytes8(a, b, factors, column, table, at, width):  # type: ignore[no-untyped-def]
    fa, fb = load_f32(factors, column), load_f32(factors, column + LANES)
    _store_bytes((a[0], a[1]), (b[0], b[1]), fa, fb, table, at, width)
    _store_bytes((a[2], a[3]), (b[2], b[3]), fa, fb, table, at + 2 * width, width)
    _store_bytes((a[4], a[5]), (b[4], b[5]), fa, fb, table, at + 4 * width, width)
    _store_bytes((a[6], a[7]), (b[6], b[7]), fa, fb, table, at + 6 * width, width)


@inner
def _row(a, b, factors, biases):  # type: ignore[no-untyped-def]
    """Multiplied, then added, as the reference rounds."""
    x = nearest_i32(add(multiply(to_f32(a), factors[0]), biases[0]))
    return narrow_i16(x, nearest_i32(add(multiply(to_f32(b), factors[1]), biases[1])))


@inner
def _rows8(a, b, factors, biases, column, rows, at):  # type: ignore[no-untyped-def]
    f = load_f32(factors, column), load_f32(factors, column + LANES)
    s = load_f32(biases, column), load_f32(biases, column + LANES)
    store_i16(rows, at, _row(a[0], b[0], f, s))
    store_i16(rows, at + COLUMNS, _row(a[1], b[1], f, s))
    store_i16(rows, at + 2 * COLUMNS, _row(a[2], b[2], f, s))
    store_i16(rows, at + 3 * COLUMNS, _row(a[3], b[3], f, s))
    store_i16(rows, at + 4 * COLUMNS, _row(a[4], b[4], f, s))
    store_i16(rows, at + 5 * COLUMNS, _row(a[5], b[5], f, s))
    store_i16(rows, at + 6 * COLUMNS, _row(a[6], b[6], f, s))
    store_i16(rows, at + 7 * COLUMNS, _row(a[7], b[7], f, s))


@inner
def _multiply(codes, stride, at, packed, start, pair, groups):  # type: ignore[no-untyped-def]
    """Eight centroids against the 32 query tokens of a pair of groups, or 16 of the last one alone."""
    steps, first = stride // 4, 2 * pair * (stride // 4)
    r, ahead, pace = _first8(at, stride), at + 2 * BLOCK * stride, 4 * BLOCK
    a, none = eight(load_i32(start, COLUMNS * pair)), eight(zero_i32())
    if 2 * pair + 1 < groups:
        b = eight(load_i32(start, COLUMNS * pair + LANES))
        return multiply_pair(a, b, codes, r, packed, first, steps, stride - 4, codes, ahead, pace)
    return multiply_single(a, codes, r, packed, first, steps, stride - 4, codes, ahead, pace), none


@inner
def keep(a, b, block, pair, width, shift, scales, bytes_to, rows_to, maxima):  # type: ignore[no-untyped-def]
    """What is asked for of the sums of a block with two groups of query tokens. Outputs are flat; each pair
    of groups has its ``rows_to`` and ``maxima``."""
    byte_factors, row_factors, row_biases = scales
    if bytes_to.shape[0]:
        at = block * BLOCK * width + COLUMNS * pair
        _bytes8(a, b, byte_factors, COLUMNS * pair, bytes_to, at, width)
    if rows_to.shape[1]:
        column, at = COLUMNS * pair, block * BLOCK * COLUMNS
        _rows8(a, b, row_factors, row_biases, column, rows_to[pair], at)
    if maxima.shape[1]:
        x, y = shift_right_signed(largest8(a), shift), shift_right_signed(largest8(b), shift)
        store_i16(maxima[pair], block * COLUMNS, maximum_i16(narrow_i16(x, y), splat_i16(-LEVELS)))


@njit(nogil=True, cache=True, error_model="numpy")
def scan_blocks(codes, stride, shift, blocks, packed, start, groups, scales, bytes_to, rows_to, maxima):  # type: ignore[no-untyped-def]
    """Whole blocks from the first to the last of ``blocks``; outputs as for `keep`."""
    pairs, width = len(start) // COLUMNS, len(start)
    for block in range(blocks[0], blocks[1]):
        for pair in range(pairs):
            a, b = _multiply(codes, stride, block * BLOCK * stride, packed, start, pair, groups)
            keep(a, b, block, pair, width, shift, scales, bytes_to, rows_to, maxima)


@njit(nogil=True, error_model="numpy")
def per_lane(numbers, units, lanes):  # type: ignore[no-untyped-def]
    """What each lane's sums start from, how many groups of 16 lanes have tokens, and the sums' factors."""
    offsets, steps, base = numbers
    start = np.zeros(lanes, np.int32)
    start[: len(offsets)] = -offsets
    scales = np.empty(lanes, np.float32), np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    in_units(steps, units[0], scales[0])
    in_units(steps, units[1], scales[1])
    in_units(base, units[1], scales[2])
    return start, (len(offsets) + LANES - 1) // LANES, scales


@njit(nogil=True, cache=True, error_model="numpy")
def _score_all(stored, packed, lanes, numbers, units, out, done):  # type: ignore[no-untyped-def]
    """Whole blocks into place, but for the first ``done``, and the rows that are left through a block of
    scratch."""
    codes, stride, n, shift = stored
    table, rows, maxima = out
    start, groups, scales = per_lane(numbers, units, lanes)
    pairs, whole, width = len(start) // COLUMNS, n // BLOCK, len(start)
    flat_rows, flat_maxima = rows.reshape(pairs, -1), maxima.reshape(pairs, -1)
    flat = table.reshape(-1)
    scan_blocks(
        codes, stride, shift, (done, whole), packed, start, groups, scales, flat, flat_rows, flat_maxima
    )
    left = n - whole * BLOCK
    if left == 0:
        return
    last_bytes = np.empty(BLOCK * width if table.shape[0] else 0, np.uint8)
    last_rows = np.empty((pairs, BLOCK * COLUMNS if rows.shape[1] else 0), np.int16)
    last_maxima = np.empty((pairs, COLUMNS if maxima.shape[1] else 0), np.int16)
    end = codes[whole * BLOCK * stride :]
    scan_blocks(end, stride, shift, (0, 1), packed, start, groups, scales, last_bytes, last_rows, last_maxima)
    if table.shape[0]:
        flat[whole * BLOCK * width :] = last_bytes[: left * width]
    if rows.shape[1]:
        flat_rows[:, whole * BLOCK * COLUMNS :] = last_rows[:, : left * COLUMNS]
    if maxima.shape[1]:
        flat_maxima[:, whole * COLUMNS :] = last_maxima
