"""What a reducer loses, measured on vectors that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.topk import topk_rows
from retrieval.reduce.base import Reducer
from retrieval.types import FloatArray

__all__ = ["ReducerError", "held_out_error"]

QUERIES = 32
"""Queries scored at a time; bounds memory."""
BEST = 10


@dataclass(frozen=True, slots=True)
class ReducerError:
    """How far reduced inner products are from the full ones; both relative to the full ones' deviation.

    That deviation is taken within each query, over its documents. ``rms`` is the root mean square error
    after each query's mean error, which is the same for all its documents and so changes no ranking, is
    taken off; ``shift`` is the root mean square of those mean errors, which whoever compares estimates
    with full scores must allow for. ``recall`` is the share of the full search's best 10 that the reduced
    search's best 10 holds.
    """

    rms: float
    shift: float
    recall: float


def held_out_error(reducer: Reducer, documents: FloatArray, queries: FloatArray) -> ReducerError:
    """Compare ``A(q) . B(x)`` with ``q . x`` for documents ``(n, d)`` and queries ``(m, d)``.

    A document that ties with the tenth best counts as one of the best. Should all full inner products of
    a query be equal while the reduced ones are not, the errors are infinite.

    Raises:
        ValueError: no documents, no queries, or vectors of another dimension.
    """
    if not len(documents) or not len(queries):
        raise ValueError(
            f"there are {len(documents)} documents and {len(queries)} queries: it takes some of both"
        )
    reduced = reducer.transform_documents(documents)
    short = reducer.transform_queries(queries)
    sums, found = np.zeros(3), 0
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        full, estimates = queries[part] @ documents.T, short[part] @ reduced.T
        sums += _squares(full.astype(np.float64), estimates.astype(np.float64))
        found += _found(full, estimates)
    rms, shift = _ratio(sums[0], sums[2]), _ratio(sums[1], sums[2])
    return ReducerError(rms, shift, found / (len(queries) * min(BEST, len(documents))))


def _squares(full: NDArray[np.float64], estimates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of squares: errors without their means, those means, and full scores without theirs."""
    errors = estimates - full
    shifts = errors.mean(axis=1, keepdims=True)
    deviations = full - full.mean(axis=1, keepdims=True)
    each = (
        np.square(errors - shifts).sum(),
        np.square(shifts).sum() * full.shape[1],
        np.square(deviations).sum(),
    )
    return np.array(each)


def _found(full: FloatArray, estimates: FloatArray) -> int:
    """How many of the best by estimates are among the best by full scores, of all queries together."""
    tenth = topk_rows(full, BEST)[0][:, -1:]
    ordinals = topk_rows(estimates, BEST)[1]
    return int(np.count_nonzero(np.take_along_axis(full, ordinals, axis=1) >= tenth))


def _ratio(square: float, of: float) -> float:
    if square == 0:
        return 0.0
    return float(np.sqrt(square / of)) if of > 0 else float("inf")
