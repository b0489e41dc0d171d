"""The effort that a recall target needs, from measured points."""

from __future__ import annotations

import pytest

from retrieval.errors import IndexDamagedError
from retrieval.search import CurvePoint, RecallCurve
from retrieval.search.curve import frontier


def point(k: int, nprobe: int, depth: int, recall: float, error: float = 0.0) -> CurvePoint:
    return CurvePoint(k, nprobe, 0, depth, recall, error, scanned=100.0 * nprobe)


CURVE = RecallCurve(
    documents=6400,
    queries=100,
    nlist=64,
    points=(
        point(10, 1, 20, 0.6),
        point(10, 4, 20, 0.9),
        point(10, 4, 45, 0.95),
        point(10, 16, 20, 0.96),
        point(10, 64, 100, 0.999),
        point(100, 4, 100, 0.7),
        point(100, 16, 200, 0.92),
        point(100, 64, 400, 0.99),
    ),
)


def test_the_cheapest_effort_that_reaches_the_target() -> None:
    assert (CURVE.choose(10, 0.9).effort.nprobe, CURVE.choose(10, 0.9).effort.depth) == (4, 20)
    assert (CURVE.choose(10, 0.95).effort.nprobe, CURVE.choose(10, 0.95).effort.depth) == (4, 45)
    chosen = CURVE.choose(10, 0.99)
    assert (chosen.effort.nprobe, chosen.effort.depth, chosen.reached) == (64, 100, True)


def test_a_smaller_k_uses_the_next_larger_measured() -> None:
    assert CURVE.choose(3, 0.9) == CURVE.choose(10, 0.9)
    assert CURVE.choose(11, 0.9).effort.nprobe == 16


def test_a_k_beyond_the_measured_stretches_the_largest() -> None:
    effort = CURVE.choose(200, 0.9).effort
    assert effort.nprobe == 32
    assert effort.depth == 400


def test_a_filter_widens_the_probes() -> None:
    everything, tenth = CURVE.choose(10, 0.9), CURVE.choose(10, 0.9, selectivity=0.1)
    assert tenth.effort.nprobe == 16  # the point of k = 100
    assert tenth.effort.depth == everything.effort.depth
    assert CURVE.choose(10, 0.9, selectivity=1e-6).effort.nprobe == 64  # never more lists than there are


def test_a_filter_refines_as_many_times_k_as_the_larger_k_needs() -> None:
    points = point(10, 4, 12, 0.95), point(100, 16, 300, 0.95)
    curve = RecallCurve(6400, 100, 64, points)
    assert curve.choose(10, 0.9).effort.depth == 12
    assert curve.choose(10, 0.9, selectivity=0.1).effort.depth == 30  # 3 k
    assert curve.choose(5, 0.9, selectivity=0.1).effort.depth == 15


def test_a_filter_leaves_the_width_of_a_walk_to_the_segment_and_costs_as_much_more() -> None:
    walks = (CurvePoint(k, 1, 4 * k, k, 0.95, 0.0, scanned=4.0 * k, work=4000.0 * k) for k in (10, 100))
    curve = RecallCurve(6400, 100, 1, tuple(walks))
    everything, tenth = curve.choose(10, 0.9), curve.choose(10, 0.9, selectivity=0.1)
    assert tenth.effort.ef_search == everything.effort.ef_search == 40
    assert tenth.finding == pytest.approx(10 * everything.finding)


def test_what_has_grown_costs_more_to_look_through() -> None:
    """All codes are scanned, and there are three times as many."""
    scan = RecallCurve(6400, 100, 1, (CurvePoint(10, 1, 0, 20, 0.95, 0.0, scanned=6400.0),))
    assert scan.choose(10, 0.9, documents=6400).finding == scan.choose(10, 0.9).finding
    assert scan.choose(10, 0.9, documents=3 * 6400).finding == pytest.approx(3 * scan.choose(10, 0.9).finding)
    assert scan.choose(10, 0.9, 0.01, documents=3 * 6400).finding == pytest.approx(3 * 6400)


def test_a_target_out_of_reach_takes_the_best_and_says_so() -> None:
    chosen = CURVE.choose(10, 0.9999)
    assert not chosen.reached
    assert chosen.effort.nprobe == 64
    assert chosen.recall == 0.999


def test_the_margin_is_the_standard_error() -> None:
    unsure = RecallCurve(100, 10, 8, (point(10, 2, 10, 0.91, 0.02), point(10, 8, 10, 0.95, 0.02)))
    assert unsure.choose(10, 0.9).effort.nprobe == 8


def test_depth_is_never_below_k() -> None:
    curve = RecallCurve(100, 10, 8, (point(10, 2, 10, 1.0),))
    assert curve.choose(25, 0.9).effort.depth >= 25


def test_round_trip_and_damage() -> None:
    assert RecallCurve.from_json(CURVE.to_json()) == CURVE
    with pytest.raises(IndexDamagedError, match="recall curve"):
        RecallCurve.from_json({"documents": 1, "queries": 1, "nlist": 1, "points": [{"k": 1}]})


def test_the_frontier_leaves_out_what_is_dearer_and_no_better() -> None:
    points = [point(10, 1, 10, 0.5), point(10, 2, 10, 0.5), point(10, 4, 10, 0.8), point(100, 1, 100, 0.4)]
    assert list(frontier(points)) == [points[0], points[2], points[3]]


def test_a_budget_is_of_the_milliseconds_that_were_measured() -> None:
    """Finding takes 100 times what the model says here; refining takes what it says."""
    points = tuple(point(10, nprobe, 100, recall) for nprobe, recall in ((1, 0.5), (10, 0.9), (100, 0.99)))
    curve = RecallCurve(1000, 64, 200, points, row_cost=1000.0, pace=100.0, preparing=50_000.0)
    fixed = 50_000 + 100 * 1000 + 250_000  # a query's fold, a hundred documents, and the rest of a search
    for nprobe, recall in ((1, 0.5), (10, 0.9), (100, 0.99)):
        enough = (fixed + 100 * 100.0 * nprobe) / 1e6
        assert curve.choose(10, 0.99, budget_ms=enough * 1.001).recall == recall
        if nprobe > 1:
            assert (curve.choose(10, 0.99, budget_ms=enough * 0.999).recall or 0) < recall
    assert curve.choose(10, 0.99, budget_ms=1e-6).recall == 0.5  # nothing is: then the least there is
    assert curve.choose(10, 0.6, budget_ms=1e6).recall == 0.9  # a target is reached as cheaply as without
