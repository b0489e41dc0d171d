"""The read path: candidates per segment -> merge -> refine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retrieval.index import FlatIndex, Pool, merge, prepare_queries
from retrieval.kernels.backend import Backend
from retrieval.search.accept import Accept
from retrieval.search.refine import refine
from retrieval.storage import Snapshot
from retrieval.types import FloatArray, Ragged

__all__ = ["Scored", "execute"]

MAX_QUERY_TOKENS = 1024
"""Query tokens scored in one pass over the codes; bounds memory, amortises reading them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A document of a snapshot and its final score."""

    id: str
    score: float
    segment: int
    ordinal: int


def execute(
    queries: Ragged, snapshot: Snapshot, accept: Accept, k: int, backend: Backend = "cpu"
) -> tuple[list[list[Scored]], dict[str, float]]:
    """The best ``k`` accepted documents of each query, score descending, then id ascending.

    Returns them with the seconds spent per stage (``candidates``, ``refine``).
    """
    seconds = {"candidates": 0.0, "refine": 0.0}
    results: list[list[Scored]] = []
    for part in _parts(prepare_queries(queries, snapshot.record.metric)):
        started = time.perf_counter()
        pools = [Pool.empty()] * len(part)
        for index, mask in zip(_indexes(snapshot, backend), accept, strict=True):
            found = index.candidates(part, k, mask)
            pools = [merge([old, new], k) for old, new in zip(pools, found, strict=True)]
        seconds["candidates"] += time.perf_counter() - started
        started = time.perf_counter()
        for query, pool in enumerate(pools):
            scores = refine(part[query], pool, snapshot)
            results.append(_best(pool, scores, snapshot, k))
        seconds["refine"] += time.perf_counter() - started
    return results, seconds


def _indexes(snapshot: Snapshot, backend: Backend) -> Iterator[FlatIndex]:
    for position, view in enumerate(snapshot.segments):
        metric = snapshot.record.metric
        yield FlatIndex(view.codes, view.offsets, snapshot.codec, metric, view.max_norm, position, backend)


def _parts(queries: Ragged) -> Iterator[Ragged]:
    """Runs of queries with at most `MAX_QUERY_TOKENS` tokens (one longer query: alone)."""
    first, n, offsets = 0, len(queries), queries.offsets
    while first < n:
        last = int(np.searchsorted(offsets, offsets[first] + MAX_QUERY_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), n)
        start = offsets[first]
        yield Ragged(queries.values[start : offsets[last]], offsets[first : last + 1] - start)
        first = last


def _best(pool: Pool, scores: FloatArray, snapshot: Snapshot, k: int) -> list[Scored]:
    """Sort exactly and cut to ``k``; ``scores`` are the refined ones of the pool."""
    ids = np.empty(len(pool), dtype=object)
    for position in np.unique(pool.segments):
        mine = np.flatnonzero(pool.segments == position)
        ids[mine] = snapshot.segments[position].documents.ids(pool.ordinals[mine])
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
    return [Scored(ids[i], float(scores[i]), int(pool.segments[i]), int(pool.ordinals[i])) for i in order]
