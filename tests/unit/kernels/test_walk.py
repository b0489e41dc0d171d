"""Walks through graphs against the definition, on every level."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bench.cases.walk import CASES, make_coding, make_graph
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.walk import cpu, reference
from retrieval.kernels.walk.prepared import Graph, Layout, prepare_coding, prepare_graph

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]
RNG = np.random.default_rng(3)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(cpu, "simd_level", lambda: request.param)
    yield request.param


def asked(d: int, n: int = 3) -> reference.Asked:
    queries = np.random.default_rng(d).standard_normal((n, d)).astype(np.float32)
    coding = make_coding(np.random.default_rng(d), d)
    return reference.ask_walk(queries, coding, 0.1, np.arange(n, dtype=np.float32))


def same(
    graph: Graph, d: int, width: int, depth: int, accept: np.ndarray | None = None, room: int | None = None
) -> np.ndarray:
    """Both find the same, bit for bit."""
    want = reference.walk(asked(d), graph, width, depth, accept, room)
    have = cpu.walk(asked(d), graph, width, depth, accept, room)
    assert np.array_equal(want[0], have[0])
    assert np.array_equal(want[1], have[1])
    return have[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.function} {case.label}")
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case, scale=0.0008, seed=5) is None


@pytest.mark.parametrize("d", [1, 15, 64, 417, 513, 1500])
@pytest.mark.parametrize("size", [3, 4])
def test_every_dimension(level: str, d: int, size: int) -> None:
    graph = make_graph(RNG, 90, d, size)
    same(graph, d, 7, 7)
    same(graph, d, 200, 90, RNG.random(90) < 0.5)
    same(graph, d, 3, 20, RNG.random(90) < 0.5)
    for width, room in ((1, 20), (5, 10), (5, 300)):
        same(graph, d, width, 10, None, room)
        same(graph, d, width, 4, RNG.random(90) < 0.5, room)


def test_scores_are_products_with_what_codes_stand_for(level: str) -> None:
    d, n = 70, 40
    graph = make_graph(RNG, n, d, 3)
    queries = RNG.standard_normal((2, d)).astype(np.float32)
    coding = make_coding(RNG, d)
    weights = np.array([0.5, 2], np.float32)
    ordinals, scores = cpu.walk(cpu.ask_walk(queries, coding, 100.0, weights), graph, n, n)
    values = graph.codes[:, :d] * coding.steps + coding.offsets
    sides = graph.layout.floats(graph.lines)[:, 1]
    want = queries @ values.T + weights[:, None] * sides
    for q in range(2):
        met = ordinals[q] >= 0
        assert met.sum() > 4
        assert (np.diff(scores[q, met]) <= 0).all()
        # An octet is off by half a step at most, of a byte of up to 255.
        folded = np.abs(queries[q] * coding.steps).max() / 127
        assert np.allclose(scores[q, met], want[q, ordinals[q, met]], atol=0.5 * folded * 255 * d**0.5)


def test_estimates_stand_for_products() -> None:
    """Half of the lines' vectors lie above their estimates, and as far as the error says."""
    d, n = 128, 400
    values = np.random.default_rng(1).standard_normal((n, d)).astype(np.float32)
    layout = Layout.of(d)
    lines, codes = np.zeros((n, layout.length), np.uint8), np.zeros((n, layout.wide), np.uint8)
    none = np.zeros(d, np.float32)
    coding = prepare_coding(np.empty((0, d), np.int8), none, none, none)
    lines[:, : d // 8] = np.packbits(values >= 0, axis=1, bitorder="little")
    layout.floats(lines)[:, 0] = np.square(values).sum(axis=1) / np.abs(values).sum(axis=1)
    graph = prepare_graph(d, lines, np.empty(0, np.uint8), 3, codes, np.zeros(1, np.int32))
    queries = np.random.default_rng(2).standard_normal((1, d)).astype(np.float32)
    given = reference.ask_walk(queries, coding, 0.0, np.zeros(1, np.float32))
    estimates = reference._Query(given, 0, graph).estimates(lines)
    off = (estimates - values @ queries[0]) / np.linalg.norm(queries)
    assert abs(off.mean()) < 0.15
    assert 0.6 < off.std() < 0.95  # sqrt(pi / 2 - 1) = 0.76 of vectors of length sqrt(d)


@pytest.mark.parametrize("kinds", [1, 2, 4])
def test_of_equal_estimates_and_scores_those_met_first_count(level: str, kinds: int) -> None:
    """More links than are scored at a step, and few vectors that differ."""
    d, n = 24, 150
    rng = np.random.default_rng(kinds)
    graph = make_graph(rng, n, d, 3)
    some = rng.integers(0, kinds, n)
    lines, codes = graph.lines.copy(), graph.codes[some]
    lines[:, : graph.layout.at_factor + 8] = lines[some, : graph.layout.at_factor + 8]
    equal = prepare_graph(d, lines, graph.links.copy(), 3, codes, graph.entries)
    for width, room in ((1, 1), (1, 40), (5, 10), (8, 200), (20, 20)):
        for accept in (None, rng.random(n) < 0.3, np.zeros(n, np.bool_)):
            same(equal, d, width, min(room, 12), accept, room)


def test_no_vectors_and_one(level: str) -> None:
    assert (same(make_graph(RNG, 1, 30, 3), 30, 5, 2) == [[0, -1]] * 3).all()
    layout = Layout.of(30)
    rows = np.empty((0, layout.length), np.uint8), np.empty((0, layout.wide), np.uint8)
    empty = prepare_graph(30, rows[0], np.empty(0, np.uint8), 3, rows[1], np.empty(0, np.int32))
    assert (cpu.walk(asked(30), empty, 4, 4)[0] == -1).all()


def test_what_is_refused(level: str) -> None:
    graph, d = make_graph(RNG, 20, 40, 3), 40
    given = asked(d)
    for width, depth, accept, told in (
        (0, 1, None, "at least 1"),
        (2, 3, None, "must not be more than the room"),
        (2, 2, np.ones(19, bool), "accept is"),
    ):
        with pytest.raises(ValueError, match=told):
            cpu.walk(given, graph, width, depth, accept)
    with pytest.raises(ValueError, match="what is asked"):
        cpu.walk(asked(200), graph, 2, 2)
    coding = make_coding(RNG, d)
    with pytest.raises(ValueError, match="queries are"):
        cpu.ask_walk(np.ones((1, 3), np.float32), coding, 0.1, np.ones(1, np.float32))
    with pytest.raises(ValueError, match="weights are"):
        cpu.ask_walk(np.ones((1, d), np.float32), coding, 0.1, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="signs are"):
        prepare_coding(coding.signs[:, 1:], coding.mean, coding.steps, coding.offsets)


def test_graphs_that_are_refused() -> None:
    graph = make_graph(RNG, 20, 40, 3)
    links = np.array([20, 0, 0], np.uint8)

    def prepare(**other: object) -> Graph:
        given = {"lines": graph.lines, "links": graph.links, "codes": graph.codes, "entries": graph.entries}
        given |= other  # type: ignore[arg-type]
        return prepare_graph(40, given["lines"], given["links"], 3, given["codes"], given["entries"])

    far = graph.lines.copy()
    graph.layout.starts(far)[3] = 10**6
    nan = graph.lines.copy()
    graph.layout.floats(nan)[3] = np.nan
    for other, told in (
        ({"links": np.concatenate([graph.links, links])}, "links lead out of the graph"),
        ({"lines": far}, "links that are not there"),
        ({"lines": nan}, "NaN or infinity"),
        ({"entries": np.array([20], np.int32)}, "entries lead out"),
        ({"entries": np.empty(0, np.int32)}, "entries are"),
        ({"codes": graph.codes[:, 1:]}, "codes are"),
        ({"links": graph.links[1:]}, "3 bytes each"),
    ):
        with pytest.raises(ValueError, match=told):
            prepare(**other)
