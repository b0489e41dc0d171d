"""Scores of stored vectors on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.types import FloatArray, IntArray

__all__ = ["rescore"]

_FLOAT, _INT, _HALF, _BYTE = (np.dtype(x) for x in (np.float32, np.int64, np.float16, np.uint8))
_NO_ORDINALS, _NO_FLOATS = np.empty((0, 0), np.int64), np.empty((0, 0), np.float32)


def rescore(
    queries: FloatArray,
    rows: NDArray[Any],
    ordinals: IntArray | None,
    metric: RescoreMetric = "dot",
    estimates: FloatArray | None = None,
    slacks: FloatArray | None = None,
    k: int = 0,
) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.rescore.reference.rescore`; the same up to rounding."""
    if queries.dtype != _FLOAT or queries.ndim != 2 or not queries.shape[1]:
        raise ValueError(f"queries are {queries.dtype} {queries.shape}: they must be float32 (n_q, d)")
    if metric not in {"dot", "l2"}:
        raise ValueError(f"metric is {metric!r}: it must be dot or l2")
    stored, stride = _rows(rows, queries.shape[1])
    n_queries, depth = len(queries), len(rows)
    if ordinals is not None:
        _check_candidates("ordinals", ordinals, _INT, n_queries)
        ordinals, depth = _own(ordinals), ordinals.shape[1]
    tops = _limits(estimates, slacks, k, ordinals)
    scores, visited = np.empty((n_queries, depth), np.float32), np.zeros(n_queries, np.int64)
    if depth and n_queries:
        asked = _NO_ORDINALS if ordinals is None else ordinals
        kernel, size = _score(simd_level()), stored.itemsize
        wrong = kernel(_own(queries), stored, stride, size, asked, metric == "l2", *tops, k, scores, visited)
        if wrong >= 0:
            _refuse(asked, len(rows))
    return scores, visited


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels are compiled for: contiguous, aligned and writable; else a copy."""
    return array if array.flags.carray and type(array) is np.ndarray else np.array(array, order="C")


def _rows(rows: NDArray[Any], dim: int) -> tuple[NDArray[Any], int]:
    """Rows as kernels read them, read-only, float16 as uint16; and how many elements they are apart.

    Raises:
        ValueError: a type, shape or order that does not fit.
    """
    if rows.dtype not in (_FLOAT, _HALF, _BYTE) or rows.ndim != 2 or rows.shape[1] != dim:
        raise ValueError(
            f"rows are {rows.dtype} {rows.shape}: they must be float32, float16 or uint8 (n, {dim})"
        )
    size = rows.itemsize
    apart, along = rows.strides if len(rows) > 1 else (dim * size, rows.strides[1])
    if rows.size and (
        (along != size and dim > 1) or apart % size or apart < dim * size or not rows.flags.aligned
    ):
        raise ValueError(
            f"rows have strides {rows.strides}: a row must be contiguous, rows aligned and apart"
        )
    if rows.dtype == _HALF:
        rows = rows.view(np.uint16)
    if type(rows) is not np.ndarray or rows.flags.writeable:
        rows = rows.view(np.ndarray)
        rows.flags.writeable = False
    return rows, apart // size


def _check_candidates(name: str, array: NDArray[Any], dtype: np.dtype[Any], n_queries: int) -> None:
    if array.dtype != dtype or array.ndim != 2 or len(array) != n_queries:
        raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be {dtype} ({n_queries}, depth)")


def _limits(
    estimates: FloatArray | None, slacks: FloatArray | None, k: int, ordinals: IntArray | None
) -> tuple[FloatArray, FloatArray]:
    """Estimates and slacks; both empty for none.

    Raises:
        ValueError: they do not fit the ordinals, or there is one without the other or without ``k``.
    """
    if k < 0:
        raise ValueError(f"k is {k}: it must not be negative")
    if estimates is None and slacks is None:
        return _NO_FLOATS, _NO_FLOATS
    if estimates is None or slacks is None or ordinals is None or not k:
        raise ValueError("to stop early, give ordinals, estimates, slacks and k above 0 together")
    for name, array in (("estimates", estimates), ("slacks", slacks)):
        if array.dtype != _FLOAT or array.shape != ordinals.shape:
            raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be float32 {ordinals.shape}")
    return _own(estimates), _own(slacks)


def _refuse(ordinals: IntArray, n: int) -> None:
    """Name an ordinal of no row.

    Raises:
        ValueError: always.
    """
    wrong = ordinals[(ordinals < -1) | (ordinals >= n)]
    raise ValueError(f"ordinal {wrong[0]}: there are {n} rows, and -1 for none")


@cache
def _score(level: str) -> Any:
    return import_module(f"retrieval.kernels.rescore.{level}").score
