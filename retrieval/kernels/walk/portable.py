"""The walk in plain loops; also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.walk.reference import FEWEST, FURTHEST, MARGIN, REACH, STARTS

__all__ = ["ask", "in_order", "lower_end", "walk"]

LOWEST = np.float32(-np.inf)
_FURTHEST, _MARGIN, _REACH = np.float32(FURTHEST), np.float32(MARGIN), np.float32(REACH)
_SEVEN, _MOST = np.float32(7), np.float32(127)
_inner = njit(nogil=True, error_model="numpy", _nrt=False)
_float = njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"contract", "reassoc", "nnan", "nsz"})


@_float
def _sums(query, turned, mean, steps, offsets):  # type: ignore[no-untyped-def]
    """Of a query: the largest turned coordinate and the square of their length, the largest folded one, and
    its products with mean and offsets."""
    largest = folded = square = base = constant = np.float32(0)
    for j in range(len(query)):
        largest = max(largest, abs(turned[j]))
        folded = max(folded, abs(query[j] * steps[j]))
        square += turned[j] * turned[j]
        base += query[j] * mean[j]
        constant += query[j] * offsets[j]
    return largest, square, folded, base, constant


@_float
def _narrow(query, turned, steps, four, octet, fours, octets):  # type: ignore[no-untyped-def]
    """Both as integers, and the sum of the fours."""
    a = np.float32(1) / four if four > 0 else np.float32(0)
    b = np.float32(1) / octet if octet > 0 else np.float32(0)
    total = np.int32(0)
    for j in range(len(query)):
        number = np.int32(min(max(np.rint(turned[j] * a), -_SEVEN), _SEVEN))
        fours[j] = number
        total += number
        octets[j] = np.int32(min(max(np.rint(query[j] * steps[j] * b), -_MOST), _MOST))
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def ask(queries, turned, mean, steps, offsets, error, weights, fours, octets, scalars):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.walk.reference.ask_walk`, of ``turned`` queries; fills the last three, zeros at
    first."""
    for q in range(len(queries)):
        largest, square, folded, base, constant = _sums(queries[q], turned[q], mean, steps, offsets)
        length, row = np.sqrt(square), scalars[q]
        row[0] = min(largest, _FURTHEST * length / np.float32(np.sqrt(queries.shape[1]))) / _SEVEN
        row[1], row[2], row[3], row[4] = base, folded / _MOST, constant, weights[q]
        row[5] = _MARGIN * length * np.float32(error)
        row[6] = _narrow(queries[q], turned[q], steps, row[0], row[2], fours[q], octets[q])


@_inner
def _estimate(line, floats, fours, dim, numbers):  # type: ignore[no-untyped-def]
    product = np.int64(0)
    for j in range(dim):
        if line[j >> 3] >> np.uint8(j & 7) & np.uint8(1):
            product += fours[j]
    doubled = np.float32(2 * product - np.int64(numbers[6]))
    return floats[0] * (doubled * numbers[0]) + numbers[1] + numbers[4] * floats[1]


@_inner
def _score(code, side, octets, dim, numbers):  # type: ignore[no-untyped-def]
    product = np.int32(0)
    for j in range(dim):
        product += np.int32(code[j]) * np.int32(octets[j])
    return numbers[2] * np.float32(product) + numbers[3] + numbers[4] * side


@_inner
def _put(scores, ordinals, count, room, score, ordinal):  # type: ignore[no-untyped-def]
    """Put one into a pool, behind what is no worse; how many there are then, and its place."""
    place = 0
    while place < count and scores[place] >= score:
        place += 1
    if place >= room:
        return count, place
    for i in range(min(count, room - 1), place, -1):
        scores[i], ordinals[i] = scores[i - 1], ordinals[i - 1]
    scores[place], ordinals[place] = score, ordinal
    return min(count + 1, room), place


@_inner
def in_order(scores, ordinals, count):  # type: ignore[no-untyped-def]
    """Equal scores by ordinal."""
    for i in range(1, count):
        place, ordinal = i, ordinals[i]
        while place > 0 and scores[place - 1] == scores[i] and ordinals[place - 1] > ordinal:
            ordinals[place] = ordinals[place - 1]
            place -= 1
        ordinals[place] = ordinal


