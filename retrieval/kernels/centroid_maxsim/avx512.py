"""Centroid rows with 512-bit vectors: a load and a maximum a token.

Rows of 32 bytes (32 query tokens) take half a vector; longer ones are taken in columns of 64 bytes,
the last of which is masked. Two running maxima hide the latency of one.
"""

from __future__ import annotations

from numba import njit

from retrieval.kernels.runs import is_damaged
from retrieval.kernels.simd.arithmetic import as_i8, maximum_i16, maximum_u8, splat_i16, zero_i32
from retrieval.kernels.simd.integers import maximum_half_u8, sum_half_u8, sum_i16, sum_u8, zero_half_i8
from retrieval.kernels.simd.memory import prefetch
from retrieval.kernels.simd.partial import element, load_half_i8, load_part_i8, load_part_i16

__all__ = ["score_i16", "score_u8"]

HALF, BYTES, WORDS = 32, 64, 32
LOWEST = -(2**15)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _total_half(table, centroids, start, stop):  # type: ignore[no-untyped-def]
    """Rows of 32 bytes, four tokens a step."""
    a, b = zero_half_i8(), zero_half_i8()
    even = start + (stop - start) // 4 * 4
    for t in range(start, even, 4):
        a = maximum_half_u8(a, load_half_i8(table, HALF * element(centroids, t)))
        b = maximum_half_u8(b, load_half_i8(table, HALF * element(centroids, t + 1)))
        a = maximum_half_u8(a, load_half_i8(table, HALF * element(centroids, t + 2)))
        b = maximum_half_u8(b, load_half_i8(table, HALF * element(centroids, t + 3)))
    for t in range(even, stop):
        a = maximum_half_u8(a, load_half_i8(table, HALF * element(centroids, t)))
    return sum_half_u8(maximum_half_u8(a, b))


@njit(nogil=True, error_model="numpy", _nrt=False)
def _total_u8(table, n_q, centroids, start, stop):  # type: ignore[no-untyped-def]
    total = 0
    for column in range(0, n_q, BYTES):
        width = n_q - column
        a, b = as_i8(zero_i32()), as_i8(zero_i32())
        even = start + (stop - start) // 2 * 2
        for t in range(start, even, 2):
            a = maximum_u8(a, load_part_i8(table, n_q * element(centroids, t) + column, width))
            b = maximum_u8(b, load_part_i8(table, n_q * element(centroids, t + 1) + column, width))
        if even < stop:
            a = maximum_u8(a, load_part_i8(table, n_q * element(centroids, even) + column, width))
        total += sum_u8(maximum_u8(a, b))
    return total


@njit(nogil=True, error_model="numpy", _nrt=False)
def _total_i16(table, n_q, centroids, start, stop):  # type: ignore[no-untyped-def]
    """As bytes; a lane beyond the row holds 0 from the first token on."""
    total = 0
    for column in range(0, n_q, WORDS):
        width = n_q - column
        a, b = splat_i16(LOWEST), splat_i16(LOWEST)
        even = start + (stop - start) // 2 * 2
        for t in range(start, even, 2):
            a = maximum_i16(a, load_part_i16(table, n_q * element(centroids, t) + column, width))
            b = maximum_i16(b, load_part_i16(table, n_q * element(centroids, t + 1) + column, width))
        if even < stop:
            a = maximum_i16(a, load_part_i16(table, n_q * element(centroids, even) + column, width))
        total += sum_i16(maximum_i16(a, b))
    return total


@njit(nogil=True, error_model="numpy", _nrt=False)
def _announce(centroids, offsets, ordinals, i):  # type: ignore[no-untyped-def]
    """Ask for the centroids of document ``i`` of the chosen ones."""
    if i < len(ordinals):
        start = offsets[ordinals[i]]
        for token in range(start, min(start + 256, offsets[ordinals[i] + 1]), 32):
            prefetch(centroids, token)


@njit(nogil=True, cache=True, error_model="numpy")
def score_u8(table, n_q, n_centroids, centroids, offsets, ordinals, listed, scores):  # type: ignore[no-untyped-def]
    """Fill ``scores``; the position of the first damaged document, or -1. ``table`` is flat."""
    for i in range(len(scores)):
        at = ordinals[i] if listed else i
        start, stop = offsets[at], offsets[at + 1]
        _announce(centroids, offsets, ordinals, i + 1)
        if is_damaged(centroids, start, stop, n_centroids):
            return i
        if stop == start:
            scores[i] = 0
        elif n_q == HALF:
            scores[i] = _total_half(table, centroids, start, stop)
        else:
            scores[i] = _total_u8(table, n_q, centroids, start, stop)
    return -1


@njit(nogil=True, cache=True, error_model="numpy")
def score_i16(table, n_q, n_centroids, centroids, offsets, ordinals, listed, scores):  # type: ignore[no-untyped-def]
    """As `score_u8`, for a table of int16."""
    for i in range(len(scores)):
        at = ordinals[i] if listed else i
        start, stop = offsets[at], offsets[at + 1]
        _announce(centroids, offsets, ordinals, i + 1)
        if is_damaged(centroids, start, stop, n_centroids):
            return i
        scores[i] = _total_i16(table, n_q, centroids, start, stop) if stop > start else 0
    return -1
