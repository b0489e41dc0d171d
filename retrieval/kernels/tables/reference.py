"""Tables of a query for scans of codes (`pq_scan`, `lists`), in plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.rotate.reference import rotate
from retrieval.types import FloatArray

__all__ = ["TABLE_BITS", "grid_tables", "levels", "pq_tables"]

TABLE_BITS = (1, 2, 4)


def levels(bits: int) -> NDArray[np.float32]:
    """``(4 / bits, 16)``: the centred level that the 16 numbers of half a byte mean for its dimensions.

    Dimension p has bits ``p * bits`` and up; a code u means ``u - (2**bits - 1) / 2``.
    """
    shifts = np.arange(0, 4, bits)[:, None]
    codes = (np.arange(16) >> shifts) & (2**bits - 1)
    return (codes - (2**bits - 1) / 2).astype(np.float32)


def grid_tables(queries: FloatArray, bits: int, signs: NDArray[np.int8] | None = None) -> FloatArray:
    """``(n_queries, ceil(d * bits / 4), 16)`` float32 for codes of 1, 2 or 4 bits a dimension.

    Entry ``[q, s, v]`` is the sum of query values times levels, over the dimensions of piece s, of `levels`
    of v; dimensions beyond ``d`` add nothing. With ``signs`` ``(rounds, d)`` the queries are turned first
    (`retrieval.kernels.rotate`).
    """
    if signs is not None:
        queries = rotate(queries, signs)
    n, dim = queries.shape
    pieces = 4 // bits
    padded = np.pad(queries, ((0, 0), (0, -dim % pieces)))
    tables = padded.reshape(n, -(-dim // pieces), pieces).astype(np.float64) @ levels(bits)
    return tables.astype(np.float32)


def pq_tables(queries: FloatArray, columns: FloatArray) -> FloatArray:
    """``(n_queries, m, ksub)`` float32: inner products of the parts of queries ``(n_queries, m * dsub)``
    with their centroids, which come as ``columns`` ``(m, dsub, ksub)``: a coordinate of all in a row."""
    m, dsub, _ = columns.shape
    parts = queries.reshape(len(queries), m, dsub).astype(np.float64)
    return np.einsum("qmd,mdk->qmk", parts, columns).astype(np.float32)
