"""Tables in plain loops; also runs as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.rotate.portable import turn

__all__ = ["fill", "turn_and_fill"]

_FUSED: Any = {"contract"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FUSED)
def fill(queries, meanings, out):  # type: ignore[no-untyped-def]
    """``out`` ``(n_queries, m, 16)`` from queries and `retrieval.kernels.tables.reference.levels`."""
    pieces, dim = len(meanings), queries.shape[1]
    for q in range(len(queries)):
        for s in range(out.shape[1]):
            row, value = out[q, s], queries[q, s * pieces]
            for v in range(16):
                row[v] = value * meanings[0, v]
            for p in range(1, min(pieces, dim - s * pieces)):
                value = queries[q, s * pieces + p]
                for v in range(16):
                    row[v] += value * meanings[p, v]


@njit(nogil=True, cache=True, error_model="numpy")
def turn_and_fill(queries, signs, size, meanings, out):  # type: ignore[no-untyped-def]
    """`fill` of queries turned by ``signs``; ``size`` is that of `rotate`'s windows."""
    turned = np.empty_like(queries)
    turn(queries, signs, size, turned)
    fill(turned, meanings, out)
