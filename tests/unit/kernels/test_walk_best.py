"""The best of a graph in one call: as by several, on every level, for every vector and filter."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.cases.walk import make_coding
from bench.cases.walk_best import CASES
from retrieval.kernels import host
from retrieval.kernels.rescore.prepared import prepare_rows
from retrieval.kernels.walk_best import cpu, reference

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(cpu, "simd_level", lambda: request.param)
    yield request.param


@pytest.fixture(params=CASES, ids=lambda case: case.label)
def asked(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    made: tuple[Any, ...] = request.param.make(np.random.default_rng(1), 0.004)
    return made


def same(args: tuple[Any, ...]) -> cpu.Best:
    expected, got = reference.walk_best(*args), cpu.walk_best(*args)
    assert expected is not None
    assert got is not None
    np.testing.assert_array_equal(got.ordinals, expected.ordinals)
    np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-4)
    np.testing.assert_allclose(got.final, expected.final, rtol=1e-5)
    assert (got.visited, got.scanned, got.slack) == (expected.visited, expected.scanned, expected.slack)
    return got


def test_cases_a_filter_and_a_copy(asked: tuple[Any, ...], level: str) -> None:
    probe, query, segment, width, room, _, *rest = asked
    same(asked)
    accept = np.random.default_rng(2).random(len(segment.graph.lines)) < 0.3
    found = same((probe, query, copy.deepcopy(segment), width, room, 4, *rest, accept))
    assert accept[found.ordinals].all()


def test_a_reduced_query_is_rescored_as_it_was(asked: tuple[Any, ...], level: str) -> None:
    probe, query, segment, *rest = asked
    wide = np.concatenate([segment.stored.rows.astype(np.float32)] * 2, axis=1)
    same((probe, np.concatenate([query] * 2, axis=1), replace(segment, stored=prepare_rows(wide)), *rest))


def test_too_few_and_scores_that_overflow(asked: tuple[Any, ...], level: str) -> None:
    probe, query, segment, width, room, _, *rest = asked
    accept = np.zeros(len(segment.graph.lines), np.bool_)
    accept[:3] = True
    for module in (cpu, reference):
        assert module.walk_best(probe, query, segment, width, room, 4, *rest, accept) is None
        with np.errstate(all="ignore"):
            large = probe * np.float32(1e38)
            assert module.walk_best(large, large, segment, width, room, 4, *rest) is None


def test_what_a_query_refuses(level: str) -> None:
    probe, query, segment, width, room, depth, k = CASES[0].make(np.random.default_rng(0), 0.002)
    for args, told in [
        (
            (np.zeros((2, 384), np.float32), query, segment, width, room, depth, k),
            "there are 2 queries",
        ),
        ((probe[:, :8], query, segment, width, room, depth, k), "queries are float32"),
        ((probe, query[:, :8], segment, width, room, depth, k), "the query is float32"),
        ((probe, query, segment, width, room, 0, k), "depth is 0"),
        ((probe, query, segment, width, room, room + 1, k), "must not be more than the room"),
        ((probe, query, segment, width, room, depth, 0), "k is 0"),
        ((probe, query, segment, width, room, depth, k, np.ones(3, np.bool_)), "accept is"),
    ]:
        with pytest.raises(ValueError, match=told):
            cpu.walk_best(*args)


def test_what_a_segment_refuses() -> None:
    segment = CASES[0].make(np.random.default_rng(0), 0.002)[2]
    for changes, told in [
        ({"coding": make_coding(np.random.default_rng(0), 8)}, "a coding of 8 dimensions"),
        ({"stored": prepare_rows(np.zeros((2, 384), np.float32))}, "there are 2 stored vectors"),
        ({"metric": "cosine"}, "metric is 'cosine'"),
    ]:
        with pytest.raises(ValueError, match=told):
            replace(segment, **changes)
