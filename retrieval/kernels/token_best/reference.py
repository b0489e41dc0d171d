"""The best of one segment by centroids and stored tokens, in plain NumPy: the definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.centroid_maxsim.reference import centroid_maxsim
from retrieval.kernels.centroid_scores.reference import score_centroids
from retrieval.kernels.gather.reference import gather
from retrieval.kernels.token_best.prepared import TokenSegment
from retrieval.kernels.token_best.steps import Best, TokenDepth, step_by_step
from retrieval.kernels.token_rescore.reference import best_exactly
from retrieval.kernels.topk.reference import select
from retrieval.types import FloatArray

__all__ = ["Best", "TokenDepth", "TokenSegment", "token_best"]


def token_best(
    probe: FloatArray,
    query: FloatArray,
    segment: TokenSegment,
    how: TokenDepth,
    k: int,
    slack: float,
    threads: int = 1,
    accept: NDArray[np.bool_] | None = None,
) -> Best:
    """The best ``k`` of a segment by its stored tokens, of those that its centroids find: `Best`. With
    ``accept`` ``(n,)`` of the documents for which it is true.

    ``probe`` ``(n_q, d_centroids)`` float32 is scored with the centroids (`score_centroids`), its best ones'
    postings are followed (`gather`; what a document lacks counts as the worst centroid probed), what they
    name is scored by all its centroids (`centroid_maxsim`), and the best of that by ``query``
    ``(n_q, d_stored)``, the same where nothing was reduced (`best_exactly`, for ``slack`` see there).
    `TokenDepth` says how many. So many ``threads`` may share it.

    Raises:
        ValueError: as the steps do.
    """
    steps = score_centroids, gather, centroid_maxsim, select, best_exactly
    return step_by_step(*steps, probe, query, segment, how, k, slack, threads, accept)
