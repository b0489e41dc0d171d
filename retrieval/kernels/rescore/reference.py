"""Scores of stored vectors in plain NumPy: the definition."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.rescore.prepared import Rows, prepare_rows
from retrieval.kernels.rescore.steps import step_by_step
from retrieval.kernels.topk.reference import select
from retrieval.types import FloatArray, IntArray

__all__ = ["RescoreMetric", "Rows", "prepare_rows", "rescore", "rescore_best", "score_exactly"]

RescoreMetric = Literal["dot", "l2"]
"""``dot``: inner product; ``l2``: minus the squared distance. Larger is better."""


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
    """Score the vectors ``rows[ordinals[q]]`` for each query: ``(scores (n_q, depth), visited (n_q,))``.

    ``queries`` ``(n_q, d)`` float32; ``rows`` ``(n, d)`` float32, float16 or uint8 (plain numbers from 0 to
    255: the caller folds scale and offset into query and result), a row contiguous, rows any distance
    apart, such as the prefixes ``stored[:, :d]``. ``ordinals`` ``(n_q, depth)`` int64, -1 for none; None:
    all rows, in order. Products are added up in float32, here in float64; a place that was not scored
    has minus infinity. ``visited`` counts those that were.

    With ``estimates`` and ``slacks`` ``(n_q, depth)`` float32 a candidate is taken to score at most
    ``estimate + slack``: when none of those still to come reaches the ``k``-th best score, the rest of the
    row is left. The best ``k`` are then as without a stop.

    With ``steps`` ``(d,)`` float32, for l2 of uint8, numbers of dimension ``j`` count ``steps[j]`` each.

    Raises:
        ValueError: a type or shape that does not fit, an ordinal of no row, one of estimates and slacks
            without the other or without ``k``, steps for anything else.
    """
    wide, asked = rows.astype(np.float64), queries.astype(np.float64)
    if steps is not None:
        wide = wide * steps
    if ordinals is None:
        ordinals = np.broadcast_to(np.arange(len(rows)), (len(queries), len(rows)))
    scores, visited = np.full(ordinals.shape, -np.inf, np.float32), np.zeros(len(queries), np.int64)
    for q, row in enumerate(ordinals):
        tops = np.full(len(row), np.inf, np.float32)
        if estimates is not None and slacks is not None:
            tops = np.where(row < 0, np.float32(-np.inf), estimates[q] + slacks[q])
            tops = np.maximum.accumulate(tops[::-1])[::-1]
        for i, ordinal in enumerate(row):
            if visited[q] >= k > 0 and np.sort(scores[q, :i])[-k] > tops[i]:
                break
            if ordinal >= 0:
                x = wide[ordinal]
                scores[q, i] = asked[q] @ x if metric == "dot" else -np.square(asked[q] - x).sum()
                visited[q] += 1
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
    """Of one query's candidates those that may be among the best ``k``: ``(ordinals (m,), scores (m,),
    final (m,), visited)``, the best final score first, equal ones in the order in which they came.

    ``query`` ``(1, d)`` is float32. Scores are inner products with what the numbers of ``stored`` stand
    for; with l2 ``2 q . x - |x|^2``, which orders as distances do. Kept is what is scored and at least the
    ``k``-th best score minus ``slack``; all of it where there is no more than ``k``.

    With ``estimates`` and ``errors`` ``(depth,)`` float32 a candidate is taken to score at most
    ``estimate + width * error``, and refine stops as in `rescore`. ``visited`` counts what was scored;
    ``final`` is `score_exactly` of what is kept, rounded to float32.

    Raises:
        ValueError: a type or shape that does not fit, an ordinal of no row, ``k`` below 1, one of
            estimates and errors without the other.
    """
    rest = query, stored, ordinals, k, slack, metric, estimates, errors, width
    return step_by_step(rescore, select, score_exactly, *rest)


def score_exactly(
    query: FloatArray, stored: Rows, ordinals: IntArray, metric: RescoreMetric = "dot"
) -> NDArray[np.float64]:
    """Scores ``(n,)`` in float64 of one query ``(1, d)`` float32 with what some rows stand for: inner
    products, with l2 minus the distance. Equal rows have equal scores, bit for bit.

    Raises:
        ValueError: a type or shape that does not fit, an ordinal of no row.
    """
    values = stored.rows[ordinals].astype(np.float32)
    if len(stored.span):
        values = (values + np.float32(0.5)) / np.float32(255) * stored.span + stored.low
    wide, asked = values.astype(np.float64), query[0].astype(np.float64)
    if metric == "l2":
        distances: NDArray[np.float64] = -np.sqrt(np.square(asked - wide).sum(axis=1))
        return distances
    products: NDArray[np.float64] = (wide * asked).sum(axis=1)
    return products
