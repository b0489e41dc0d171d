"""Estimates from all bits of a code, with AVX-512: a row is asked for several rows before it is read.

A code's bytes are sixteen numbers at a time; the dimensions in them at the same bits are multiplied with
the query's, which lie together (`order.spread`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lists.places import bytes_at, floats_at, integers_at, words_at
from retrieval.kernels.sharpen.order import estimate_of, inline, key_of, list_of, next_tie, spread
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd.partial import element
from retrieval.kernels.topk.order import sort_best

__all__ = ["sharpen"]

AHEAD = 16
"""Rows that are asked for before they are read; measured."""
ROOM = 8
"""Keys beyond the last that sorting needs."""

_inner = njit(nogil=True, error_model="numpy", _nrt=False)


@inline
def _times(query, at, x, shift, mask, total):  # type: ignore[no-untyped-def]
    """Add the products of sixteen numbers of a query with those at some bits of ``x``."""
    return v.fma(mem.load_f32(query, at), v.to_f32(v.bit_and(v.shift_right(x, shift), mask)), total)


@inline
def _dot_8(codes, at, whole, query):  # type: ignore[no-untyped-def]
    a, b, mask = v.zero_f32(), v.zero_f32(), v.splat_i32(255)
    pairs = whole // 32 * 32
    for j in range(0, pairs, 32):
        a = _times(query, j, mem.load_u8_as_i32(codes, at + j), 0, mask, a)
        b = _times(query, j + 16, mem.load_u8_as_i32(codes, at + j + 16), 0, mask, b)
    if whole > pairs:
        a = _times(query, pairs, mem.load_u8_as_i32(codes, at + pairs), 0, mask, a)
    return v.sum_f32(v.add(a, b))


@inline
def _dot_4(codes, at, whole, stride, query):  # type: ignore[no-untyped-def]
    a, b, mask = v.zero_f32(), v.zero_f32(), v.splat_i32(15)
    for j in range(0, whole, 16):
        x = mem.load_u8_as_i32(codes, at + j)
        a, b = _times(query, j, x, 0, mask, a), _times(query, stride + j, x, 4, mask, b)
    return v.sum_f32(v.add(a, b))


@inline
def _dot_2(codes, at, whole, stride, query):  # type: ignore[no-untyped-def]
    a, b, c, d, mask = v.zero_f32(), v.zero_f32(), v.zero_f32(), v.zero_f32(), v.splat_i32(3)
    for j in range(0, whole, 16):
        x = mem.load_u8_as_i32(codes, at + j)
        a, b = _times(query, j, x, 0, mask, a), _times(query, stride + j, x, 2, mask, b)
        c = _times(query, 2 * stride + j, x, 4, mask, c)
        d = _times(query, 3 * stride + j, x, 6, mask, d)
    return v.sum_f32(v.add(v.add(a, b), v.add(c, d)))


@inline
def _dot(codes, at, width, stride, bits, query):  # type: ignore[no-untyped-def]
    """The sum of the products of a query with a row's numbers."""
    whole = width // 16 * 16
    if bits == 4:
        total = _dot_4(codes, at, whole, stride, query)
    elif bits == 8:
        total = _dot_8(codes, at, whole, query)
    else:
        total = _dot_2(codes, at, whole, stride, query)
    for j in range(whole, width):
        byte = element(codes, at + j)
        for p in range(8 // bits):
            total += query[p * stride + j] * np.float32((byte >> (p * bits)) & ((1 << bits) - 1))
    return total


@inline
def _fetch(stored, position, width):  # type: ignore[no-untyped-def]
    """Ask for what there is of a position; of one that does not exist, for nothing."""
    codes, factors, _, biases, _, _ = stored
    if 0 <= position < len(factors) // 2:
        for j in range(0, width, 64):
            mem.prefetch(codes, position * width + j)
        mem.prefetch(codes, position * width + width - 1)
        mem.prefetch(factors, 2 * position)
        mem.prefetch(biases, position)


@_inner
def _estimate_all(stored, bits, query, total, positions, own, words, keys):  # type: ignore[no-untyped-def]
    """Keys of the positions with an estimate: how many, or -1 for a position that there is not.

    ``own`` are the bases by list, ``words`` room for one float and its bits.
    """
    codes, factors, starts, biases, _, hints = stored
    n, stride = len(factors) // 2, len(query) // (8 // bits)
    width, count = len(codes) // max(n, 1), 0
    centre = np.float32(0.5 * ((1 << bits) - 1)) * total
    for i in range(min(AHEAD, len(positions))):
        _fetch(stored, positions[i], width)
    for i in range(len(positions)):
        position = positions[i]
        if i + AHEAD < len(positions):
            _fetch(stored, positions[i + AHEAD], width)
        if position < -1 or position >= n:
            return -1
        if position >= 0:
            x = factors[2 * position] * (_dot(codes, position * width, width, stride, bits, query) - centre)
            if len(biases):
                x = biases[position] + x
            x = own[list_of(starts, hints, position)] + x
            if not np.isnan(x):
                words[0][0] = x if x != 0 else np.float32(0)
                keys[count] = key_of(words[1][0], i)
                count += 1
    return count


@_inner
def _order_ties(keys, positions, ordinals, spare, ties):  # type: ignore[no-untyped-def]
    """Sorted keys of equal estimates in the order of their documents."""
    first = 0
    while first < len(keys):
        last, upper = next_tie(keys, first), keys[first] >> 32 << 32
        if last > first + 1:
            for i in range(first, last):
                place = keys[i] & 0xFFFFFFFF
                document = np.int64(ordinals[positions[place]]) if len(ordinals) else positions[place]
                ties[i - first] = (document << 32) | place
            sort_best(ties, 0, last - first, last - first, spare, keys[first:last])
            for i in range(first, last):
                keys[i] = upper | (keys[i] & 0xFFFFFFFF)
        first = last


@_inner
def _answer(keys, positions, stored, words, estimates, documents, errors, ranks):  # type: ignore[no-untyped-def]
    """The best keys as a row each of the answer: how many."""
    _, factors, _, _, ordinals, _ = stored
    count = min(len(keys), len(documents))
    for i in range(count):
        ranks[i] = keys[i] & 0xFFFFFFFF
        position = positions[ranks[i]]
        words[1][0] = estimate_of(keys[i])
        estimates[i], errors[i] = words[0][0], factors[2 * position + 1]
        documents[i] = np.int64(ordinals[position]) if len(ordinals) else position
    estimates[count:], documents[count:], errors[count:], ranks[count:] = -np.inf, -1, np.inf, -1
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def sharpen(places, queries, bits, positions, lists, bases, estimates, ordinals, errors, ranks, found):  # type: ignore[no-untyped-def]
    """`reference.sharpen` into the last five, ``places`` of `PackedRows`: whether every position and list
    is there."""
    factors, starts = floats_at(places, 1), integers_at(places, 2)
    biases, documents, hints = floats_at(places, 3), words_at(places, 4), words_at(places, 5)
    stored = bytes_at(places, 0), factors, starts, biases, documents, hints
    parts, nlist, n = 8 // bits, len(starts) - 1, positions.shape[1]
    stride = (queries.shape[1] + parts * 16 - 1) // (parts * 16) * 16
    packed, own = np.empty(parts * stride, np.float32), np.full(nlist, np.nan, np.float32)
    room, word = np.empty((4, n + ROOM), np.int64), np.empty(1, np.float32)
    words = word, word.view(np.int32)
    for q in range(len(queries)):
        total = spread(queries[q], parts, stride, packed)
        for i in range(lists.shape[1]):
            if lists[q, i] < -1 or lists[q, i] >= nlist:
                return False
            if lists[q, i] >= 0:
                own[lists[q, i]] = bases[q, i]
        count = _estimate_all(stored, bits, packed, total, positions[q], own, words, room[0])
        if count < 0:
            return False
        keys = room[1][:count]
        sort_best(room[0], 0, count, count, room[2], keys)
        _order_ties(keys, positions[q], documents, room[2], room[3])
        row = estimates[q], ordinals[q], errors[q], ranks[q]
        found[q] = _answer(keys, positions[q], stored, words, *row)
        for i in range(lists.shape[1]):
            if lists[q, i] >= 0:
                own[lists[q, i]] = np.nan
    return True
