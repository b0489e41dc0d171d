"""Scores of all centroids with vectors: see `retrieval.kernels.centroid_scores.reference`."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

from retrieval.kernels import host
from retrieval.kernels.centroid_scores.door import check
from retrieval.kernels.centroid_scores.query import Rounded, round_query
from retrieval.kernels.centroid_scores.reference import Centroids, CentroidScores, prepare_centroids
from retrieval.types import FloatArray

__all__ = ["prepare_centroids", "score_centroids", "score_rounded"]


@cache
def _level() -> ModuleType:
    if host.simd_level() == "avx512":
        from retrieval.kernels.centroid_scores import avx512

        return avx512
    from retrieval.kernels.centroid_scores import portable

    return portable


def score_centroids(
    query: FloatArray,
    centroids: Centroids,
    nprobe: int = 0,
    table: bool = True,
    row_unit: float | None = None,
) -> CentroidScores:
    """See `retrieval.kernels.centroid_scores.reference.score_centroids`; the same, floats up to rounding.

    One pass over the centroids makes everything that is asked for.

    Raises:
        ValueError: as there.
    """
    check(query, centroids, nprobe, row_unit)
    return score_rounded(round_query(query, centroids), centroids, nprobe, table, row_unit)


def score_rounded(
    rounded: Rounded, centroids: Centroids, nprobe: int, table: bool, row_unit: float | None
) -> CentroidScores:
    """`score_centroids` for a query that is rounded already."""
    unit = float(rounded.reach.max()) / 255 or 1.0
    values, rows, probes, scores = _level().score(
        rounded, centroids, unit if table else 0.0, row_unit or 0.0, min(nprobe, centroids.n)
    )
    lowest = np.zeros(rounded.lanes, np.float32)
    lowest[: len(rounded.base)] = rounded.base
    return CentroidScores(values, lowest, unit, rows, probes, scores, rounded.error)
