"""All centroids' sums, 64 centroids at a time: products of pairs of int16 in vectors of 256 bits, or plain
loops where nothing is compiled. The same integers as `retrieval.kernels.centroid_scores.avx512`.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit
from numpy.typing import NDArray

from retrieval.kernels.centroid_maxsim.tables import aligned
from retrieval.kernels.centroid_scores.query import Rounded, in_units
from retrieval.kernels.centroid_scores.reference import COLUMNS, Centroids
from retrieval.kernels.maxsim.pairs import GROUP, multiply_four, pack_pairs
from retrieval.kernels.simd.halves import store_8i32, zero_8i32
from retrieval.types import FloatArray, IntArray

__all__ = ["score"]

CHUNK = 64
NOTHING, TOP_BYTE, WORDS = 2**63 - 1, np.float32(255), np.float32(2**15)
_inner = njit(nogil=True, error_model="numpy", _nrt=False)


@_inner
def _multiply_pairs(rows, packed, _levels, sums):  # type: ignore[no-untyped-def]
    """``sums[t, q]`` of all rows (int16, flat in the first) with the packed query."""
    flat, width, out, lanes = rows.reshape(-1), rows.shape[1], sums.reshape(-1), sums.shape[1]
    zero = zero_8i32()
    none = zero, zero, zero, zero
    for group in range(len(packed) // (GROUP * width)):
        for t in range(0, rows.shape[0], 4):
            at = t * width
            places = at, at + width, at + 2 * width, at + 3 * width
            a, b = multiply_four(none, none, flat, places, width, packed, group)
            for i in range(4):
                store_8i32(out, (t + i) * lanes + GROUP * group, a[i])
                store_8i32(out, (t + i) * lanes + GROUP * group + 8, b[i])


@_inner
def _multiply_plain(rows, _packed, levels, sums):  # type: ignore[no-untyped-def]
    for t in range(rows.shape[0]):
        for q in range(levels.shape[0]):
            total = 0
            for j in range(rows.shape[1]):
                total += int(rows[t, j]) * int(levels[q, j])
            sums[t, q] = total


_multiply = _multiply_plain if config.DISABLE_JIT else _multiply_pairs


@_inner
def _to_bytes(sums, factors, table):  # type: ignore[no-untyped-def]
    for t in range(table.shape[0]):
        for q in range(table.shape[1]):
            x = np.rint(np.float32(sums[t, q]) * factors[q])
            table[t, q] = np.uint8(max(min(x, TOP_BYTE), np.float32(0)))


@_inner
def _to_rows(sums, factors, biases, rows):  # type: ignore[no-untyped-def]
    for block in range(rows.shape[0]):
        first = block * COLUMNS
        for t in range(rows.shape[1]):
            for q in range(COLUMNS):
                x = np.rint(np.float32(sums[t, first + q]) * factors[first + q] + biases[first + q])
                rows[block, t, q] = np.int16(max(min(x, WORDS - 1), -WORDS))


@_inner
def _enter(heap, key):  # type: ignore[no-untyped-def]
    """Put a key in the place of the largest, which is the first of a heap."""
    at, child = 0, 1
    while child < len(heap):
        if child + 1 < len(heap) and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at] = key


@_inner
def _keep(sums, first, count, q, heap):  # type: ignore[no-untyped-def]
    """Keys of the sums above the worst that is kept: a smaller key is a larger sum, ties by id."""
    for t in range(count):
        key = (np.int64(~np.int64(sums[t, q])) << 32) | (first + t)
        if key < heap[0]:
            _enter(heap, key)


@njit(nogil=True, cache=True, error_model="numpy")
def _score_all(codes, n, packed, levels, lanes, numbers, units, out, n_probe):  # type: ignore[no-untyped-def]
    """Fill ``table`` and ``rows`` unless empty; the keys of each token's best ``n_probe``, in order."""
    steps, base = numbers
    table, rows = out
    n_q, width = levels.shape
    byte_factors, row_factors = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    row_biases = np.empty(lanes, np.float32)
    in_units(steps, units[0], byte_factors)
    in_units(steps, units[1], row_factors)
    in_units(base, units[1], row_biases)
    wide, sums = np.zeros((CHUNK, width), np.int16), np.zeros((CHUNK, lanes), np.int32)
    keys, best = np.full((n_q, n_probe), NOTHING, np.int64), np.empty(lanes, np.int32)
    for first in range(0, n, CHUNK):
        count = min(CHUNK, n - first)
        for t in range(count):
            for j in range(width):
                wide[t, j] = np.int16(codes[first + t, j]) - np.int16(128)
        _multiply(wide, packed, levels, sums)
        if table.shape[0]:
            _to_bytes(sums, byte_factors, table[first : first + count])
        if rows.shape[1]:
            _to_rows(sums, row_factors, row_biases, rows[:, first : first + count])
        if n_probe:
            best[:] = sums[0]
            for t in range(1, count):
                for q in range(lanes):
                    best[q] = max(best[q], sums[t, q])
            for q in range(n_q):
                if best[q] > ~(keys[q, 0] >> 32):
                    _keep(sums, first, count, q, keys[q])
    for q in range(n_q):
        keys[q].sort()
    return keys


def score(
    rounded: Rounded, centroids: Centroids, byte_unit: float, row_unit: float, nprobe: int
) -> tuple[NDArray[np.uint8], NDArray[np.int16], IntArray, FloatArray]:
    """See `retrieval.kernels.centroid_scores.avx512.score`."""
    n, blocks = centroids.n, rounded.lanes // COLUMNS
    table = aligned((n if byte_unit else 0, rounded.lanes), np.uint8)
    rows = aligned((blocks, n if row_unit else 0, COLUMNS), np.int16)
    levels, numbers = rounded.levels.astype(np.int16), (rounded.steps, rounded.base)
    packed, units = pack_pairs(levels), (byte_unit, row_unit)
    keys = _score_all(
        centroids.codes, n, packed, levels, rounded.lanes, numbers, units, (table, rows), nprobe
    )
    sums = ~(keys >> 32)
    scores = sums * rounded.steps[:, None] + rounded.base[:, None]
    return table, rows, keys & 0xFFFFFFFF, scores.astype(np.float32)
