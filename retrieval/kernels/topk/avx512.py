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
from retrieval.kernels.topk.order import keep_best, sort_best
from retrieval.kernels.topk.threshold import sampled_bound

__all__ = [
    "PADDING",
    "capacity",
    "first_limit",
    "near_best",
    "near_best_free",
    "push",
    "sorted_rows",
    "sorted_rows_free",
]

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
def _candidates(scores, k, accept, keys, spare, tail):  # type: ignore[no-untyped-def]
    """Keys of the best ``k`` and perhaps others to the front of ``keys``: how many, -1 if there is a NaN."""
    n, full, limit = len(scores), len(keys) - PADDING, first_limit(k, len(keys))
    bound = v.splat_f32(np.nan if k else np.inf)  # a comparison with NaN lets all pass
    if k and not len(accept):
        bound = sampled_bound(scores, k)
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
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _room(n, k):  # type: ignore[no-untyped-def]
    """``(keys, spare, tail)`` for `_candidates`."""
    size = capacity(n, k)
    return np.empty(size, np.int64), np.empty(size, np.int64), np.zeros(16, np.float32)


@njit(cache=True, error_model="numpy")
def sorted_rows(scores, k, accept, best, ordinals):  # type: ignore[no-untyped-def]
    """The best ``k`` of each row, in order: how many, or -1 if there is a NaN. Keeps the GIL.

    ``scores`` is ``(n_rows, n)``, ``accept`` ``(n,)`` or empty for all; ``best`` float32 and ``ordinals``
    int64 are ``(n_rows, min(k, n))``.
    """
    n_rows, n = scores.shape
    keys, spare, tail = _room(n, k)
    count = 0
    for row in range(n_rows):
        count = _candidates(scores[row], k, accept, keys, spare, tail)
        if count < 0:
            return count
        count = sort_best(keys, 0, count, k, spare, ordinals[row])
        for i in range(count):
            ordinals[row, i] &= 0xFFFFFFFF
            best[row, i] = scores[row, ordinals[row, i]]
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def sorted_rows_free(scores, k, accept, best, ordinals):  # type: ignore[no-untyped-def]
    """`sorted_rows` without the GIL."""
    return sorted_rows(scores, k, accept, best, ordinals)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _below(scores, i, least):  # type: ignore[no-untyped-def]
    """The mask of ``scores[i : i + 16]`` less than ``least``."""
    return pick.mask_exceeds_f32(least, mem.load_f32(scores, i))


@njit(nogil=True, cache=True, error_model="numpy")
def _at_least(scores, threshold, out):  # type: ignore[no-untyped-def]
    """Ordinals of the scores that are ``threshold`` or more to ``out``: how many.

    Those beyond ``len(out)`` less `PADDING` are only counted.
    """
    n, count, room = len(scores), 0, len(out) - PADDING
    least, high = v.splat_f32(threshold), v.zero_i32()
    for i in range(0, n - 63, 64):
        a, b = _below(scores, i, least), _below(scores, i + 16, least)
        c, d = _below(scores, i + 32, least), _below(scores, i + 48, least)
        if a & b & c & d == 65535:
            continue
        for mask, j in ((~a, i), (~b, i + 16), (~c, i + 32), (~d, i + 48)):
            here = min(count, room)
            ordinals = v.add(v.splat_i32(j), pick.iota_i32())
            low, upper = np.uint8(mask & 255), np.uint8((mask >> 8) & 255)
            mem.store_i64(out, here, pick.compress_i64(pick.zip_low_i32(ordinals, high), low))
            here += pick.count_bits(low)
            mem.store_i64(out, here, pick.compress_i64(pick.zip_high_i32(ordinals, high), upper))
            count += pick.count_bits(low) + pick.count_bits(upper)
    for i in range(n // 64 * 64, n):
        if scores[i] >= threshold:
            out[min(count, room)] = i
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def near_best(scores, k, slack, accept, out):  # type: ignore[no-untyped-def]
    """Ordinals of the ``(n,)`` scores not below the ``k``-th best minus ``slack``: how many, -1 for a NaN.

    ``0 < k < n``; ``slack`` is float32 or float64, ``accept`` empty. With more than ``len(out)`` less
    `PADDING`, ``out`` is not complete. Keeps the GIL.
    """
    n = len(scores)
    keys, spare, tail = _room(n, k)
    count = _candidates(scores, k, accept, keys, spare, tail)
    if count < 0:
        return count
    kth = keep_best(keys, 0, count, k, spare) if count > k else np.max(keys[:count])
    exact = scores[kth & 0xFFFFFFFF] - slack
    least = np.float32(exact)
    if least < exact:  # of two types
        least = np.nextafter(least, np.float32(np.inf))
    return _at_least(scores, least, out)


@njit(nogil=True, cache=True, error_model="numpy")
def near_best_free(scores, k, slack, accept, out):  # type: ignore[no-untyped-def]
    """`near_best` without the GIL."""
    return near_best(scores, k, slack, accept, out)
