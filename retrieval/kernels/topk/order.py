"""Order of unique int64 keys, with AVX-512: the ``k`` smallest, and those sorted."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.simd.bits import mask_less_i64

__all__ = ["keep_best", "sort_best"]

FEW = 64
"""Up to here comparing each with each is fastest."""
MANY = 256
"""Parts that wait to be sorted: far more than random pivots leave."""


@njit(nogil=True, cache=True, error_model="numpy")
def _pivot(keys, low, high, k, state):  # type: ignore[no-untyped-def]
    """One of ``keys[low:high]``, near the ``k``-th: of three at random the least, median or greatest.

    At fixed places, sorted lists in a row would make the search quadratic.
    """
    size = high - low
    a = keys[low + ((((state >> 4) & 0xFFFFF) * size) >> 20)]
    b = keys[low + ((((state >> 24) & 0xFFFFF) * size) >> 20)]
    c = keys[low + ((((state >> 44) & 0xFFFFF) * size) >> 20)]
    if (k - low) * 6 < size:
        return min(a, b, c)
    if (high - k) * 6 < size:
        return max(a, b, c)
    return max(min(a, b), min(max(a, b), c))


@njit(nogil=True, cache=True, error_model="numpy")
def _partition(keys, low, high, pivot, spare):  # type: ignore[no-untyped-def]
    """Keys up to ``pivot`` to the front of ``keys[low:high]``, the others to ``spare``; how many stay.

    Both arrays have eight keys of room beyond ``high``, and ``keys`` may lose what follows the front.
    """
    bound = pick.splat_i64(pivot)
    kept, moved = low, 0
    for i in range(low, high, 8):
        x = mem.load_i64(keys, i)
        valid = 255 if high - i >= 8 else (1 << (high - i)) - 1
        small = np.uint8(pick.mask_at_most_i64(x, bound) & valid)
        large = np.uint8(~small & valid)
        mem.store_i64(keys, kept, pick.compress_i64(x, small))
        mem.store_i64(spare, moved, pick.compress_i64(x, large))
        kept += pick.count_bits(small)
        moved += pick.count_bits(large)
    return kept


@njit(nogil=True, cache=True, error_model="numpy")
def keep_best(keys, first, count, k, spare):  # type: ignore[no-untyped-def]
    """Bring the ``k`` smallest of ``count`` keys from ``first`` on to their front; the k-th smallest.

    They are in any order. ``0 < k < count``; eight keys of room beyond, and in ``spare``.
    """
    low, high, k, state = first, first + count, first + k, keys[first + count - 1]
    while True:
        state = state * 6364136223846793005 + 1442695040888963407  # Knuth's generator
        pivot = _pivot(keys, low, high, k, state)
        middle = _partition(keys, low, high, pivot, spare)
        if middle == k:
            return pivot
        if middle > k:
            high = middle
        else:
            for i in range(0, high - middle, 8):
                mem.store_i64(keys, middle + i, mem.load_i64(spare, i))
            low = middle


@njit(nogil=True, cache=True, error_model="numpy")
def _sort_few(keys, first, count, out, place):  # type: ignore[no-untyped-def]
    """``count`` different keys from ``first`` on, in order, to ``out`` from ``place`` on, where they fit.

    A key's place is the number of smaller ones. Overwrites eight keys beyond the last.
    """
    for i in range(first + count, first + count + 8):
        keys[i] = np.int64(0x7FFFFFFFFFFFFFFF)
    for i in range(first, first + count):
        key, smaller = pick.splat_i64(keys[i]), place
        for j in range(first, first + count, 8):
            smaller += pick.count_bits(mask_less_i64(mem.load_i64(keys, j), key))
        if smaller < len(out):
            out[smaller] = keys[i]


@njit(nogil=True, cache=True, error_model="numpy")
def sort_best(keys, first, count, k, spare, out):  # type: ignore[no-untyped-def]
    """The ``k`` smallest of ``count`` keys from ``first`` on, in order, to ``out``: how many there are.

    Quicksort by `_partition`, the last parts first, as each may overwrite what follows it. Room as for
    `keep_best`; the keys do not stay.
    """
    if count > k + FEW > FEW:
        keep_best(keys, first, count, k, spare)
        count = k
    found, ends = min(count, k), np.empty(MANY, np.int64)
    low, high, depth, state = first, first + count, 0, count
    while True:
        if high - low <= FEW or depth == MANY:
            _sort_few(keys, low, high - low, out[:found], low - first)
            if low == first:
                return found
            depth -= 1
            low, high = ends[depth], low
            continue
        state = state * 6364136223846793005 + 1442695040888963407
        middle = _partition(keys, low, high, _pivot(keys, low, high, (low + high) >> 1, state), spare)
        for i in range(0, high - middle, 8):
            mem.store_i64(keys, middle + i, mem.load_i64(spare, i))
        if middle < high:
            ends[depth], low, depth = low, middle, depth + 1
