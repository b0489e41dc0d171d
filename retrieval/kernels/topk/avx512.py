"""Scan against the running threshold, with AVX-512.

A candidate is one int64 key: the score's bits, ordered so that a smaller key is a better score, above
the ordinal. Keys are unique, and their order is the order of the answer. Lanes that beat the
threshold are compressed into a buffer; a full buffer is cut back to its best k, which raises the
threshold. An ordinal later than k equal scores can never enter, so only greater scores pass.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick

__all__ = ["PADDING", "best_rows", "capacity", "first_limit", "keep_best", "push"]

PADDING = 80
"""Room that a buffer of keys needs beyond the count at which it is cut."""

AHEAD = 2048
"""How many scores ahead to ask for; beyond what the processor asks for by itself."""


@njit(nogil=True, cache=True, error_model="numpy")
def capacity(n, k):  # type: ignore[no-untyped-def]
    """Length of a buffer of keys that is cut to ``k``: it stays in the first-level cache for a small k."""
    return min(n, max(4 * k, 1024)) + PADDING


@njit(nogil=True, cache=True, error_model="numpy")
def first_limit(k, size):  # type: ignore[no-untyped-def]
    """At how many keys to cut a buffer of ``size`` first; at twice as many every time.

    An early threshold spares most candidates of a random order; of an ascending one every score is
    a candidate, and cutting must be rare.
    """
    return min(max(2 * k, 64), size - PADDING)


@njit(nogil=True, cache=True, error_model="numpy")
def push(keys, count, order, mask, first):  # type: ignore[no-untyped-def]
    """Append the lanes of ``mask`` (I32x16 ``order``: larger is better) to ``keys``; the new count.

    Lane i has the ordinal ``first + i``. Writes up to 16 keys from ``count`` on.
    """
    ordinals = v.add(v.splat_i32(first), pick.iota_i32())
    worse = v.bit_xor(order, v.splat_i32(-1))
    low, high = np.uint8(mask & 255), np.uint8(mask >> 8)
    mem.store_i64(keys, count, pick.compress_i64(pick.zip_low_i32(ordinals, worse), low))
    count += pick.count_bits(low)
    mem.store_i64(keys, count, pick.compress_i64(pick.zip_high_i32(ordinals, worse), high))
    return count + pick.count_bits(high)


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


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _take(scores, accept, i, bound, keys, count):  # type: ignore[no-untyped-def]
    """Push what passes among ``scores[i : i + 64]``: the new count, or -1 if there is a NaN."""
    bad = np.uint16(0)
    for j in range(i, i + 64, 16):
        x = mem.load_f32(scores, j)
        mask = pick.mask_exceeds_f32(x, bound)
        bad |= pick.mask_nan_f32(x, x)
        if len(accept):
            mask &= v.mask_greater_i32(mem.load_u8_as_i32(accept, j), v.zero_i32())
        count = push(keys, count, pick.order_bits_f32(x), mask, j)
    return -1 if bad else count


@njit(nogil=True, cache=True, error_model="numpy")
def _take_last(scores, accept, first, bound, keys, count, tail):  # type: ignore[no-untyped-def]
    """`_take` for fewer than 64 scores, from ``first`` to the end; ``tail`` is room for 16 floats."""
    bad = np.uint16(0)
    for i in range(first, len(scores), 16):
        valid = 0
        for j in range(min(len(scores) - i, 16)):
            tail[j] = scores[i + j]
            if not len(accept) or accept[i + j]:
                valid |= 1 << j
        x = mem.load_f32(tail, 0)
        bad |= pick.mask_nan_f32(x, x)
        mask = np.uint16(pick.mask_exceeds_f32(x, bound) & valid)
        count = push(keys, count, pick.order_bits_f32(x), mask, i)
    return -1 if bad else count


@njit(nogil=True, cache=True, error_model="numpy")
def _best(scores, k, accept, keys, spare, tail):  # type: ignore[no-untyped-def]
    """Bring the keys of the best ``k`` to the front of ``keys``: how many, or -1 if there is a NaN."""
    n, full, limit = len(scores), len(keys) - PADDING, first_limit(k, len(keys))
    bound = v.splat_f32(np.nan if k else np.inf)  # a comparison with NaN lets all pass
    count = 0
    for i in range(0, n - 63, 64):
        a = pick.mask_exceeds_f32(mem.load_f32(scores, i), bound)
        b = pick.mask_exceeds_f32(mem.load_f32(scores, i + 16), bound)
        c = pick.mask_exceeds_f32(mem.load_f32(scores, i + 32), bound)
        d = pick.mask_exceeds_f32(mem.load_f32(scores, i + 48), bound)
        for j in range(i + AHEAD, i + AHEAD + 64, 16):
            mem.prefetch(scores, j)
        if not (a | b | c | d):
            continue
        count = _take(scores, accept, i, bound, keys, count)
        if count < 0:
            return count
        if count > limit:
            bound = v.splat_f32(scores[keep_best(keys, 0, count, k, spare) & 0xFFFFFFFF])
            count, limit = k, min(2 * limit, full)
    if n % 64:
        count = _take_last(scores, accept, n // 64 * 64, bound, keys, count, tail)
    if count > k:
        keep_best(keys, 0, count, k, spare)
    return min(count, k)


@njit(nogil=True, cache=True, error_model="numpy")
def best_rows(scores, k, accept, out):  # type: ignore[no-untyped-def]
    """Keys of the best ``k`` of each row, in any order, into ``out``: how many, or -1 if there is a NaN.

    ``scores`` is ``(n_rows, n)``, ``accept`` ``(n,)`` or empty for all, ``out`` ``(n_rows, min(k, n))``.
    """
    n_rows, n = scores.shape
    size = capacity(n, k)
    keys, spare, tail = np.empty(size, np.int64), np.empty(size, np.int64), np.zeros(16, np.float32)
    count = 0
    for row in range(n_rows):
        count = _best(scores[row], k, accept, keys, spare, tail)
        if count < 0:
            return count
        for i in range(count):
            out[row, i] = keys[i]
    return count
