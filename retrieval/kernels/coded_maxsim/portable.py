"""Sums of int16 rows in plain loops over query tokens, which LLVM vectorises.

The same integers as `retrieval.kernels.coded_maxsim.rows`, so the same scores.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.runs import is_damaged

__all__ = ["score_rows"]

ROW = 32
TINY = 1e-30


@njit(nogil=True, error_model="numpy", _nrt=False)
def _add_row(sums, rows, row):  # type: ignore[no-untyped-def]
    for q in range(ROW):
        sums[q] += rows[row, q]


@njit(nogil=True, error_model="numpy", _nrt=False)
def _copy_row(sums, rows, row):  # type: ignore[no-untyped-def]
    for q in range(ROW):
        sums[q] = rows[row, q]


@njit(nogil=True, error_model="numpy", _nrt=False)
def _largest_sums(centroid, residual, centroids, codes, n_bytes, fractions, start, sums, best):  # type: ignore[no-untyped-def]
    """The sum over 32 query tokens of the largest product of a sum of rows with a norm."""
    best[:] = -(2**15)
    for t in range(len(fractions)):
        _copy_row(sums, centroid, np.int64(centroids[start + t]))
        at = (start + t) * n_bytes
        for i in range(n_bytes):
            _add_row(sums, residual, 256 * i + np.int64(codes[at + i]))
        fraction = np.int32(fractions[t])
        for q in range(ROW):
            product = (np.int32(sums[q]) * fraction + np.int32(16384)) >> np.int32(15)
            best[q] = max(best[q], np.int16(product))
    total = np.int64(0)
    for q in range(ROW):
        total += best[q]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def score_rows(  # type: ignore[no-untyped-def]
    centroid, residual, unit, centroids, codes, n_bytes, inv_norms, offsets, ordinals, listed, scores
):
    """Fill ``scores``; the position of the first damaged document, or -1.

    ``centroid`` is ``(blocks, K, 32)``, ``residual`` ``(blocks, n_bytes * 256, 32)``, ``inv_norms``
    float32; ``codes`` is flat, ``n_bytes`` a token.
    """
    sums, best = np.empty(ROW, np.int16), np.empty(ROW, np.int16)
    for i in range(len(scores)):
        at = ordinals[i] if listed else i
        start, stop = offsets[at], offsets[at + 1]
        if is_damaged(centroids, start, stop, centroid.shape[1]):
            return i
        scores[i] = 0
        if stop == start:
            continue
        norms = inv_norms[start:stop]
        largest = np.abs(norms).max()
        if not np.isfinite(largest):
            return i
        scale = np.float32(32767) / largest if largest > TINY else np.float32(0)
        fractions = np.rint(norms * scale).astype(np.int16)
        total = np.int64(0)
        for block in range(centroid.shape[0]):
            total += _largest_sums(
                centroid[block],
                residual[block],
                centroids,
                codes,
                n_bytes,
                fractions,
                start,
                sums,
                best,
            )
        scores[i] = np.float32(total * (unit * 32768 / 32767) * np.float64(largest))
    return -1
