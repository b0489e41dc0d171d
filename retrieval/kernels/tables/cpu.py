"""Tables of a query on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.host import picks_bytes, simd_level
from retrieval.kernels.tables import portable
from retrieval.kernels.tables.reference import TABLE_BITS, levels
from retrieval.types import FloatArray

__all__ = ["SHORTEST", "grid_tables", "pq_tables"]

_FUSED: Any = {"contract"}
SHORTEST = 16
"""Dimensions that vectors' rotation needs."""


@cache
def _kernels() -> Any:
    """The module of this machine's kernels. Those of vectors are written in LLVM's own operations."""
    if simd_level() != "avx512" and not picks_bytes():
        return portable
    from retrieval.kernels.tables import vectors

    return vectors


@cache
def _levels(bits: int) -> NDArray[np.float32]:
    return _frozen(levels(bits))


def grid_tables(queries: FloatArray, bits: int, signs: NDArray[np.int8] | None = None) -> FloatArray:
    """See `retrieval.kernels.tables.reference.grid_tables`; the same up to rounding.

    Raises:
        ValueError: arrays of another type, shapes that do not fit, or another number of bits.
    """
    if bits not in TABLE_BITS:
        raise ValueError(f"bits={bits}: there are tables of {TABLE_BITS}")
    _check("queries", queries, 2)
    n, dim = queries.shape
    out = np.empty((n, -(-dim * bits // 4), 16), np.float32)
    if signs is None:
        _kernels().fill(_frozen(queries), _levels(bits), out)
        return out
    if signs.dtype != np.int8 or signs.ndim != 2 or signs.shape[1] != dim:
        raise ValueError(f"signs: {signs.dtype}{signs.shape}, not int8(rounds, {dim})")
    kernels = _kernels() if dim >= SHORTEST and len(signs) else portable
    size = 1 << (dim.bit_length() - 1)
    kernels.turn_and_fill(_frozen(queries), _frozen(signs), size, _levels(bits), out)
    return out


def pq_tables(queries: FloatArray, columns: FloatArray) -> FloatArray:
    """See `retrieval.kernels.tables.reference.pq_tables`; the same up to rounding.

    Raises:
        ValueError: arrays of another type, or shapes that do not fit.
    """
    _check("queries", queries, 2)
    _check("columns", columns, 3)
    m, dsub, ksub = columns.shape
    if queries.shape[1] != m * dsub:
        raise ValueError(f"queries of {queries.shape[1]} dimensions: columns are of {m} x {dsub}")
    out = np.empty((len(queries), m, ksub), np.float32)
    _products(_frozen(queries), _frozen(columns), out)
    return out


def _check(name: str, array: NDArray[Any], dimensions: int) -> None:
    if array.dtype != np.float32 or array.ndim != dimensions or array.shape[1] < 1:
        raise ValueError(f"{name}: {array.dtype}{array.shape}, not float32 of {dimensions} dimensions")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous read-only view, so that kernels are compiled for one kind of array."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def _products(queries, columns, out):  # type: ignore[no-untyped-def]
    m, dsub, ksub = columns.shape
    for q in range(len(queries)):
        for s in range(m):
            value = queries[q, s * dsub]
            for c in range(ksub):
                out[q, s, c] = value * columns[s, 0, c]
            for j in range(1, dsub):
                value = queries[q, s * dsub + j]
                for c in range(ksub):
                    out[q, s, c] += value * columns[s, j, c]
