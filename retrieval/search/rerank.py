"""Exact scores of documents that somebody else has found."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from retrieval.index import Pool, prepare_queries
from retrieval.search.execute import Scored, best
from retrieval.search.prepared import Prepared
from retrieval.search.refine import refine
from retrieval.types import Ragged

__all__ = ["Place", "rerank"]

Place = tuple[int, int]
"""Where a document of a snapshot is: position of its segment, ordinal there."""


def rerank(
    queries: Ragged, prepared: Prepared, places: Sequence[Collection[Place]], k: int | None = None
) -> list[list[Scored]]:
    """The best ``k`` (None: all) of the documents at ``places[i]`` for query ``i``, by the scores that
    `execute` would give them: score descending, then id ascending."""
    ready = prepare_queries(queries, prepared.snapshot.record.metric)
    results = []
    for query, mine in enumerate(places):
        segments, ordinals = np.array(sorted(mine), dtype=np.int64).reshape(-1, 2).T.copy()
        pool = Pool(segments, ordinals, np.zeros(len(ordinals), dtype=np.float32), 0.0)
        scores = refine(ready[query], pool, prepared)
        results.append(best(pool, scores, prepared.snapshot, len(pool) if k is None else k))
    return results
