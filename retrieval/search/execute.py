"""The read path: plan -> candidates per segment -> merge -> refine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.config import SearchConfig
from retrieval.index import Pool, Work, merge, prepare_queries
from retrieval.search.accept import Accept
from retrieval.search.plan import Plan, describe, make_plan
from retrieval.search.prepared import Prepared
from retrieval.search.refine import refine
from retrieval.storage import Snapshot
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["Executed", "Scored", "best", "execute"]

NEAR = 32
"""Neighbours of a query that tell what a filter accepts around it."""
FEW = 32
"""Documents that are sorted one by one; more of them first by their scores alone, which seldom tie."""
MAX_QUERY_TOKENS = 1024
"""Query tokens scored in one pass over the codes; bounds memory, amortises reading them."""
DEFAULTS = SearchConfig()


class Scored(NamedTuple):
    """A document of a snapshot and its final score."""

    id: str
    score: float
    segment: int
    ordinal: int


_scored = partial(tuple.__new__, Scored)
"""`Scored` of a tuple of its fields, without Python for each."""


@dataclass(frozen=True, slots=True)
class Executed:
    """The best documents of each query, seconds per stage, and what was done."""

    results: list[list[Scored]]
    seconds: dict[str, float]
    plan: dict[str, Any] = field(default_factory=dict)


def execute(
    queries: Ragged,
    snapshot: Snapshot | Prepared,
    accept: Accept,
    k: int,
    wanted: SearchConfig = DEFAULTS,
    is_detailed: bool = False,
) -> Executed:
    """The best ``k`` accepted documents of each query, score descending, then id ascending.

    The stages are ``plan``, ``candidates`` and ``refine``; ``wanted`` says how hard to look;
    ``is_detailed`` also counts the pages read, and tells the plan. Whoever searches a snapshot more than
    once gives it `Prepared`.
    """
    started = time.perf_counter()
    prepared = snapshot if isinstance(snapshot, Prepared) else Prepared(snapshot)
    plan = make_plan(prepared, accept, k, wanted)
    seconds = {"plan": time.perf_counter() - started, "candidates": 0.0, "refine": 0.0}
    search = _Search(prepared, accept, k, plan, is_detailed)
    results: list[list[Scored]] = []
    for part in _parts(prepare_queries(queries, prepared.snapshot.record.metric)):
        started = time.perf_counter()
        pools = search.candidates(part)
        found = time.perf_counter()
        for query, pool in enumerate(pools):
            scores = refine(part[query], pool, prepared)
            results.append(best(pool, scores, prepared.snapshot, k))
        seconds["candidates"] += found - started
        seconds["refine"] += time.perf_counter() - found
    return Executed(results, seconds, describe(plan, search.work) if is_detailed else {})


class _Search:
    """One search of a snapshot: its plan, and what was done so far."""

    def __init__(self, prepared: Prepared, accept: Accept, k: int, plan: Plan, is_detailed: bool) -> None:
        self._prepared, self._accept, self._k, self._plan = prepared, accept, k, plan
        self.work = Work(is_detailed=is_detailed)

    def candidates(self, queries: Ragged) -> list[Pool]:
        """For each prepared query what may be among its best, of all segments."""
        pools: list[Pool] = []
        pipeline = self._prepared.snapshot.trained.pipeline
        probes = pipeline.reduce_queries(queries) if pipeline and "probe" in self._plan.modes else None
        for position, mask in enumerate(self._accept):
            if probes is not None and self._plan.modes[position] == "probe":
                found = self._probe(position, queries, probes, mask)
            else:
                found = self._exact(position, queries, mask)
            both = zip(pools, found, strict=True)
            pools = [merge([old, new], self._k) for old, new in both] if position else found
        return pools or [Pool.empty()] * len(queries)

    def _exact(self, position: int, queries: Ragged, mask: NDArray[np.bool_] | None) -> list[Pool]:
        offsets = self._prepared.snapshot.segments[position].offsets
        self.work.count("exact")
        self.work.vectors += int(offsets[-1] if mask is None else (offsets[1:] - offsets[:-1])[mask].sum())
        return self._prepared.flat(position).candidates(queries, self._k, mask)

    def _probe(
        self, position: int, queries: Ragged, probes: Ragged, mask: NDArray[np.bool_] | None
    ) -> list[Pool]:
        """Candidates of the trained search; exactly after all where it found fewer than there are, or where
        the filter accepts little of what is near the query."""
        index, effort = self._prepared.arranged(position), self._plan.effort
        self.work.count("probe")
        found = index.candidates(queries, probes, self._k, effort, mask, self.work)
        enough, far = min(self._k, self._plan.counts[position]), self._far(position, probes, mask)
        for i, pool in enumerate(found):
            if i in far or len(pool) < enough:
                alone = Ragged(queries[i], np.array([0, len(queries[i])]))
                found[i] = self._exact(position, alone, mask)[0]
        return found

    def _far(self, position: int, probes: Ragged, mask: NDArray[np.bool_] | None) -> set[int]:
        """Queries around which far fewer documents are accepted than everywhere. The best accepted ones
        then lie beyond those that the recall curve was measured on, hardly told apart by their codes."""
        plan, view = self._plan, self._prepared.snapshot.segments[position]
        if mask is None or mask is view.live or not plan.is_measured or view.search is None:
            return set()
        effort = replace(plan.effort, depth=NEAR, accepted=0.0, scored=NEAR)
        share = plan.counts[position] / view.n_documents
        near = view.search.search(probes, effort, view.live)
        return {i for i, one in enumerate(near) if mask[one.ordinals].sum() < share / 2 * len(one.ordinals)}


def _parts(queries: Ragged) -> Iterator[Ragged]:
    """Runs of queries with at most `MAX_QUERY_TOKENS` tokens (one longer query: alone)."""
    first, n, offsets = 0, len(queries), queries.offsets
    if n and len(queries.values) <= MAX_QUERY_TOKENS:
        yield queries
        return
    while first < n:
        last = int(np.searchsorted(offsets, offsets[first] + MAX_QUERY_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), n)
        start = offsets[first]
        yield Ragged(queries.values[start : offsets[last]], offsets[first : last + 1] - start)
        first = last


def best(pool: Pool, scores: FloatArray, snapshot: Snapshot, k: int) -> list[Scored]:
    """Sort exactly and cut to ``k``, score descending, then id ascending; ``scores`` ``(n,)`` are the final
    ones of the pool."""
    if len(pool) > FEW and len(snapshot.segments) == 1:
        order = np.argsort(-scores, kind="stable")[: k + 1]
        ranked = scores[order].tolist()
        if len(set(ranked)) == len(ranked):
            order = order[:k]
            ordinals = pool.ordinals[order]
            ids = snapshot.segments[0].documents.ids(ordinals)
            return list(map(_scored, zip(ids, ranked, repeat(0), ordinals.tolist(), strict=False)))
    found: list[tuple[float, str, int, int]] = []
    every: Iterable[tuple[int, IntArray | slice]] = ((0, slice(None)),)
    for position, mine in pool.by_segment() if len(snapshot.segments) != 1 else every:
        ordinals = pool.ordinals[mine]
        ids = snapshot.segments[position].documents.ids(ordinals)
        found += zip((-scores[mine]).tolist(), ids, repeat(position), ordinals.tolist(), strict=False)
    found.sort()  # no id comes twice
    return [Scored(doc_id, -worse, position, ordinal) for worse, doc_id, position, ordinal in found[:k]]
