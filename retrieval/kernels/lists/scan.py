"""Scan of inverted lists with AVX-512: look-ups as in `retrieval.kernels.pq_scan.nibbles`.

One call does all of a query: tables to bytes, look-ups, estimates, selection and order. Lists are
short and their codes apart in memory, so the codes of the next list are asked for before it begins.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lists.door import BAD_DOCUMENT, BAD_ENTRY, BAD_LIST, DOUBLE_LIST
from retrieval.kernels.lists.keys import append, cut, finish, inline
from retrieval.kernels.lists.places import bytes_at, floats_at, integers_at, words_at
from retrieval.kernels.pq_scan.bytes import quantize_rows
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.simd.partial import load_part_f32
from retrieval.kernels.topk.avx512 import PADDING, capacity, first_limit

__all__ = ["scan"]

LEAST_AHEAD, MOST_AHEAD = 2048, 8192
"""How many bytes of codes ahead to ask for: about a list, as nobody knows where the one after the next is."""

_inner = njit(nogil=True, error_model="numpy", _nrt=False)


@inline
def _look_up(total, tables, t, index):  # type: ignore[no-untyped-def]
    """Add the four look-ups of 16 vectors, through the 64 bytes of ``tables`` from ``t``."""
    return v.dot_u8i8(total, v.permute_bytes(mem.load_i8(tables, t), index), v.splat_i8(1))


@inline
def _indices(blocks, p):  # type: ignore[no-untyped-def]
    """Low and high halves of 64 bytes, each OR 16 x (its subquantiser in the group of four)."""
    packed, nibble, lanes = mem.load_i8(blocks, p), v.splat_i8(15), v.as_i8(v.splat_i32(0x30201000))
    shifted = v.as_i8(v.shift_right(v.as_i32(packed), 4))
    return v.bit_or(v.bit_and(packed, nibble), lanes), v.bit_or(v.bit_and(shifted, nibble), lanes)


@inline
def _eight(total, tables, t, indices):  # type: ignore[no-untyped-def]
    """Add the eight look-ups of 16 vectors."""
    return _look_up(_look_up(total, tables, t, indices[0]), tables, t + 64, indices[1])


@inline
def _fetch(blocks, at, stop, jump, lines):  # type: ignore[no-untyped-def]
    """Ask for ``lines`` lines from ``at`` on; what would lie beyond ``stop`` is ``jump`` bytes further."""
    if at >= stop:
        at += jump
    for i in range(lines):
        mem.prefetch(blocks, at + 64 * i)


@inline
def _two_blocks(tables, blocks, p, size, ahead, stop, jump):  # type: ignore[no-untyped-def]
    """Totals of the 64 vectors of the blocks at ``p`` and ``p + size``."""
    a, b, c, d = v.zero_i32(), v.zero_i32(), v.zero_i32(), v.zero_i32()
    for g in range(0, size, 128):
        _fetch(blocks, p + 2 * g + ahead, stop, jump, 4)
        a = _eight(a, tables, g, _indices(blocks, p + g))
        b = _eight(b, tables, g, _indices(blocks, p + g + 64))
        c = _eight(c, tables, g, _indices(blocks, p + size + g))
        d = _eight(d, tables, g, _indices(blocks, p + size + g + 64))
    return a, b, c, d


@inline
def _one_block(tables, blocks, p, size, ahead, stop, jump):  # type: ignore[no-untyped-def]
    """Totals of the 32 vectors of the block at ``p``, in four sums, so that none waits long for another."""
    a, b, c, d = v.zero_i32(), v.zero_i32(), v.zero_i32(), v.zero_i32()
    for g in range(0, size, 128):
        _fetch(blocks, p + g + ahead, stop, jump, 2)
        x, y = _indices(blocks, p + g), _indices(blocks, p + g + 64)
        a, b = _look_up(a, tables, g, x[0]), _look_up(b, tables, g, y[0])
        c, d = _look_up(c, tables, g + 64, x[1]), _look_up(d, tables, g + 64, y[1])
    return v.add(a, c), v.add(b, d)


@inline
def _estimate(total, t, coded, numbers):  # type: ignore[no-untyped-def]
    """Estimates of the 16 positions from ``t`` on, and which reach the bound: see `reference.scan_lists`."""
    scales, biases, n = coded
    scale, shift, base, bound = numbers
    x = v.add(v.multiply(v.to_f32(total), scale), shift)
    if len(scales):
        x = v.multiply(load_part_f32(scales, t, n - t), x)
    if len(biases):
        x = v.add(load_part_f32(biases, t, n - t), x)
    x = v.add(base, x)
    return x, np.uint16(~pick.mask_exceeds_f32(bound, x))  # not set where x is NaN


@inline
def _within(t, first, last):  # type: ignore[no-untyped-def]
    """Which of the 64 positions from ``t`` on are in ``first:last``, a bit each."""
    every = np.uint64(0xFFFFFFFFFFFFFFFF)
    low, high = max(first - t, 0), max(min(last - t, 64), 1)
    return (every >> np.uint64(64 - high)) & (every << np.uint64(low))


@inline
def _part(mask, valid, shift):  # type: ignore[no-untyped-def]
    return np.uint16(mask & np.uint16((valid >> np.uint64(shift)) & np.uint64(0xFFFF)))


@inline
def _offer(totals, t, valid, coded, numbers, keys, count):  # type: ignore[no-untyped-def]
    """Keys of the valid ones of 64 positions that reach the bound; the new count."""
    w, i = _estimate(totals[0], t, coded, numbers)
    x, j = _estimate(totals[1], t + 16, coded, numbers)
    y, k = _estimate(totals[2], t + 32, coded, numbers)
    z, m = _estimate(totals[3], t + 48, coded, numbers)
    i, j, k, m = _part(i, valid, 0), _part(j, valid, 16), _part(k, valid, 32), _part(m, valid, 48)
    if i | j | k | m:
        count = append(keys, count, w, i, t)
        count = append(keys, count, x, j, t + 16)
        count = append(keys, count, y, k, t + 32)
        count = append(keys, count, z, m, t + 48)
    return count


@inline
def _offer_half(totals, t, valid, coded, numbers, keys, count):  # type: ignore[no-untyped-def]
    """`_offer` for 32 positions."""
    w, i = _estimate(totals[0], t, coded, numbers)
    x, j = _estimate(totals[1], t + 16, coded, numbers)
    i, j = _part(i, valid, 0), _part(j, valid, 16)
    if i | j:
        count = append(keys, count, w, i, t)
        count = append(keys, count, x, j, t + 16)
    return count


@inline
def _accepted(keys, low, count, ordinals, accept):  # type: ignore[no-untyped-def]
    """Leave out of ``keys[low:count]`` what is not accepted; the new count, -1 for no such document."""
    kept = low
    for i in range(low, count):
        place = keys[i] & 0xFFFFFFFF
        document = np.int64(ordinals[place]) if len(ordinals) else place
        if document >= len(accept):
            return -1
        keys[kept] = keys[i]
        kept += np.int64(accept[document])
    return kept


@_inner
def _check(lists, starts, n, seen):  # type: ignore[no-untyped-def]
    """0, or what is wrong with the lists of a query. ``seen`` is all zeros, before and after."""
    wrong = 0
    for one in lists:
        if one < -1 or one >= len(seen):
            return BAD_LIST
        if one >= 0 and not 0 <= starts[one] <= starts[one + 1] <= n:
            return BAD_LIST
    for one in lists:
        if one >= 0:
            if seen[one]:
                wrong = DOUBLE_LIST
            seen[one] = 1
    for one in lists:
        if one >= 0:
            seen[one] = 0
    return wrong


@_inner
def _scan_list(tables, blocks, t, last, jump, coded, numbers, ordinals, accept, keys, count, limit):  # type: ignore[no-untyped-def]
    """Offer the positions from ``t`` to ``last`` until there are more than ``limit`` keys: where it stopped.

    ``(next t, new count)``; the count is -1 for a document that ``accept`` does not have.
    """
    size, begin = len(tables), t
    t, stop = t // 32 * 32, (last + 31) // 32 * size
    ahead = min(max(stop - t // 32 * size, LEAST_AHEAD), MOST_AHEAD)
    while t < last:
        before, p, valid = count, t // 32 * size, _within(t, begin, last)
        if last - t > 32:
            totals = _two_blocks(tables, blocks, p, size, ahead, stop, jump)
            count = _offer(totals, t, valid, coded, numbers, keys, count)
            t += 64
        else:
            half = _one_block(tables, blocks, p, size, ahead, stop, jump)
            count = _offer_half(half, t, valid, coded, numbers, keys, count)
            t += 32
        if count > before:
            if len(accept):
                count = _accepted(keys, before, count, ordinals, accept)
            if count < 0 or count > limit:
                break
    return t, count


@inline
def _fetch_next(starts, lists, place, size, last, scales, biases):  # type: ignore[no-untyped-def]
    """How much further than the end of this list's blocks the next list's are; asks for its numbers."""
    if place + 1 == len(lists) or lists[place + 1] < 0:
        return 0
    following = starts[lists[place + 1]]
    for i in range(following, following + 256, 16):
        mem.prefetch(scales, i)
        mem.prefetch(biases, i)
    return (following // 32 - (last + 31) // 32) * size


@_inner
def _scan_one(tables, blocks, coded, starts, ordinals, lists, bases, accept, scaling, room, depth):  # type: ignore[no-untyped-def]
    """One query: how many keys it has, -1 for a document that ``accept`` does not have; codes looked at."""
    scales, biases, _ = coded
    full, size = len(room[0]) - PADDING, len(tables)
    scale, shift = v.splat_f32(scaling[0]), v.splat_f32(scaling[1])
    count, scanned, limit, bound = 0, 0, first_limit(depth, len(room[0])), np.float32(-np.inf)
    for place in range(len(lists)):
        if lists[place] < 0:
            continue
        t, last = starts[lists[place]], starts[lists[place] + 1]
        scanned += last - t
        jump = _fetch_next(starts, lists, place, size, last, scales, biases)
        base = v.splat_f32(bases[place])
        while t < last:
            numbers = scale, shift, base, v.splat_f32(bound)
            t, count = _scan_list(
                tables, blocks, t, last, jump, coded, numbers, ordinals, accept, room[0], count, limit
            )
            if count < 0:
                return count, scanned
            if count > limit:
                bound, count, limit = cut(room, count, depth, ordinals), depth, min(2 * limit, full)
    return count, scanned


@njit(nogil=True, cache=True, error_model="numpy")
def scan(tables, places, lists, bases, accept, estimates, positions, counts):  # type: ignore[no-untyped-def]
    """`reference.scan_lists` into ``estimates``, ``positions``, ``counts`` ``(2, n_q)``: 0, or what is wrong.

    ``places`` is of a `Lists`; ``accept`` is empty for none. ``positions`` has at least one column,
    ``tables`` as many subquantisers as the blocks.
    """
    flat, starts, ordinals = bytes_at(places, 0), integers_at(places, 1), words_at(places, 4)
    n, scaling = starts[len(starts) - 1], np.empty((2, len(tables)))
    coded = floats_at(places, 2), floats_at(places, 3), n
    rows, depth = quantize_rows(tables, 8, scaling), positions.shape[1]
    if not len(rows):
        return BAD_ENTRY
    if n > len(flat) // rows.shape[1] * 32:
        return BAD_LIST
    length, seen = capacity(n, depth), np.zeros(len(starts) - 1, np.uint8)
    memory = np.empty((4, length), np.int64)
    room = memory[0], memory[1], memory[2], memory[3]
    for q in range(len(tables)):
        wrong = _check(lists[q], starts, n, seen)
        if wrong:
            return wrong
        numbers = np.float32(scaling[0, q]), np.float32(scaling[1, q])
        count, counts[1, q] = _scan_one(
            rows[q], flat, coded, starts, ordinals, lists[q], bases[q], accept, numbers, room, depth
        )
        if count < 0:
            return BAD_DOCUMENT
        counts[0, q] = finish(room, count, ordinals, estimates[q], positions[q])
    return 0
