"""Better scores for a pool: float64 over the stored codes, rounded once to float32.

Rounding last makes a score independent of where its document lies, so equal documents tie.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Pool
from retrieval.kernels.maxsim.blas import maxsim_batch
from retrieval.kernels.rescore.cpu import score_exactly
from retrieval.search.prepared import Prepared
from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray, Metric

__all__ = ["refine", "similarities"]

BLOCK_DOCUMENTS = 64
"""Documents gathered and widened to float64 at a time; bounds memory."""


def refine(query: FloatArray, pool: Pool, prepared: Prepared) -> FloatArray:
    """Scores of a pool's documents in its order, ``(n,)``; ``query`` is prepared, ``(n_q, d)``."""
    scores = np.empty(len(pool), dtype=np.float32)
    record = prepared.snapshot.record
    metric: Literal["dot", "l2"] = "l2" if record.metric == "l2" else "dot"
    for position, mine in pool.by_segment():
        if record.kind == "dense":
            scores[mine] = score_exactly(query, prepared.rows(position), pool.ordinals[mine], metric)
        else:
            scores[mine] = _maxsim(query, pool.ordinals[mine], prepared.snapshot, position)
    return scores


def _maxsim(query: FloatArray, ordinals: IntArray, snapshot: Snapshot, position: int) -> FloatArray:
    """One query's tokens against those of documents of a segment."""
    scores, wide = np.empty(len(ordinals), dtype=np.float32), query.astype(np.float64)
    every = np.array([0, len(query)])
    for first in range(0, len(ordinals), BLOCK_DOCUMENTS):
        block = slice(first, first + BLOCK_DOCUMENTS)
        values, offsets = _gather(snapshot, snapshot.segments[position], ordinals[block])
        scores[block] = maxsim_batch(wide, every, values, offsets)[0]
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


def _gather(
    snapshot: Snapshot, segment: SegmentView, ordinals: IntArray
) -> tuple[NDArray[np.float64], IntArray]:
    """The chosen documents' vectors back to back, decoded."""
    codes: list[NDArray[Any]] = [segment.document_codes(int(ordinal)) for ordinal in ordinals]
    offsets = np.zeros(len(codes) + 1, dtype=np.int64)
    np.cumsum([len(code) for code in codes], out=offsets[1:])
    return snapshot.codec.decode(np.concatenate(codes)).astype(np.float64), offsets
