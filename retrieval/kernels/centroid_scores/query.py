"""A query's tokens rounded to bytes, and all that their scores need: the reference's numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.centroid_scores.reference import COLUMNS, ROUNDING, TINY, TOP, Centroids
from retrieval.types import FloatArray

__all__ = ["Rounded", "in_units", "round_query", "round_tokens"]

FAST = {"reassoc", "contract"}
NOT_FINITE = 0x7F800000


class Rounded(NamedTuple):
    """What a query is to the kernels, numbers in float64, one for each token.

    ``levels`` is ``(n_q, width)`` int8, ``width`` that of the centroids' codes; ``offsets`` what the codes'
    128 adds to each token's sums, int32; ``base``, ``steps`` and ``error`` are the reference's, ``norms``
    those of the levels; no score is further than ``reach`` from ``base``; ``lanes`` are the tokens rounded
    up to 32.
    """

    levels: NDArray[np.int8]
    offsets: NDArray[np.int32]
    base: NDArray[np.float64]
    steps: NDArray[np.float64]
    reach: NDArray[np.float64]
    norms: NDArray[np.float64]
    error: NDArray[np.float64]
    lanes: int


def round_query(query: FloatArray, centroids: Centroids) -> Rounded:
    """See `Rounded`; arguments are checked.

    Raises:
        ValueError: a number that is not finite.
    """
    n_q = len(query)
    levels = np.zeros((n_q, centroids.codes.shape[1]), np.int8)
    offsets, numbers = np.empty(n_q, np.int32), np.empty((5, n_q))
    known = centroids.step, centroids.longest, centroids.lost
    query = plain(query)
    if not round_tokens(query, query.view(np.int32), centroids.center, known, levels, offsets, numbers):
        raise ValueError("query has NaN or infinity")
    base, steps, reach, norms, error = numbers
    lanes = -(-n_q // COLUMNS) * COLUMNS
    return Rounded(levels, offsets, base, steps, reach, norms, error, lanes)


@njit(nogil=True, error_model="numpy", fastmath=FAST)
def _measure(query, center, levels, q, step):  # type: ignore[no-untyped-def]
    """Sums of squares: of the token, of what rounding took off, of the levels; with the center; of levels."""
    whole, lost, base = 0.0, 0.0, 0.0
    squares, total = np.int32(0), np.int32(0)
    for j in range(query.shape[1]):
        x, level = np.float64(query[q, j]), np.int32(levels[q, j])
        rest = x - level * step
        whole += x * x
        lost += rest * rest
        base += x * np.float64(center[j])
        squares += level * level
        total += level
    return whole, lost, base, squares, total


@njit(nogil=True, cache=True, error_model="numpy")
def round_tokens(query, bits, center, known, levels, offsets, numbers):  # type: ignore[no-untyped-def]
    """Fill the outputs (``numbers``: base, steps, reach, norms, error); whether the query is finite."""
    step, longest, lost = known
    for q in range(query.shape[0]):
        largest = np.int32(0)  # bits of floats without their sign are in the floats' order, NaN the largest
        for j in range(query.shape[1]):
            largest = max(largest, bits[q, j] & np.int32(0x7FFFFFFF))
        if largest >= NOT_FINITE:
            return False
        top = np.int32(largest).view(np.float32)
        inverse, own = np.float32(0), np.float32(0)
        if top > TINY:
            inverse, own = np.float32(TOP) / top, top / np.float32(TOP)
        for j in range(query.shape[1]):
            levels[q, j] = np.int8(np.int32(np.rint(query[q, j] * inverse)))
        whole, rest, base, squares, total = _measure(query, center, levels, q, np.float64(own))
        norm = np.sqrt(np.float64(squares))
        reach = np.float64(own) * step * norm * (longest / step)
        offsets[q] = 128 * total
        numbers[0, q], numbers[1, q], numbers[2, q], numbers[3, q] = base, np.float64(own) * step, reach, norm
        numbers[4, q] = np.sqrt(whole) * lost + np.sqrt(rest) * longest + ROUNDING * (abs(base) + reach)
    return True


@njit(nogil=True, error_model="numpy", _nrt=False)
def in_units(values, unit, lanes):  # type: ignore[no-untyped-def]
    """``values`` in units, float32, into ``lanes``; 0 where no token is. A unit of 0 stands for none."""
    lanes[:] = 0
    for q in range(len(values)):
        lanes[q] = np.float32(values[q] / unit) if unit > 0 else np.float32(0)
