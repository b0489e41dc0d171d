"""How a search goes about it: score everything, score what the filter accepts, or probe the index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from retrieval.config import SearchConfig
from retrieval.index import Effort, Work
from retrieval.search.accept import Accept
from retrieval.search.curve import ROW_COST, Choice
from retrieval.search.prepared import CHOICES, Prepared
from retrieval.storage import SegmentView, Snapshot

__all__ = ["Mode", "Plan", "make_plan"]

Mode = Literal["exact", "probe"]

OVERHEAD = 20_000.0
"""Nanoseconds that probing one segment costs before anything is scanned."""
DEFAULT_EFFORT = Effort()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with each segment of a snapshot, and how hard to look where it is probed.

    ``expected_recall`` is the measured one of this effort, None where nothing was measured or
    everything is exact; ``counts`` are the accepted documents of each segment. ``is_measured``: the effort
    comes from the recall curve, not from the caller.
    """

    modes: tuple[Mode, ...]
    effort: Effort
    target: float | None
    expected_recall: float | None
    counts: tuple[int, ...]
    selectivity: float
    is_measured: bool = False
    budget_ms: float | None = None

    @property
    def accepted(self) -> int:
        """Accepted documents of all segments."""
        return sum(self.counts)


def make_plan(prepared: Prepared, accept: Accept, k: int, wanted: SearchConfig) -> Plan:
    """Choose for one search of the best ``k``; what ``wanted`` leaves open, the recipe says. Without a filter
    that is done once."""
    if accept is not prepared.snapshot.live:
        return _planned(prepared, accept, k, wanted)
    plan = prepared.plans.get((k, wanted))
    if plan is None:
        if len(prepared.plans) >= CHOICES:
            prepared.plans.clear()
        plan = prepared.plans[k, wanted] = _planned(prepared, accept, k, wanted)
    return plan


def _planned(prepared: Prepared, accept: Accept, k: int, wanted: SearchConfig) -> Plan:
    snapshot, counts = prepared.snapshot, prepared.counts(accept)
    there = prepared.documents
    selectivity = sum(counts) / there if there else 1.0
    target = wanted.recall_target if wanted.recall_target is not None else snapshot.record.recall_target
    if wanted.exact or target >= 1 or snapshot.trained.pipeline is None:
        modes, budget = _all_exact(snapshot), wanted.budget_ms
        return Plan(modes, DEFAULT_EFFORT, None, None, counts, selectivity, budget_ms=budget)
    choice = _choice(prepared, k, target, selectivity, wanted.budget_ms)
    effort, recall = _changed(choice.effort, k, wanted, prepared.threads), choice.recall
    # Who asks for so many lists means to probe, whatever it costs.
    asked = bool(wanted.num_candidates or wanted.nprobe or wanted.ef_search or wanted.num_scored)
    modes = tuple(
        _mode(view, count, choice, view.n_documents / max(there, 1), asked)
        for view, count in zip(snapshot.segments, counts, strict=True)
    )
    # What was measured is neither a filter's recall, nor that of an index that has outgrown it.
    is_promised = not asked and selectivity >= 1 and prepared.growth == 1
    expected = recall if is_promised and "probe" in modes else None
    return Plan(modes, effort, target, expected, counts, selectivity, not asked, wanted.budget_ms)


def _all_exact(snapshot: Snapshot) -> tuple[Mode, ...]:
    return tuple("exact" for _ in snapshot.segments)


def _choice(prepared: Prepared, k: int, target: float, selectivity: float, budget_ms: float | None) -> Choice:
    """The effort for a target; one that is no promise where nothing was measured."""
    if prepared.choose is None:
        effort = replace(DEFAULT_EFFORT, depth=max(10 * k, DEFAULT_EFFORT.depth))
        return Choice(effort, None, float(prepared.documents), ROW_COST, reached=False)
    return prepared.choose(k, target, selectivity, prepared.documents, budget_ms)


def _changed(effort: Effort, k: int, wanted: SearchConfig, threads: int) -> Effort:
    return Effort(
        depth=max(k, wanted.num_candidates or effort.depth),
        nprobe=wanted.nprobe or effort.nprobe,
        ef_search=wanted.ef_search or effort.ef_search,
        accepted=0.0 if wanted.nprobe else effort.accepted,
        scored=wanted.num_scored or effort.scored,
        threads=threads,
    )


def _mode(view: SegmentView, accepted: int, choice: Choice, share: float, asked: bool) -> Mode:
    """Whether scoring the accepted documents one by one is cheaper than probing; ``share`` of all documents
    lie in this segment."""
    if view.search is None or asked:
        return "exact" if view.search is None else "probe"
    probing = OVERHEAD + share * choice.finding + min(choice.effort.depth, accepted) * choice.row_cost
    return "exact" if accepted * choice.row_cost <= probing else "probe"


def describe(plan: Plan, work: Work) -> dict[str, Any]:
    """The plan and what was done by it, as a JSON value. Counts are of all queries of the batch."""
    told: dict[str, Any] = {
        "segments": dict(work.modes),
        "codes_scanned": work.codes,
        "vectors_read": work.vectors,
        "pages_read": work.pages,
        "accepted": plan.accepted,
        "selectivity": plan.selectivity,
        "recall_target": plan.target,
        "expected_recall": plan.expected_recall,
        "budget_ms": plan.budget_ms,
    }
    if "probe" in plan.modes:
        told |= {
            "nprobe": plan.effort.nprobe,
            "num_candidates": plan.effort.depth,
            "ef_search": plan.effort.ef_search,
            "num_scored": plan.effort.scored,
        }
    return told
