"""Lengths of single queries, and how exact scores are that are added up in float32. NumPy's lengths, by BLAS,
let go of Python's lock: another thread takes it meanwhile, and waiting for it costs more than the sum."""

from __future__ import annotations

from math import sqrt

from numba import njit

__all__ = ["UNIT_ROUNDOFF", "rounding", "squared_length"]

UNIT_ROUNDOFF = 2.0**-24
"""Half the distance from 1 to the next float32."""


@njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def squared_length(query):  # type: ignore[no-untyped-def]
    """The squared length of ``(1, d)`` float32, added up in float32."""
    total, row = query.dtype.type(0), query[0]
    for j in range(len(row)):
        total += row[j] * row[j]
    return total


@njit(cache=True, error_model="numpy")
def rounding(query, largest, l2):  # type: ignore[no-untyped-def]
    """How far two scores of ``query`` ``(1, d)`` float32 may lie apart with the true ones in the other order,
    and the query's length. Scores are inner products with vectors no longer than ``largest``, with ``l2``
    ``2 q . x - |x|^2``: the textbook's error of a sum of products, for both."""
    square = float(squared_length(query))
    length = sqrt(square)
    size = length * largest
    if l2:
        size = 2 * size + largest**2 + square
    return 2 * (query.shape[1] + 8) * UNIT_ROUNDOFF * size, length
