"""Choice of lists with AVX-512: all centroids as bytes, the best of them again in float.

Bytes of sixteen centroids lie together, four dimensions of each in a 32-bit lane, so that vpdpbusd sums
them up without a sum across lanes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lists.keys import append, cut, estimate_of, inline
from retrieval.kernels.lists.places import bytes_at, floats_at, integers_at
from retrieval.kernels.lists.prepared import NEAREST
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.simd.partial import load_part_f32
from retrieval.kernels.topk.avx512 import PADDING, capacity, first_limit
from retrieval.kernels.topk.order import sort_best

__all__ = ["choose"]

ROWS_AHEAD = 4
"""Centroids ahead that are asked for; they lie anywhere."""
SPARE = 4
"""Lists that are scored in float beside half as many again as products of bytes say are near enough."""
CODES_AHEAD = 4096

_inner = njit(nogil=True, error_model="numpy", _nrt=False)


@inline
def _largest(query, dim):  # type: ignore[no-untyped-def]
    """Largest absolute value of a query; infinite or NaN if one is."""
    most, positive = v.zero_i32(), v.splat_i32(0x7FFFFFFF)
    for i in range(0, dim, 16):
        most = v.maximum_i32(most, v.bit_and(v.as_i32(load_part_f32(query, i, dim - i)), positive))
    return np.int32(v.largest_i32(most)).view(np.float32)


@_inner
def _round(query, levels, largest):  # type: ignore[no-untyped-def]
    """The query as signed bytes, 127 for ``largest``."""
    inverse = np.float32(127) / largest if largest > 0 else np.float32(0)
    for j in range(len(query)):
        levels[j] = np.int8(np.rint(query[j] * inverse))


@inline
def _product(query, rows, at, dim):  # type: ignore[no-untyped-def]
    """Inner product with the ``dim`` floats from ``at`` on."""
    a, b, whole = v.zero_f32(), v.zero_f32(), dim // 32 * 32
    for i in range(0, whole, 32):
        a = v.fma(mem.load_f32(query, i), mem.load_f32(rows, at + i), a)
        b = v.fma(mem.load_f32(query, i + 16), mem.load_f32(rows, at + i + 16), b)
    for i in range(whole, dim, 16):
        a = v.fma(load_part_f32(query, i, dim - i), load_part_f32(rows, at + i, dim - i), a)
    return v.sum_f32(v.add(a, b))


@inline
def _key(score, ordinal):  # type: ignore[no-untyped-def]
    """A key as those of `retrieval.kernels.lists.keys`."""
    bits = np.float32(score + np.float32(0)).view(np.int32)
    return (np.int64(~(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))) << 32) | ordinal


@_inner
def _four_sixteens(levels, packed, p, size):  # type: ignore[no-untyped-def]
    """Totals of 64 centroids, the first sixteen from byte ``p`` on."""
    a, b, c, d = v.zero_i32(), v.zero_i32(), v.zero_i32(), v.zero_i32()
    for j in range(0, size, 64):
        level = v.as_i8(mem.broadcast4(levels, j // 16))
        for i in range(4):
            mem.prefetch(packed, p + 4 * j + 64 * i + CODES_AHEAD)
        a = v.dot_u8i8(a, mem.load_i8(packed, p + j), level)
        b = v.dot_u8i8(b, mem.load_i8(packed, p + size + j), level)
        c = v.dot_u8i8(c, mem.load_i8(packed, p + 2 * size + j), level)
        d = v.dot_u8i8(d, mem.load_i8(packed, p + 3 * size + j), level)
    return a, b, c, d


@_inner
def _sixteen(levels, packed, p, size):  # type: ignore[no-untyped-def]
    """Totals of the sixteen centroids from byte ``p`` on."""
    a = v.zero_i32()
    for j in range(0, size, 64):
        a = v.dot_u8i8(a, mem.load_i8(packed, p + j), v.as_i8(mem.broadcast4(levels, j // 16)))
    return a


@inline
def _offer(total, units, added, t, bound, keys, count):  # type: ignore[no-untyped-def]
    unit, length = units
    x = v.add(v.multiply(v.to_f32(total), unit), mem.load_f32(added[0], t))
    x = v.fma(length, mem.load_f32(added[1], t), x)
    return append(keys, count, x, np.uint16(~pick.mask_exceeds_f32(v.splat_f32(bound), x)), t)


@_inner
def _look_at(levels, units, packed, added, first, last, room, none, state, wanted):  # type: ignore[no-untyped-def]
    """Offer the sixteens ``first:last``; ``state``, before and after, is the keys' count, limit and bound.

    ``units`` are of a product of bytes and of a spread, ``added`` the biases and the spreads."""
    count, limit, bound = state
    keys, size = room[0], len(levels) * 16
    wide, g = (v.splat_f32(units[0]), v.splat_f32(units[1])), first
    while g < last:
        t = g * 16
        if last - g >= 4:
            a, b, c, d = _four_sixteens(levels, packed, g * size, size)
            count = _offer(a, wide, added, t, bound, keys, count)
            count = _offer(b, wide, added, t + 16, bound, keys, count)
            count = _offer(c, wide, added, t + 32, bound, keys, count)
            count = _offer(d, wide, added, t + 48, bound, keys, count)
            g += 4
        else:
            a = _sixteen(levels, packed, g * size, size)
            count = _offer(a, wide, added, t, bound, keys, count)
            g += 1
        if count > limit:
            bound, count = cut(room, count, wanted, none), wanted
            limit = min(2 * limit, len(keys) - PADDING)
    return count, limit, bound


@_inner
def _exact(query, length, centroids, biases, spreads, members, keys, count):  # type: ignore[no-untyped-def]
    """Keys of exact scores and lists in the place of those of rough scores and places among the members."""
    dim = len(query)
    for i in range(count + ROWS_AHEAD):
        if i < count:
            row = members[keys[i] & 0xFFFFFFFF] * dim
            for j in range(0, dim, 16):
                mem.prefetch(centroids, row + j)
        if i >= ROWS_AHEAD:
            one = members[keys[i - ROWS_AHEAD] & 0xFFFFFFFF]
            score = _product(query, centroids, one * dim, dim) + biases[one]
            keys[i - ROWS_AHEAD] = _key(score + length * spreads[one], one)


@njit(nogil=True, error_model="numpy")
def _order_runs(query, supers, super_biases, sizes, enough, keys, spare, order):  # type: ignore[no-untyped-def]
    """The best runs, in order, to ``order``: how many, until they have ``enough`` lists."""
    dim, taken, lists = len(query), 0, 0
    for r in range(len(super_biases)):
        keys[r] = _key(_product(query, supers, r * dim, dim) + super_biases[r], r)
    sort_best(keys, 0, len(super_biases), len(super_biases), spare, order)
    while taken < len(super_biases) and lists < enough:
        order[taken] &= 0xFFFFFFFF
        lists += sizes[order[taken]]
        taken += 1
    return taken


@_inner
def _within(keys, count, drop, least):  # type: ignore[no-untyped-def]
    """How many of the sorted keys, ``least`` at least, are within ``drop`` of the mean of the first ones."""
    near, mean = min(count, NEAREST), np.float32(0)
    for i in range(near):
        mean += estimate_of(keys[i]) / np.float32(near)
    n = min(count, least)
    while n < count and estimate_of(keys[n]) >= mean - drop:
        n += 1
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def choose(queries, places, step, enough, reach, least, lists, bases):  # type: ignore[no-untyped-def]
    """`reference.choose_lists` into ``lists`` and ``bases``, which have at least one column; whether all
    queries are finite."""
    centroids, biases, packed, packed_biases = (
        floats_at(places, 0),
        floats_at(places, 1),
        bytes_at(places, 2),
        floats_at(places, 3),
    )
    members, runs, sizes = integers_at(places, 4), integers_at(places, 5), integers_at(places, 6)
    supers, super_biases, spreads = floats_at(places, 7), floats_at(places, 8), floats_at(places, 9)
    added = packed_biases, floats_at(places, 10)
    n_queries, dim = queries.shape
    n_probe, none = lists.shape[1], lists.reshape(-1)[:0]
    wanted = n_probe + n_probe // 2 + 16
    size = max(capacity(len(members), wanted), len(sizes) + PADDING)
    memory, levels = np.empty((4, size), np.int64), np.zeros((dim + 3) // 4 * 4, np.int8)
    room, order = (memory[0], memory[1], memory[2], memory[3]), np.zeros(len(sizes), np.int64)
    for q in range(n_queries):
        query, n_runs = queries[q], 1
        largest = _largest(query, dim)
        if not np.isfinite(largest):
            return False
        _round(query, levels, largest)
        if len(super_biases):
            n_runs = _order_runs(query, supers, super_biases, sizes, enough, memory[0], memory[1], order)
        state = 0, first_limit(wanted, size), np.float32(-np.inf)
        length = np.sqrt(_product(query, query, 0, dim))
        units, drop = (np.float32(step * np.float64(largest) / 127), length), length * np.float32(reach)
        for r in order[:n_runs]:
            state = _look_at(levels, units, packed, added, runs[r], runs[r + 1], room, none, state, wanted)
        count = state[0]
        if count > wanted:
            cut(room, count, wanted, none)
            count = wanted
        keys = memory[0]
        if reach < np.inf:
            keys = memory[2]
            sort_best(memory[0], 0, count, count, memory[1], keys)
            near = _within(keys, count, drop, least)
            count = min(count, near + near // 2 + SPARE)
        _exact(query, length, centroids, biases, spreads, members, keys, count)
        found = sort_best(keys, 0, count, n_probe, memory[1], lists[q])
        if reach < np.inf:
            found = _within(lists[q], found, drop, least)
        for i in range(found):
            score = estimate_of(lists[q, i])
            lists[q, i] &= 0xFFFFFFFF
            bases[q, i] = score - length * spreads[lists[q, i]]
        lists[q, found:] = -1
        bases[q, found:] = -np.inf
    return True
