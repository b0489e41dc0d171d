"""Scores of stored vectors on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.rescore.exact import exact
from retrieval.kernels.rescore.prepared import Rows, as_rows, prepare_rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.rescore.steps import step_by_step
from retrieval.kernels.topk.cpu import select
from retrieval.types import FloatArray, IntArray

__all__ = ["Rows", "check_query", "prepare_rows", "rescore", "rescore_best", "score_exactly"]

_FLOAT, _INT = np.dtype(np.float32), np.dtype(np.int64)
_NO_ORDINALS, _NO_FLOATS = np.empty((0, 0), np.int64), np.empty((0, 0), np.float32)
_NO_LIMITS = np.empty(0, np.float32)


def rescore(
    queries: FloatArray,
    rows: NDArray[Any],
    ordinals: IntArray | None,
    metric: RescoreMetric = "dot",
    estimates: FloatArray | None = None,
    slacks: FloatArray | None = None,
    k: int = 0,
    steps: FloatArray | None = None,
) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.rescore.reference.rescore`; the same up to rounding."""
    if queries.dtype != _FLOAT or queries.ndim != 2 or not queries.shape[1]:
        raise ValueError(f"queries are {queries.dtype} {queries.shape}: they must be float32 (n_q, d)")
    if metric not in {"dot", "l2"}:
        raise ValueError(f"metric is {metric!r}: it must be dot or l2")
    stored, stride = as_rows(rows, queries.shape[1])
    n_queries, depth = len(queries), len(rows)
    if ordinals is not None:
        _check_candidates("ordinals", ordinals, _INT, n_queries)
        ordinals, depth = _own(ordinals), ordinals.shape[1]
    tops, scaled = _limits(estimates, slacks, k, ordinals), _scaled(steps, metric, rows)
    scores, visited = np.empty((n_queries, depth), np.float32), np.zeros(n_queries, np.int64)
    if depth and n_queries:
        asked = _NO_ORDINALS if ordinals is None else ordinals
        kernel, size = _score(simd_level()), stored.itemsize
        rest = stride, size, asked, metric == "l2", *tops, k, scores, visited
        wrong = kernel(_own(queries), scaled, stored, *rest)
        if wrong >= 0:
            _refuse(asked, len(rows))
    return scores, visited


def rescore_best(
    query: FloatArray,
    stored: Rows,
    ordinals: IntArray,
    k: int,
    slack: float,
    metric: RescoreMetric = "dot",
    estimates: FloatArray | None = None,
    errors: FloatArray | None = None,
    width: float = 0.0,
) -> tuple[IntArray, FloatArray, FloatArray, int]:
    """See `retrieval.kernels.rescore.reference.rescore_best`; the same up to rounding."""
    query = check_query(query, stored)
    _check_asked(ordinals, metric)
    if k < 1:
        raise ValueError(f"k is {k}: it must be at least 1")
    limits = _check_errors(estimates, errors, ordinals)
    if simd_level() != "avx512":
        rest = query, stored, ordinals, k, slack, metric, estimates, errors, width
        return step_by_step(rescore, select, score_exactly, *rest)
    depth = len(ordinals)
    kept, visited = np.empty(depth, np.int64), np.zeros(1, np.int64)
    scores, final = np.empty(depth, np.float32), np.empty(depth, np.float32)
    count = _best()(
        query,
        stored.read,
        stored.stride,
        stored.read.itemsize,
        stored.steps,
        stored.offsets,
        stored.span,
        stored.low,
        _own(ordinals),
        metric == "l2",
        *limits,
        width,
        k,
        slack,
        kept,
        scores,
        final,
        visited,
    )
    if count < 0:
        _refuse(ordinals, len(stored.read))
    return kept[:count], scores[:count], final[:count], int(visited[0])


def score_exactly(
    query: FloatArray, stored: Rows, ordinals: IntArray, metric: RescoreMetric = "dot"
) -> NDArray[np.float64]:
    """See `retrieval.kernels.rescore.reference.score_exactly`; the same up to rounding in float64."""
    query = check_query(query, stored)
    _check_asked(ordinals, metric)
    scores, size = np.empty(len(ordinals), np.float64), stored.read.itemsize
    rest = stored.span, stored.low, _own(ordinals), metric == "l2", scores
    if not exact(query, stored.read, size, *rest):
        _refuse(ordinals, len(stored.read))
    return scores


def check_query(query: FloatArray, stored: Rows) -> FloatArray:
    """The query as kernels take it.

    Raises:
        ValueError: a type or shape that does not fit.
    """
    dim = stored.read.shape[1]
    if query.dtype != _FLOAT or query.shape != (1, dim) or not dim:
        raise ValueError(f"the query is {query.dtype} {query.shape}: it must be float32 (1, {dim})")
    return _own(query)


def _check_asked(ordinals: IntArray, metric: str) -> None:
    """Raises ValueError: a type or shape that does not fit, an unknown metric."""
    if metric not in {"dot", "l2"}:
        raise ValueError(f"metric is {metric!r}: it must be dot or l2")
    if ordinals.dtype != _INT or ordinals.ndim != 1:
        raise ValueError(f"ordinals are {ordinals.dtype} {ordinals.shape}: they must be int64 (depth,)")


def _scaled(steps: FloatArray | None, metric: str, rows: NDArray[Any]) -> FloatArray:
    """The steps as kernels take them, empty for none.

    Raises:
        ValueError: a type or shape that does not fit; another metric than l2, or rows that are no bytes.
    """
    if steps is None:
        return _NO_LIMITS
    if metric != "l2" or rows.dtype != np.uint8:
        raise ValueError(f"steps are for l2 of uint8: the metric is {metric}, the rows are {rows.dtype}")
    dim = rows.shape[1]
    if steps.dtype != _FLOAT or steps.shape != (dim,):
        raise ValueError(f"steps are {steps.dtype} {steps.shape}: they must be float32 ({dim},)")
    return _own(steps)


def _check_errors(
    estimates: FloatArray | None, errors: FloatArray | None, ordinals: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Both, empty for none.

    Raises:
        ValueError: they do not fit the ordinals, or there is one without the other.
    """
    if estimates is None and errors is None:
        return _NO_LIMITS, _NO_LIMITS
    if estimates is None or errors is None:
        raise ValueError("to stop early, give estimates and errors together")
    for name, array in (("estimates", estimates), ("errors", errors)):
        if array.dtype != _FLOAT or array.shape != ordinals.shape:
            raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be float32 {ordinals.shape}")
    return _own(estimates), _own(errors)


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels are compiled for: contiguous, aligned and writable; else a copy."""
    return array if array.flags.carray and type(array) is np.ndarray else np.array(array, order="C")


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
    if not len(wrong):
        raise ValueError("ordinal -1: only rows can be scored exactly")
    raise ValueError(f"ordinal {wrong[0]}: there are {n} rows, and -1 for none")


@cache
def _score(level: str) -> Any:
    return import_module(f"retrieval.kernels.rescore.{level}").score


@cache
def _best() -> Any:
    return import_module("retrieval.kernels.rescore.best").best
