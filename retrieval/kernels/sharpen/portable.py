"""Estimates from all bits of a code in plain loops, which LLVM vectorises; also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.sharpen.order import estimate_of, key_of, list_of, next_tie, spread

__all__ = ["sharpen"]

_kernel = njit(nogil=True, cache=True, error_model="numpy")


@njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}, _nrt=False)
def _dot(code, bits, stride, query):  # type: ignore[no-untyped-def]
    """The sum of the products of a query with a row's numbers."""
    total, mask = np.float32(0), np.uint8((1 << bits) - 1)
    for p in range(8 // bits):
        for j in range(len(code)):
            total += query[p * stride + j] * np.float32((code[j] >> np.uint8(p * bits)) & mask)
    return total


@_kernel
def _estimate_all(stored, bits, query, total, positions, own, estimates):  # type: ignore[no-untyped-def]
    """Estimates of the positions, NaN where there is none: whether all are there."""
    codes, factors, starts, biases, _, hints = stored
    stride, centre = len(query) // (8 // bits), np.float32(0.5 * ((1 << bits) - 1)) * total
    for i in range(len(positions)):
        position = positions[i]
        if position < -1 or position >= len(codes):
            return False
        estimates[i] = np.nan
        if position >= 0:
            x = factors[position, 0] * (_dot(codes[position], bits, stride, query) - centre)
            if len(biases):
                x = biases[position] + x
            x = own[list_of(starts, hints, position)] + x
            estimates[i] = x if x != 0 else np.float32(0)
    return True


@_kernel
def _ordered(found, positions, ordinals):  # type: ignore[no-untyped-def]
    """Keys of the estimates that are not NaN, best first, ties in the order of their documents."""
    words, keys, count = found.view(np.int32), np.empty(len(found), np.int64), 0
    for i in range(len(found)):
        if not np.isnan(found[i]):
            keys[count] = key_of(words[i], i)
            count += 1
    keys = np.sort(keys[:count])
    first = 0
    while first < len(keys):
        last, upper = next_tie(keys, first), keys[first] >> 32 << 32
        if last > first + 1:
            ties = np.empty(last - first, np.int64)
            for i in range(first, last):
                place = keys[i] & 0xFFFFFFFF
                document = np.int64(ordinals[positions[place]]) if len(ordinals) else positions[place]
                ties[i - first] = (document << 32) | place
            ties = np.sort(ties)
            for i in range(first, last):
                keys[i] = upper | (ties[i - first] & 0xFFFFFFFF)
        first = last
    return keys


@_kernel
def sharpen(stored, queries, bits, positions, lists, bases, estimates, ordinals, errors, ranks, found):  # type: ignore[no-untyped-def]
    """`reference.sharpen` into the last five, with the arrays of `PackedRows`: whether every position and
    list is there."""
    _, factors, starts, _, documents, _ = stored
    parts, nlist, depth = 8 // bits, len(starts) - 1, ordinals.shape[1]
    stride = (queries.shape[1] + parts - 1) // parts
    packed, scores = np.empty(parts * stride, np.float32), np.empty(positions.shape[1], np.float32)
    bits_of = estimates.view(np.int32)
    for q in range(len(queries)):
        total, own = spread(queries[q], parts, stride, packed), np.full(nlist, np.nan, np.float32)
        for i in range(lists.shape[1]):
            if lists[q, i] < -1 or lists[q, i] >= nlist:
                return False
            if lists[q, i] >= 0:
                own[lists[q, i]] = bases[q, i]
        if not _estimate_all(stored, bits, packed, total, positions[q], own, scores):
            return False
        keys = _ordered(scores, positions[q], documents)
        count = min(len(keys), depth)
        for i in range(count):
            ranks[q, i] = keys[i] & 0xFFFFFFFF
            position = positions[q, ranks[q, i]]
            bits_of[q, i], errors[q, i] = estimate_of(keys[i]), factors[position, 1]
            ordinals[q, i] = np.int64(documents[position]) if len(documents) else position
        estimates[q, count:], ordinals[q, count:] = -np.inf, -1
        errors[q, count:], ranks[q, count:] = np.inf, -1
        found[q] = count
    return True
