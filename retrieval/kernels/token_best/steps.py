"""The best by tokens, step by step: what `token_best` is, whoever takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.token_best.prepared import TokenSegment
from retrieval.types import FloatArray, IntArray

__all__ = ["Best", "TokenDepth", "step_by_step"]


class TokenDepth(NamedTuple):
    """How hard to look: postings of the best ``n_probe`` centroids of each query token give the best
    ``gathered`` documents (0: all are taken); of these the best ``depth`` by all their centroids
    (``by_centroids``), or by the postings themselves, are scored exactly."""

    n_probe: int
    gathered: int
    depth: int
    by_centroids: bool


class Best(NamedTuple):
    """Documents ``(m,)`` int64 and their final scores float32, in the order of the estimates; how many
    postings and centroids were seen, and how many stored tokens there are of the candidates."""

    ordinals: IntArray
    scores: FloatArray
    scanned: int
    visited: int


def step_by_step(
    score_centroids: Callable[..., Any],
    gather: Callable[..., Any],
    centroid_maxsim: Callable[..., Any],
    select: Callable[..., Any],
    best_exactly: Callable[..., Any],
    probe: FloatArray,
    query: FloatArray,
    segment: TokenSegment,
    how: TokenDepth,
    k: int,
    slack: float,
    threads: int,
    accept: NDArray[np.bool_] | None,
) -> Best:
    """`retrieval.kernels.token_best.reference.token_best` by functions of one backend."""
    n, tokens = len(segment.starts) - 1, segment.tokens
    if accept is not None and (accept.dtype != np.bool_ or accept.shape != (n,)):
        raise ValueError(f"accept is {accept.dtype} {accept.shape}: it must be bool ({n},)")
    found = score_centroids(probe, segment.centroids, how.n_probe, how.by_centroids)
    ordinals, scanned = np.arange(n) if accept is None else np.flatnonzero(accept), 0
    estimates = np.zeros(len(ordinals), np.float32)
    if how.gathered:
        postings = segment.posting_starts, segment.postings, n
        missing = np.ascontiguousarray(found.scores[:, -1])
        ordinals, estimates = gather(found.probes, found.scores, *postings, accept, missing, threads)
        kept = select(estimates, how.gathered, 0.0)
        ordinals, estimates = ordinals[kept], estimates[kept]
        scanned = int((segment.posting_starts[found.probes + 1] - segment.posting_starts[found.probes]).sum())
    if how.by_centroids:
        sums = centroid_maxsim(found.table, segment.named, segment.starts, ordinals)
        estimates = found.score_table().restore(sums)
        scanned += int((segment.starts[ordinals + 1] - segment.starts[ordinals]).sum())
    ordinals = ordinals[np.lexsort((ordinals, -estimates))[: how.depth]]
    visited = int((tokens.offsets[ordinals + 1] - tokens.offsets[ordinals]).sum())
    kept, scores = best_exactly(query, tokens, ordinals, k, slack, threads)
    return Best(kept, scores, scanned, visited)