@_inner
def lower_end(scores, count, width, enough, numbers):  # type: ignore[no-untyped-def]
    """The least score of a vector that is left."""
    return scores[width - 1] - _REACH * numbers[5] if count >= enough else LOWEST


@_inner
def _unmet(links, start, degree, size, seen, ids):  # type: ignore[no-untyped-def]
    """The links that were not met, which they are now; how many."""
    count = 0
    for i in range(start * size, (start + degree) * size, size):
        x = np.int64(0)
        for j in range(size):
            x |= np.int64(links[i + j]) << np.int64(8 * j)
        if not seen[x]:
            seen[x] = True
            ids[count] = x
            count += 1
    return count


@_inner
def _leading(estimates, waiting, count, most):  # type: ignore[no-untyped-def]
    """The best ``most`` to the front, in their order."""
    if count <= most:
        return count
    kept = 0
    for i in range(count):
        above = 0
        for j in range(count):
            if estimates[j] > estimates[i] or (j < i and estimates[j] == estimates[i]):
                above += 1
        if above < most:
            waiting[kept] = waiting[i]
            kept += 1
    return kept


@_inner
def _begin(entries, lines, floats, fours, dim, numbers, seen, scores, chosen, waiting):  # type: ignore[no-untyped-def]
    """The entries of the best estimates; how many."""
    count = 0
    for i in range(len(entries)):
        u = entries[i]
        estimate = _estimate(lines[u], floats[u], fours, dim, numbers)
        count, _ = _put(scores, chosen, count, STARTS, estimate, u)
    kept = 0
    for i in range(count):
        if not seen[chosen[i]]:
            seen[chosen[i]] = True
            waiting[kept] = chosen[i]
            kept += 1
    return kept


@njit(nogil=True, cache=True, error_model="numpy")
def walk(  # type: ignore[no-untyped-def]
    lines,
    floats,
    starts,
    degrees,
    links,
    size,
    codes,
    entries,
    dim,
    fours,
    octets,
    scalars,
    width,
    room,
    accept,
    ordinals,
    scores,
):
    """See `retrieval.kernels.walk.avx512.walk`."""
    n, depth, filtered = len(lines), ordinals.shape[1], len(accept) > 0
    ids, waiting, seen = np.empty(256, np.int64), np.empty(256, np.int64), np.empty(n, np.bool_)
    pool, members, left = np.empty(room, np.float32), np.empty(room, np.int64), np.empty(n, np.bool_)
    enough, estimates = width if filtered else max(width, depth), np.empty(256, np.float32)
    best, chosen = np.empty(max(depth, STARTS), np.float32), np.empty(max(depth, STARTS), np.int64)
    for q in range(len(ordinals)):
        numbers = scalars[q]
        seen[:], left[:] = False, False
        count = taken = first = 0
        n_waiting = _begin(entries, lines, floats, fours[q], dim, numbers, seen, best, chosen, waiting)
        while True:
            while first < count and left[members[first]]:
                first += 1
            m = 0
            if first < count and not pool[first] < lower_end(pool, count, width, enough, numbers):
                u = members[first]
                left[u] = True
                m = _unmet(links, np.int64(starts[u]), np.int64(degrees[u]), size, seen, ids)
            elif n_waiting == 0:
                break
            for i in range(n_waiting):
                x = waiting[i]
                score = _score(codes[x], floats[x, 1], octets[q], dim, numbers)
                count, place = _put(pool, members, count, room, score, x)
                first = min(first, place)
                if filtered and accept[x]:
                    taken, _ = _put(best, chosen, taken, depth, score, x)
            least = max(
                pool[room - 1] if count == room else LOWEST, lower_end(pool, count, width, enough, numbers)
            )
            least -= numbers[5]
            n_waiting = 0
            for i in range(m):
                estimate = _estimate(lines[ids[i]], floats[ids[i]], fours[q], dim, numbers)
                if not estimate <= least:
                    waiting[n_waiting], estimates[n_waiting] = ids[i], estimate
                    n_waiting += 1
            n_waiting = _leading(estimates, waiting, n_waiting, max(width, FEWEST))
        found = taken if filtered else min(count, depth)
        for i in range(found):
            ordinals[q, i] = chosen[i] if filtered else members[i]
            scores[q, i] = best[i] if filtered else pool[i]
        in_order(scores[q], ordinals[q], found)
        ordinals[q, found:] = -1
        scores[q, found:] = LOWEST
