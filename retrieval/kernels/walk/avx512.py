"""The walk with AVX-512: four estimates to a sum, and memory asked for a step before it is read."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lists.places import bytes_at, floats_at, words_at
from retrieval.kernels.rotate.vectors import turn_long
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.simd import words as w
from retrieval.kernels.simd.bits import shift_left
from retrieval.kernels.simd.partial import word
from retrieval.kernels.walk.portable import ask, in_order, lower_end
from retrieval.kernels.walk.reference import FEWEST, STARTS

__all__ = ["turn_and_ask", "walk"]

LANES, LINE = 16, 64
ROOM = 48
"""Places behind a pool: of the vector that is moved, and of the one after it."""
MOST_LINKS = 256 + LANES
HALF = 32768
"""What is added to a product of bits, an eighth in each lane, so that it is never negative."""
LEFT = -(2**31)
LOWEST = np.float32(-np.inf)
_SPREAD = {
    size: np.array([i // 4 * size + i % 4 if i % 4 < size else LINE - 1 for i in range(LINE)], np.uint8)
    for size in (3, 4)
}
THREE, FOUR = _SPREAD[3], _SPREAD[4]

_inline = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


@njit(nogil=True, cache=True, error_model="numpy")
def turn_and_ask(queries, signs, size, turned, mean, steps, offsets, error, weights, fours, octets, scalars):  # type: ignore[no-untyped-def]
    """Rotate queries, and what `portable.ask` does."""
    turn_long(queries, signs, size, turned)
    ask(queries, turned, mean, steps, offsets, error, weights, fours, octets, scalars)


@_inline
def _planes(fours, q, size, planes):  # type: ignore[no-untyped-def]
    """The bits of 4-bit numbers: of each 512 the lowest of all, then the next."""
    none = v.splat_i8(0)
    for j in range(0, size, LINE):
        numbers = mem.load_i8(fours, q * size + j)
        at = j // 512 * 32 + j % 512 // LINE
        for p in range(4):
            planes[at + 8 * p] = np.int64(pick.mask_differs_i8(v.bit_and(numbers, v.splat_i8(1 << p)), none))


@_inline
def _product(lines, at, planes, n_planes):  # type: ignore[no-untyped-def]
    """Sums in 64-bit lanes of the numbers whose bits are set."""
    total = v.as_i64(v.splat_i32(0))
    for c in range(0, n_planes, 32):
        bits = mem.load_i64(lines, at + 2 * c)
        p0 = v.popcount(v.bit_and(bits, mem.load_i64(planes, c)))
        p1 = v.popcount(v.bit_and(bits, mem.load_i64(planes, c + 8)))
        p2 = v.popcount(v.bit_and(bits, mem.load_i64(planes, c + 16)))
        p3 = v.popcount(v.bit_and(bits, mem.load_i64(planes, c + 24)))
        total = v.sub(v.add(total, p0), shift_left(p3, 3))
        total = v.add(v.add(total, shift_left(p2, 2)), shift_left(p1, 1))
    return v.add(total, pick.splat_i64(HALF // 8))


@_inline
def _estimate(lines, floats, shape, ids, count, planes, fields, numbers, out):  # type: ignore[no-untyped-def]
    """Estimates of ``count`` vectors; ``ids`` go on to a whole vector of ordinals."""
    length, at_factor, n_planes = shape[1], shape[2], len(planes)
    for i in range(0, count, 4):
        a = _product(lines, np.int64(ids[i]) * length, planes, n_planes)
        b = shift_left(_product(lines, np.int64(ids[i + 1]) * length, planes, n_planes), 16)
        c = shift_left(_product(lines, np.int64(ids[i + 2]) * length, planes, n_planes), 32)
        d = shift_left(_product(lines, np.int64(ids[i + 3]) * length, planes, n_planes), 48)
        fields[i // 4] = v.sum_i64(v.bit_or(v.bit_or(a, b), v.bit_or(c, d)))
    step, base, weight = v.splat_f32(numbers[0]), v.splat_f32(numbers[1]), v.splat_f32(numbers[4])
    less = v.splat_i32(2 * HALF + np.int64(numbers[6]))
    for i in range(0, count, LANES):
        index = v.multiply(mem.load_i32(ids, i), v.splat_i32(length // 4))
        product = v.sub(shift_left(w.load_u16_as_i32(fields, i // 4), 1), less)
        factors = pick.gather_f32(floats, at_factor // 4, index)
        sides = pick.gather_f32(floats, at_factor // 4 + 1, index)
        scaled = v.add(v.multiply(factors, v.multiply(v.to_f32(product), step)), base)
        mem.store_f32(out, i, v.add(scaled, v.multiply(weight, sides)))


@_inline
def _score(codes, at, octets, first, wide, numbers, side):  # type: ignore[no-untyped-def]
    a, b = v.zero_i32(), v.zero_i32()
    paired = wide // 128 * 128
    for g in range(0, paired, 128):
        a = v.dot_u8i8(a, mem.load_i8(codes, at + g), mem.load_i8(octets, first + g))
        b = v.dot_u8i8(b, mem.load_i8(codes, at + g + 64), mem.load_i8(octets, first + g + 64))
    if paired < wide:
        a = v.dot_u8i8(a, mem.load_i8(codes, at + paired), mem.load_i8(octets, first + paired))
    return numbers[2] * np.float32(v.sum_i32(v.add(a, b))) + numbers[3] + numbers[4] * side


@_inline
def _put(scores, ordinals, count, room, score, ordinal):  # type: ignore[no-untyped-def]
    """Put one into a pool, behind what is no worse; how many there are then, and its place."""
    place, one = 0, v.splat_f32(score)
    for i in range(0, count, LANES):
        place += pick.count_bits(np.uint16(~pick.mask_exceeds_f32(one, mem.load_f32(scores, i))))
    place = min(place, count)
    if place >= room:
        return count, place
    a, b = mem.load_f32(scores, place), mem.load_i32(ordinals, place)
    i = place
    while i < count:
        next_a, next_b = mem.load_f32(scores, i + LANES), mem.load_i32(ordinals, i + LANES)
        mem.store_f32(scores, i + 1, a)
        mem.store_i32(ordinals, i + 1, b)
        a, b = next_a, next_b
        i += LANES
    scores[place], ordinals[place] = score, ordinal
    scores[room] = LOWEST
    return min(count + 1, room), place


@_inline
def _fetch(lines, links, codes, u, length, at_factor, wide, size):  # type: ignore[no-untyped-def]
    """Ask for the code of a vector and for its links; its line is there."""
    for j in range(0, wide, LINE):
        mem.prefetch(codes, u * wide + j)
    at = word(lines, u * length + at_factor + 8) * size
    mem.prefetch(links, at)
    mem.prefetch(links, at + size * np.int64(lines[u * length + at_factor + 12]) - 1)


@_inline
def _unmet(lines, links, seen, u, n, length, at_factor, size, spread, ids):  # type: ignore[no-untyped-def]
    """The links of ``u`` that were not met, which they are now; how many."""
    at = word(lines, u * length + at_factor + 8) * size
    degree, m = np.int64(lines[u * length + at_factor + 12]), 0
    kept = v.splat_i32(-1 if size == 4 else 0xFFFFFF)
    last, low, one, none = v.splat_i32(n - 1), v.splat_i32(31), v.splat_i32(1), v.zero_i32()
    for i in range(0, degree, LANES):
        some = v.bit_and(v.as_i32(v.permute_bytes(mem.load_i8(links, at + size * i), spread)), kept)
        some = v.maximum_i32(v.minimum_i32(some, last), none)
        words = v.as_i32(pick.gather_f32(seen, 0, v.shift_right(some, 5)))
        bits = v.bit_and(w.shift_right_each_i32(words, v.bit_and(some, low)), one)
        mask = np.uint16(~w.mask_differs_i32(bits, none))
        if degree - i < LANES:
            mask = np.uint16(mask & ((1 << (degree - i)) - 1))
        mem.store_i32(ids, m, w.compress_i32(some, mask))
        m += pick.count_bits(mask)
    count = 0
    for i in range(m):
        x = np.int64(ids[i])
        bit = np.uint32(1) << np.uint32(x & 31)
        if seen[x >> 5] & bit:  # twice among these links
            continue
        seen[x >> 5] |= bit
        mem.prefetch(lines, x * length)
        ids[count] = x
        count += 1
    return count


@_inline
def _begin(lines, floats, entries, shape, planes, fields, numbers, seen, ids, out, scores, chosen, waiting):  # type: ignore[no-untyped-def]
    """The entries of the best estimates; how many."""
    n_entries = len(entries)
    scores[: STARTS + ROOM] = LOWEST
    count = 0
    for i in range(0, n_entries, LANES):
        mem.store_i32(ids, 0, v.add(pick.iota_i32(), v.splat_i32(i)))
        _estimate(lines, floats, shape, ids, LANES, planes, fields, numbers, out)
        least = scores[STARTS - 1] if count == STARTS else LOWEST
        mask = np.int64(pick.mask_exceeds_f32(mem.load_f32(out, 0), v.splat_f32(least)))
        while mask:
            j = w.lowest_bit(mask)
            mask &= mask - 1
            if i + j < n_entries:
                count, _ = _put(scores, chosen, count, STARTS, out[j], np.int32(i + j))
    kept = 0
    for i in range(count):
        u = np.int64(entries[chosen[i]])
        bit = np.uint32(1) << np.uint32(u & 31)
        if not seen[u >> 5] & bit:
            seen[u >> 5] |= bit
            waiting[kept] = u
            kept += 1
    return kept


@_inline
def _survivors(ids, estimates, m, least, most, waiting):  # type: ignore[no-untyped-def]
    """Those whose estimates are above, the best of them; how many. ``estimates`` become theirs."""
    count, below = 0, v.splat_f32(least)
    for i in range(0, m, LANES):
        some = mem.load_f32(estimates, i)
        mask = pick.mask_exceeds_f32(some, below)
        if m - i < LANES:
            mask = np.uint16(mask & ((1 << (m - i)) - 1))
        mem.store_i32(waiting, count, w.compress_i32(mem.load_i32(ids, i), mask))
        mem.store_i32(estimates, count, w.compress_i32(v.as_i32(some), mask))
        count += pick.count_bits(mask)
    return _leading(estimates, waiting, count, most) if count > most else count


@_inline
def _leading(estimates, waiting, count, most):  # type: ignore[no-untyped-def]
    """The best ``most`` to the front, in their order."""
    estimates[count : count + LANES] = LOWEST
    kept = 0
    for i in range(count):
        above, one = 0, v.splat_f32(estimates[i])
        for j in range(0, count, LANES):
            others = mem.load_f32(estimates, j)
            mask = pick.mask_exceeds_f32(others, one)
            if j <= i:  # equal ones before it
                equal = ~np.int64(pick.mask_exceeds_f32(one, others)) & ((1 << min(i - j, LANES)) - 1)
                mask = np.uint16(mask | np.uint16(equal))
            above += pick.count_bits(mask)
        if above < most:
            waiting[kept] = waiting[i]
            kept += 1
    return kept


@njit(nogil=True, cache=True, error_model="numpy")
def walk(places, shape, fours, octets, scalars, width, room, accept, ordinals, scores):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.walk.reference.walk`; ``accept`` is uint8, empty for all. Fills ``ordinals``
    and ``scores``."""
    lines, links, codes, entries = (
        bytes_at(places, 0),
        bytes_at(places, 1),
        bytes_at(places, 2),
        words_at(places, 4),
    )
    floats, first_lines, first_floats = floats_at(places, 0), bytes_at(places, 3), floats_at(places, 3)
    n, length, at_factor, wide, size = shape[0], shape[1], shape[2], shape[3], shape[5]
    depth, filtered = ordinals.shape[1], len(accept) > 0
    fours, octets = fours.reshape(-1), octets.reshape(-1)
    planes, fields = np.empty(shape[4] // 16, np.int64), np.empty(MOST_LINKS // 4, np.int64)
    ids, waiting = np.empty(MOST_LINKS + LANES, np.int32), np.empty(MOST_LINKS + LANES, np.int32)
    estimates, seen = np.empty(MOST_LINKS + LANES, np.float32), np.empty((n >> 5) + 1, np.uint32)
    pool, members = np.empty(room + ROOM, np.float32), np.empty(room + ROOM, np.int32)
    enough, most = width if filtered else max(width, depth), max(depth if filtered else 0, STARTS)
    best, chosen = np.empty(most + ROOM, np.float32), np.empty(most + ROOM, np.int32)
    spread = mem.load_i8(THREE if size == 3 else FOUR, 0)
    for q in range(len(ordinals)):
        numbers = scalars[q]
        seen[:] = 0
        pool[:] = LOWEST
        count = taken = first = 0
        _planes(fours, q, shape[4], planes)
        n_waiting = _begin(
            first_lines,
            first_floats,
            entries,
            shape,
            planes,
            fields,
            numbers,
            seen,
            ids,
            estimates,
            best,
            chosen,
            waiting,
        )
        best[:] = LOWEST
        while True:
            while first < count and members[first] < 0:
                first += 1
            m = 0
            if first < count and not pool[first] < lower_end(pool, count, width, enough, numbers):
                u = np.int64(members[first])
                members[first] = np.int32(u | LEFT)
                m = _unmet(lines, links, seen, u, n, length, at_factor, size, spread, ids)
            elif n_waiting == 0:
                break
            for i in range(n_waiting):
                x = np.int64(waiting[i])
                side = floats[(x * length + at_factor) // 4 + 1]
                score = _score(codes, x * wide, octets, q * wide, wide, numbers, side)
                count, place = _put(pool, members, count, room, score, np.int32(x))
                first = min(first, place)
                if filtered and accept[x]:
                    taken, _ = _put(best, chosen, taken, depth, score, np.int32(x))
            n_waiting = 0
            if m == 0:
                continue
            mem.store_i32(ids, m, v.splat_i32(np.int64(ids[0])))
            _estimate(lines, floats, shape, ids, (m + 15) & ~15, planes, fields, numbers, estimates)
            least = max(
                pool[room - 1] if count == room else LOWEST, lower_end(pool, count, width, enough, numbers)
            )
            n_waiting = _survivors(ids, estimates, m, least - numbers[5], max(width, FEWEST), waiting)
            for i in range(n_waiting):
                _fetch(lines, links, codes, np.int64(waiting[i]), length, at_factor, wide, size)
        found = taken if filtered else min(count, depth)
        for i in range(found):
            ordinals[q, i] = np.int64(chosen[i] if filtered else members[i] & 0x7FFFFFFF)
            scores[q, i] = best[i] if filtered else pool[i]
        in_order(scores[q], ordinals[q], found)
        ordinals[q, found:] = -1
        scores[q, found:] = LOWEST
