"""Lengths of single queries. NumPy's, by BLAS, let go of Python's lock: another thread takes it meanwhile,
and waiting for it costs more than the sum."""

from __future__ import annotations

from numba import njit

__all__ = ["squared_length"]


@njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def squared_length(query):  # type: ignore[no-untyped-def]
    """The squared length of ``(1, d)`` float32, added up in float32."""
    total, row = query.dtype.type(0), query[0]
    for j in range(len(row)):
        total += row[j] * row[j]
    return total
