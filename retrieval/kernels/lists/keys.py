"""The best positions of one query, as keys (AVX-512).

A key is the estimate's bits, ordered so that a smaller key is better (see `retrieval.kernels.topk.avx512`),
above the position. Among equal estimates the lower document counts, not the lower position; positions of
one list are in that order, those of different lists are not, so ties get a look of their own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.topk.order import keep_best, sort_best

__all__ = ["append", "cut", "estimate_of", "finish", "inline"]

_PLACE = 0xFFFFFFFF

inline = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
_inner = njit(nogil=True, error_model="numpy", _nrt=False)  # else every call counts references to its arrays


@inline
def estimate_of(key):  # type: ignore[no-untyped-def]
    """The estimate in a key."""
    order = ~(key >> 32)
    return np.int32(order ^ ((order >> 31) & 0x7FFFFFFF)).view(np.float32)


@inline
def append(keys, count, estimates, mask, first):  # type: ignore[no-untyped-def]
    """Add the lanes of ``mask`` (of 16) to ``keys``; lane 0 is position ``first``. The new count."""
    places = v.add(v.splat_i32(first), pick.iota_i32())
    worse = v.bit_xor(pick.order_bits_f32(estimates), v.splat_i32(-1))
    low, high = np.uint8(mask & 255), np.uint8(mask >> 8)
    mem.store_i64(keys, count, pick.compress_i64(pick.zip_low_i32(places, worse), low))
    count += pick.count_bits(low)
    mem.store_i64(keys, count, pick.compress_i64(pick.zip_high_i32(places, worse), high))
    return count + pick.count_bits(high)


@_inner
def _document_keys(keys, ordinals, low, high, better, out):  # type: ignore[no-untyped-def]
    """Of ``keys[low:high]`` those whose upper half is ``better``, with the document there: how many."""
    count = 0
    for i in range(low, high):
        if keys[i] >> 32 == better:
            place = keys[i] & _PLACE
            out[count] = (np.int64(ordinals[place]) << 32) | place
            count += 1
    return count


@_inner
def _n_tied(keys, count, upper):  # type: ignore[no-untyped-def]
    """How many of the first ``count`` keys have this upper half."""
    tied = np.int64(0)
    for i in range(count):
        tied += np.int64(keys[i] >> 32 == upper)
    return tied


@_inner
def _settle(keys, every, count, depth, upper, spare, ties, ordinals):  # type: ignore[no-untyped-def]
    """Of ``every`` key the best ``depth`` to ``keys``, where more are tied for the last places than fit."""
    n_ties, better = _document_keys(every, ordinals, 0, count, upper, ties), 0
    for i in range(count):
        if every[i] >> 32 < upper:
            keys[better] = every[i]
            better += 1
    if n_ties > depth - better:
        keep_best(ties, 0, n_ties, depth - better, spare)
    for i in range(depth - better):
        keys[better + i] = (upper << 32) | (ties[i] & _PLACE)


@_inner
def cut(room, count, depth, ordinals):  # type: ignore[no-untyped-def]
    """Bring the best ``depth`` of ``count`` keys to the front; the estimate of the last of them.

    ``room`` is the keys and three arrays as long; ``0 < depth < count``.
    """
    keys, spare, every, ties = room
    if not len(ordinals):
        return estimate_of(keep_best(keys, 0, count, depth, spare))
    for i in range(0, count, 8):
        mem.store_i64(every, i, mem.load_i64(keys, i))
    last = keep_best(keys, 0, count, depth, spare)
    if _n_tied(every, count, last >> 32) != _n_tied(keys, depth, last >> 32):
        _settle(keys, every, count, depth, last >> 32, spare, ties, ordinals)
    return estimate_of(last)


@njit(nogil=True, cache=True, error_model="numpy")
def _order_ties(keys, ordinals, spare, ties):  # type: ignore[no-untyped-def]
    """Sorted keys of equal estimates in the order of their documents."""
    i = 0
    while i < len(keys):
        j, upper = i + 1, keys[i] >> 32
        while j < len(keys) and keys[j] >> 32 == upper:
            j += 1
        if j > i + 1:
            n_ties = _document_keys(keys, ordinals, i, j, upper, ties)
            sort_best(ties, 0, n_ties, n_ties, spare, keys[i:j])
            for t in range(i, j):
                keys[t] = (upper << 32) | (keys[t] & _PLACE)
        i = j


@njit(nogil=True, cache=True, error_model="numpy")
def finish(room, count, ordinals, estimates, positions):  # type: ignore[no-untyped-def]
    """Estimates and positions of the best keys to a row each of the answer, in order: how many."""
    keys, spare, every, _ = room
    depth = len(positions)
    if count > depth:
        cut(room, count, depth, ordinals)
        count = depth
    sort_best(keys, 0, count, count, spare, positions)
    if len(ordinals):
        _order_ties(positions[:count], ordinals, spare, every)
    for i in range(count):
        estimates[i] = estimate_of(positions[i])
        positions[i] &= _PLACE
    for i in range(count, depth):
        estimates[i], positions[i] = -np.inf, -1
    return count
