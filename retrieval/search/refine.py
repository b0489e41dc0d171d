"""Better scores for a pool: float64 over the stored codes, rounded once to float32.

Rounding last makes a score independent of where its document lies, so equal documents tie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Pool
from retrieval.kernels.maxsim.blas import maxsim_batch
from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray, Metric

__all__ = ["refine", "similarities"]

BLOCK_DOCUMENTS = 64
"""Documents gathered and widened to float64 at a time; bounds memory."""


def refine(query: FloatArray, pool: Pool, snapshot: Snapshot) -> FloatArray:
    """Scores of a pool's documents in its order, ``(n,)``; ``query`` is prepared, ``(n_q, d)``."""
    scores = np.empty(len(pool), dtype=np.float32)
    wide = query.astype(np.float64)
    for position in np.unique(pool.segments):
        mine = np.flatnonzero(pool.segments == position)
        for block in np.split(mine, range(BLOCK_DOCUMENTS, len(mine), BLOCK_DOCUMENTS)):
            values, offsets = _gather(snapshot, snapshot.segments[position], pool.ordinals[block])
            scores[block] = _exact_scores(wide, values, offsets, snapshot.record.metric)
    return scores


def similarities(
    query: NDArray[np.float64], values: NDArray[np.float64], metric: Metric
) -> NDArray[np.float64]:
    """Each query vector against each document vector, ``(n_q, n)``: inner product, or for l2 the
    negative distance."""
    if metric == "l2":
        # From the differences, not from |q|^2 - 2 q.x + |x|^2, which cancels for near neighbours.
        distances: NDArray[np.float64] = -np.linalg.norm(query[:, None] - values[None], axis=2)
        return distances
    products: NDArray[np.float64] = query @ values.T
    return products


def _exact_scores(
    query: NDArray[np.float64], values: NDArray[np.float64], offsets: IntArray, metric: Metric
) -> NDArray[np.float64]:
    """One prepared query against ragged documents, ``(n_documents,)``."""
    if metric == "l2":  # one vector on either side
        distances: NDArray[np.float64] = similarities(query, values, metric)[0]
        return distances
    scores: NDArray[np.float64] = maxsim_batch(query, np.array([0, len(query)]), values, offsets)[0]
    return scores


def _gather(
    snapshot: Snapshot, segment: SegmentView, ordinals: IntArray
) -> tuple[NDArray[np.float64], IntArray]:
    """The chosen documents' vectors back to back, decoded."""
    first = segment.offsets[ordinals]
    if (segment.offsets[ordinals + 1] == first + 1).all():  # dense: one row a document
        return snapshot.codec.decode(segment.codes[first]).astype(np.float64), np.arange(len(first) + 1)
    codes: list[NDArray[Any]] = [segment.document_codes(int(ordinal)) for ordinal in ordinals]
    offsets = np.zeros(len(codes) + 1, dtype=np.int64)
    np.cumsum([len(code) for code in codes], out=offsets[1:])
    return snapshot.codec.decode(np.concatenate(codes)).astype(np.float64), offsets
