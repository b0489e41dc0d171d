"""Candidates of several queries, from the integer totals of 64 vectors at a time (AVX-512).

Query ``q`` has ``counts[q]`` keys (see `retrieval.kernels.topk.avx512`) in ``keys`` from ``q * len(spare)``
on; they are cut at ``limits[q]``, and ``bounds[q]`` is the total to beat.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick
from retrieval.kernels.topk.avx512 import PADDING, capacity, first_limit, push
from retrieval.kernels.topk.order import keep_best, sort_best

__all__ = ["collect", "fetch", "fetch_four", "finish", "offer", "start", "valid_lanes"]

AHEAD = 2048
"""How many bytes of codes ahead to ask for: what the processor asks for by itself is half as fast, and
from memory more than a page ahead is as slow again."""


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def fetch(codes, first, last):  # type: ignore[no-untyped-def]
    """Ask for the bytes that will be read `AHEAD` bytes after ``codes[first:last]``."""
    for i in range(first + AHEAD, last + AHEAD, 64):
        mem.prefetch(codes, i)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def fetch_four(codes, first):  # type: ignore[no-untyped-def]
    """`fetch` for 256 bytes."""
    mem.prefetch(codes, first + AHEAD)
    mem.prefetch(codes, first + AHEAD + 64)
    mem.prefetch(codes, first + AHEAD + 128)
    mem.prefetch(codes, first + AHEAD + 192)


@njit(nogil=True, cache=True, error_model="numpy")
def start(n_queries, n, k):  # type: ignore[no-untyped-def]
    """``(bounds, counts, limits, keys, spare)`` without keys; every total, at least 0, beats a bound."""
    size = capacity(n, k)
    bounds, counts = np.full(n_queries, -1, np.int32), np.zeros(n_queries, np.int64)
    limits = np.full(n_queries, first_limit(k, size), np.int64)
    return bounds, counts, limits, np.empty(n_queries * size, np.int64), np.empty(size, np.int64)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def valid_lanes(accept, first, n, last):  # type: ignore[no-untyped-def]
    """Which of the 64 vectors from ``first`` count: accepted, and in an incomplete block ``last``."""
    valid = np.uint64(0xFFFFFFFFFFFFFFFF)
    if n - first < 64:
        valid = np.uint64(last)
    elif len(accept):
        valid = pick.mask_differs_i8(mem.load_i8(accept, first), v.splat_i8(0))
    return valid


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def offer(totals, valid, first, k, bounds, counts, limits, keys, spare):  # type: ignore[no-untyped-def]
    """Add those of ``totals`` ``(n_queries * 64,)`` that beat their query's bound."""
    size = len(spare)
    for q in range(len(bounds)):
        bound, end = mem.broadcast4(bounds, q), q * size + counts[q]
        for i in range(0, 64, 16):
            total = mem.load_i32(totals, q * 64 + i)
            mask = np.uint16(v.mask_greater_i32(total, bound) & (valid >> np.uint64(i)))
            end = push(keys, end, total, mask, first + i)
        counts[q] = end - q * size
        if counts[q] > limits[q]:
            bounds[q] = ~(keep_best(keys, q * size, counts[q], k, spare) >> 32)
            counts[q], limits[q] = k, min(2 * limits[q], size - PADDING)


@njit(nogil=True, cache=True, error_model="numpy")
def collect(k, counts, keys, spare, out):  # type: ignore[no-untyped-def]
    """The keys of each query's best ``k``, in order, into the rows of ``out``; how many in a row."""
    found = 0
    for q in range(len(out)):
        found = sort_best(keys, q * len(spare), counts[q], k, spare, out[q])
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def finish(keys, found, scaling, best):  # type: ignore[no-untyped-def]
    """The scores of the first ``found`` keys of each query to ``best``; of the keys only the ordinals stay.

    ``scaling`` ``(2, n_queries)`` has scales and biases.
    """
    for q in range(len(keys)):
        for i in range(found):
            total = ~(keys[q, i] >> 32)
            best[q, i] = np.float32(total * scaling[0, q] + scaling[1, q])
            keys[q, i] &= 0xFFFFFFFF
