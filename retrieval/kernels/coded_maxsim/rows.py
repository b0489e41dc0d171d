"""Sums of int16 rows with 512-bit vectors: one row a byte of code, one vector for 32 query tokens.

No code is decoded: it is where its row begins. Two sums hide the latency of one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.coded_maxsim.norms import NOT_FINITE, as_floats, as_fractions
from retrieval.kernels.runs import is_damaged
from retrieval.kernels.simd.arithmetic import add, as_i16, maximum_i16, splat_i16, zero_i32
from retrieval.kernels.simd.integers import multiply_high_i16, sum_i16
from retrieval.kernels.simd.memory import load_i16, prefetch
from retrieval.kernels.simd.partial import element, word

__all__ = ["score_rows"]

ROW = 32
LOWEST = -(2**15)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _add_bytes(start, residual, codes, at, n_bytes):  # type: ignore[no-untyped-def]
    """``start`` plus a row for each byte, which has 256 of them."""
    a, b = start, as_i16(zero_i32())
    whole = n_bytes // 4 * 4
    for i in range(0, whole, 4):
        w, r = word(codes, at + i), i * 256 * ROW
        a = add(a, load_i16(residual, r + (w & 255) * ROW))
        b = add(b, load_i16(residual, r + 256 * ROW + ((w >> 8) & 255) * ROW))
        a = add(a, load_i16(residual, r + 512 * ROW + ((w >> 16) & 255) * ROW))
        b = add(b, load_i16(residual, r + 768 * ROW + (w >> 24) * ROW))
    for i in range(whole, n_bytes):
        a = add(a, load_i16(residual, i * 256 * ROW + element(codes, at + i) * ROW))
    return add(a, b)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _largest_sums(centroid, residual, centroids, codes, n_bytes, fractions, start, length):  # type: ignore[no-untyped-def]
    """The sum over 32 query tokens of the largest product of a sum of rows with a norm."""
    best, at = splat_i16(LOWEST), start * n_bytes
    for t in range(length):
        row = load_i16(centroid, ROW * element(centroids, start + t))
        sums = _add_bytes(row, residual, codes, at, n_bytes)
        best = maximum_i16(best, multiply_high_i16(sums, splat_i16(element(fractions, t))))
        at += n_bytes
    return sum_i16(best)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _announce(centroids, codes, n_bytes, inv_norms, start, stop):  # type: ignore[no-untyped-def]
    """Ask for the beginning of a document that comes next."""
    stop = min(stop, start + 64)
    for byte in range(start * n_bytes, stop * n_bytes, 64):
        prefetch(codes, byte)
    for token in range(start, stop, 16):
        prefetch(centroids, token)
        prefetch(inv_norms, token)


@njit(nogil=True, cache=True, error_model="numpy")
def score_rows(  # type: ignore[no-untyped-def]
    centroid, residual, unit, centroids, codes, n_bytes, inv_norms, offsets, ordinals, listed, scores
):
    """Fill ``scores``; the position of the first damaged document, or -1.

    ``centroid`` is ``(blocks, K * 32)`` and ``residual`` ``(blocks, n_bytes * 256 * 32)``;
    ``codes`` is flat, ``n_bytes`` a token.
    """
    floats, fractions = np.empty(0, np.float32), np.empty(0, np.int16)
    n_centroids = centroid.shape[1] // ROW
    for i in range(len(scores)):
        at = ordinals[i] if listed else i
        start, stop = offsets[at], offsets[at + 1]
        if listed and i + 1 < len(ordinals):
            following = ordinals[i + 1]
            _announce(centroids, codes, n_bytes, inv_norms, offsets[following], offsets[following + 1])
        if is_damaged(centroids, start, stop, n_centroids):
            return i
        scores[i] = 0
        if stop == start:
            continue
        if len(floats) < stop - start + 15:
            floats = np.empty(2 * (stop - start) + 15, np.float32)
            fractions = np.empty(2 * (stop - start) + 15, np.int16)
        bits = as_floats(inv_norms, start, stop, floats)
        if bits >= NOT_FINITE:
            return i
        largest = as_fractions(floats, stop - start, bits, fractions)
        total = 0
        for block in range(centroid.shape[0]):
            tables = centroid[block], residual[block]
            total += _largest_sums(*tables, centroids, codes, n_bytes, fractions, start, stop - start)
        scores[i] = np.float32(total * (unit * 32768 / 32767) * np.float64(largest))
    return -1
