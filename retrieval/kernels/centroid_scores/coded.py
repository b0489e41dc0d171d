"""Rows for `kernels.coded_maxsim` straight from the centroids: the float scores between are never made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.centroid_scores.cpu import score_rounded
from retrieval.kernels.centroid_scores.door import check
from retrieval.kernels.centroid_scores.query import round_query
from retrieval.kernels.centroid_scores.reference import Centroids, CentroidScores
from retrieval.kernels.coded_maxsim.tables import RowTables, residual_rows, row_error, row_unit
from retrieval.types import FloatArray

__all__ = ["score_coded"]


def score_coded(
    query: FloatArray, centroids: Centroids, residual_table: FloatArray, nprobe: int = 0, table: bool = False
) -> tuple[CentroidScores, RowTables]:
    """`score_centroids`, and what `coded_maxsim.tables.row_tables` makes of its scores and a residual table.

    ``residual_table`` is ``(m, 16 or 256, n_q)`` float32. The unit comes from a bound of the scores (norms of
    centroids and query tokens) and not from the largest of them, so it is larger, as a rule by less than
    half; ``error`` of the rows has the 8-bit error of the scores in it.

    Raises:
        ValueError: as `score_centroids`, or a table of another shape or type, or not finite.
    """
    check(query, centroids, nprobe, None)
    _check_table(residual_table, len(query))
    rounded = round_query(query, centroids)
    unit = row_unit(np.abs(rounded.base) + rounded.reach, residual_table)
    found = score_rounded(rounded, centroids, nprobe, table, unit)
    error = row_error(residual_table, unit) + float(rounded.error.sum())
    return found, RowTables(found.rows, residual_rows(residual_table, unit), unit, error)


def _check_table(table: NDArray[Any], n_q: int) -> None:
    if (
        table.ndim != 3
        or table.dtype != np.float32
        or table.shape[1] not in (16, 256)
        or table.shape[2] != n_q
    ):
        raise ValueError(
            f"residual_table is {table.dtype} {table.shape}: give float32 (subspaces, 16 or 256, {n_q})"
        )
