"""Sums of int16 rows in two vectors of 256 bits, or one by one where nothing is compiled.

The same integers as `retrieval.kernels.coded_maxsim.rows`, so the same scores.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

from retrieval.kernels.runs import is_damaged
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.halves import (
    load_16i16,
    maximum_16i16,
    multiply_fraction,
    splat_16i16,
    store_16i16,
)

__all__ = ["score_rows"]

ROW, HALF = 32, 16
TINY = 1e-30


_inner = njit(nogil=True, error_model="numpy", _nrt=False)


@_inner
def _fold_vectors(centroid, residual, centroids, codes, n_bytes, fractions, start, best):  # type: ignore[no-untyped-def]
    """Raise ``best`` to the largest product of a token's sum of rows with its norm."""
    low, high = load_16i16(best, 0), load_16i16(best, HALF)
    for t in range(len(fractions)):
        row, at = ROW * np.int64(centroids[start + t]), (start + t) * n_bytes
        a, b = load_16i16(centroid, row), load_16i16(centroid, row + HALF)
        for i in range(n_bytes):
            row = ROW * (256 * i + np.int64(codes[at + i]))
            a, b = add(a, load_16i16(residual, row)), add(b, load_16i16(residual, row + HALF))
        fraction = splat_16i16(fractions[t])
        low = maximum_16i16(low, multiply_fraction(a, fraction))
        high = maximum_16i16(high, multiply_fraction(b, fraction))
    store_16i16(best, 0, low)
    store_16i16(best, HALF, high)


@_inner
def _fold_plain(centroid, residual, centroids, codes, n_bytes, fractions, start, best):  # type: ignore[no-untyped-def]
    """`_fold_vectors` without vectors."""
    for t in range(len(fractions)):
        at = (start + t) * n_bytes
        for q in range(ROW):
            total = np.int32(centroid[np.int64(centroids[start + t]), q])
            for i in range(n_bytes):
                total += np.int32(residual[256 * i + np.int64(codes[at + i]), q])
            product = (total * np.int32(fractions[t]) + np.int32(16384)) >> np.int32(15)
            best[q] = max(best[q], np.int16(product))


_fold = _fold_plain if config.DISABLE_JIT else _fold_vectors


@_inner
def _largest_sums(centroid, residual, centroids, codes, n_bytes, fractions, start, best):  # type: ignore[no-untyped-def]
    """The sum over 32 query tokens of the largest product of a sum of rows with a norm."""
    best[:] = -(2**15)
    _fold(centroid, residual, centroids, codes, n_bytes, fractions, start, best)
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
    best = np.empty(ROW, np.int16)
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
                best,
            )
        scores[i] = np.float32(total * (unit * 32768 / 32767) * np.float64(largest))
    return -1
