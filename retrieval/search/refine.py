"""Better scores for a pool: float64 over the stored codes, rounded once to float32.

Rounding last makes a score independent of where its document lies, so equal documents tie.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Pool
from retrieval.kernels.rescore.cpu import score_exactly
from retrieval.kernels.token_rescore.cpu import maxsim_exactly
from retrieval.search.prepared import Prepared
from retrieval.types import FloatArray, Metric

__all__ = ["refine", "similarities"]


def refine(query: FloatArray, pool: Pool, prepared: Prepared) -> FloatArray:
    """Scores of a pool's documents in its order, ``(n,)``; ``query`` is prepared, ``(n_q, d)``."""
    if pool.final is not None:
        return pool.final
    scores = np.empty(len(pool), dtype=np.float32)
    record = prepared.snapshot.record
    metric: Literal["dot", "l2"] = "l2" if record.metric == "l2" else "dot"
    for position, mine in pool.by_segment():
        if record.kind == "dense":
            scores[mine] = score_exactly(query, prepared.rows(position), pool.ordinals[mine], metric)
        elif prepared.is_coded:
            some = prepared.decoded(position, pool.ordinals[mine])
            scores[mine] = maxsim_exactly(query, some, np.arange(len(some.offsets) - 1))
        else:
            tokens = prepared.tokens(position)
            scores[mine] = maxsim_exactly(query, tokens, pool.ordinals[mine], prepared.threads)
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
