"""The read path: plan -> candidates per segment -> merge -> refine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.config import SearchConfig
from retrieval.index import Arranged, FlatIndex, Pool, Work, merge, prepare_queries
from retrieval.kernels.backend import Backend
from retrieval.search.accept import Accept
from retrieval.search.plan import Plan, describe, make_plan
from retrieval.search.refine import refine
from retrieval.storage import Snapshot
from retrieval.types import FloatArray, Ragged

__all__ = ["Executed", "Scored", "execute"]

MAX_QUERY_TOKENS = 1024
"""Query tokens scored in one pass over the codes; bounds memory, amortises reading them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A document of a snapshot and its final score."""

    id: str
    score: float
    segment: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Executed:
    """The best documents of each query, seconds per stage, and what was done."""

    results: list[list[Scored]]
    seconds: dict[str, float]
    plan: dict[str, Any] = field(default_factory=dict)


def execute(
    queries: Ragged,
    snapshot: Snapshot,
    accept: Accept,
    k: int,
    backend: Backend = "cpu",
    wanted: SearchConfig | None = None,
    is_detailed: bool = False,
) -> Executed:
    """The best ``k`` accepted documents of each query, score descending, then id ascending.

    The stages are ``plan``, ``candidates`` and ``refine``; ``wanted`` says how hard to look;
    ``is_detailed`` also counts the pages read.
    """
    started = time.perf_counter()
    plan = make_plan(snapshot, accept, k, wanted or SearchConfig())
    seconds = {"plan": time.perf_counter() - started, "candidates": 0.0, "refine": 0.0}
    search = _Search(snapshot, accept, k, plan, backend, is_detailed)
    results: list[list[Scored]] = []
    for part in _parts(prepare_queries(queries, snapshot.record.metric)):
        started = time.perf_counter()
        pools = search.candidates(part)
        seconds["candidates"] += time.perf_counter() - started
        started = time.perf_counter()
        for query, pool in enumerate(pools):
            scores = refine(part[query], pool, snapshot)
            results.append(_best(pool, scores, snapshot, k))
        seconds["refine"] += time.perf_counter() - started
    return Executed(results, seconds, describe(plan, search.work))


class _Search:
    """One search of a snapshot: its plan, and what was done so far."""

    def __init__(
        self,
        snapshot: Snapshot,
        accept: Accept,
        k: int,
        plan: Plan,
        backend: Backend,
        is_detailed: bool,
    ) -> None:
        self._snapshot, self._accept, self._k = snapshot, accept, k
        self._plan, self._backend = plan, backend
        self.work = Work(is_detailed=is_detailed)

    def candidates(self, queries: Ragged) -> list[Pool]:
        """For each prepared query what may be among its best, of all segments."""
        pools = [Pool.empty()] * len(queries)
        pipeline = self._snapshot.trained.pipeline
        probes = pipeline.reduce_queries(queries.values) if pipeline and "probe" in self._plan.modes else None
        for position, mask in enumerate(self._accept):
            if probes is not None and self._plan.modes[position] == "probe":
                found = self._probe(position, queries, probes, mask)
            else:
                found = self._exact(position, queries, mask)
            pools = [merge([old, new], self._k) for old, new in zip(pools, found, strict=True)]
        return pools

    def _exact(self, position: int, queries: Ragged, mask: NDArray[np.bool_] | None) -> list[Pool]:
        view, metric = self._snapshot.segments[position], self._snapshot.record.metric
        codec = self._snapshot.codec
        index = FlatIndex(view.codes, view.offsets, codec, metric, view.max_norm, position, self._backend)
        self.work.count("exact")
        self.work.vectors += int(
            view.offsets[-1] if mask is None else (view.offsets[1:] - view.offsets[:-1])[mask].sum()
        )
        return index.candidates(queries, self._k, mask)

    def _probe(
        self, position: int, queries: Ragged, probes: FloatArray, mask: NDArray[np.bool_] | None
    ) -> list[Pool]:
        """Candidates of the trained search; where it found fewer than there are, exactly after all."""
        snapshot, view = self._snapshot, self._snapshot.segments[position]
        assert view.search is not None and snapshot.trained.pipeline is not None  # the plan says so
        index = Arranged(
            view.search,
            view.codes,
            snapshot.codec,
            snapshot.record.metric,
            view.max_norm,
            position,
            is_bounded=snapshot.trained.pipeline.reducer is None,
            backend=self._backend,
        )
        self.work.count("probe")
        found = index.candidates(queries.values, probes, self._k, self._plan.effort, mask, self.work)
        there = view.n_documents if mask is None else int(np.count_nonzero(mask))
        for i, pool in enumerate(found):
            if len(pool) < min(self._k, there):
                alone = Ragged(queries[i], np.array([0, len(queries[i])]))
                found[i] = self._exact(position, alone, mask)[0]
        return found


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
