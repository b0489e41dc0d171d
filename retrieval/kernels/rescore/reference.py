"""Scores of stored vectors in plain NumPy: the definition."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["RescoreMetric", "rescore"]

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

    Raises:
        ValueError: a type or shape that does not fit, an ordinal of no row, one of estimates and slacks
            without the other or without ``k``.
    """
    wide, asked = rows.astype(np.float64), queries.astype(np.float64)
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
