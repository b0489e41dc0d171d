"""Nearest centroids: an 8-bit scan whose doubtful choices are decided in float.

It is faster than a matrix product in float on every level: few centroids are ever scored in float, and
the answer is the same.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

from retrieval.kernels import host
from retrieval.kernels.arrays import plain
from retrieval.kernels.assign.door import check, check_finite
from retrieval.kernels.assign.prepare import prepare
from retrieval.kernels.assign.reference import Assignment, AssignMetric
from retrieval.kernels.assign.tile import CHOICE, MARGIN, NOTHING, Problem
from retrieval.kernels.blocks import over_blocks
from retrieval.types import FloatArray, IntArray

__all__ = ["assign", "assign_i8", "assign_prepared", "prepare_centroids"]

ROWS = 1024


@cache
def _level() -> ModuleType:
    if host.simd_level() == "avx512":
        from retrieval.kernels.assign import avx512

        return avx512
    from retrieval.kernels.assign import portable

    return portable


def _outputs(n: int) -> tuple[IntArray, FloatArray, FloatArray]:
    return np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32)


def assign(
    values: FloatArray, centroids: FloatArray, metric: AssignMetric = "dot", threads: int = 1
) -> tuple[IntArray, FloatArray, FloatArray]:
    """See `reference.assign`; the same up to rounding. Never holds the ``(n, K)`` matrix.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, no centroid.
    """
    return _scan(values, centroids, metric, MARGIN, threads)[:3]


def assign_i8(
    values: FloatArray,
    centroids: FloatArray,
    metric: AssignMetric = "dot",
    exact: bool = True,
    threads: int = 1,
) -> Assignment:
    """See `reference.assign_i8`; with ``exact`` the same choices as `assign` up to rounding.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, no centroid.
    """
    return _scan(values, centroids, metric, CHOICE if exact else NOTHING, threads)


def prepare_centroids(centroids: FloatArray, metric: AssignMetric = "dot", exact: bool = True) -> Problem:
    """What `assign_prepared` needs: for centroids that are asked for time and again.

    Raises:
        ValueError: as `assign_i8`.
    """
    check(centroids, centroids, metric)
    return prepare(centroids, metric, CHOICE if exact else NOTHING, _level().pack)


def assign_prepared(values: FloatArray, problem: Problem, threads: int = 1) -> Assignment:
    """`assign_i8` with the arguments of `prepare_centroids`.

    Raises:
        ValueError: values of another shape or type than the centroids', NaN or infinity.
    """
    if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != problem.centroids.shape[1]:
        raise ValueError(
            f"values are {values.dtype} {values.shape}: give float32 (n, {problem.centroids.shape[1]})"
        )
    out = _outputs(len(values))

    def work(start: int, stop: int) -> int:
        rows = plain(values[start:stop])
        check_finite(rows)
        part = tuple(array[start:stop] for array in out)
        doubtful: int = _level().assign_tiles(problem._replace(values=rows), part)
        return doubtful

    return Assignment(*out, sum(over_blocks(work, len(values), ROWS, threads)))


def _scan(
    values: FloatArray, centroids: FloatArray, metric: AssignMetric, exact: int, threads: int
) -> Assignment:
    check(values, centroids, metric)
    return assign_prepared(values, prepare(centroids, metric, exact, _level().pack), threads)
