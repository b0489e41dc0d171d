"""The best of inverted lists in one call: as by several, on every level, for every vector and filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.cases.probe_best import CASES
from retrieval.kernels import host
from retrieval.kernels.lists.prepared import prepare_centroids
from retrieval.kernels.probe_best import cpu, reference
from retrieval.kernels.rescore.prepared import prepare_rows

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(cpu, "simd_level", lambda: request.param)
    yield request.param


@pytest.fixture(params=CASES, ids=lambda case: case.label)
def asked(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    made: tuple[Any, ...] = request.param.make(np.random.default_rng(1), 0.002)
    return made


def test_an_origin_a_filter_and_no_bound(asked: tuple[Any, ...], level: str) -> None:
    probe, query, segment, how, k = asked
    n, dim = segment.stored.rows.shape
    rng = np.random.default_rng(2)
    accept, origin = rng.random(n) < 0.3, rng.standard_normal(dim).astype(np.float32)
    args = probe, query, replace(segment, origin=origin, deviations=None), how, k, accept
    expected, got = reference.probe_best(*args), cpu.probe_best(*args)
    assert accept[got.ordinals].all()
    np.testing.assert_array_equal(got.ordinals, expected.ordinals)
    np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-4)
    np.testing.assert_allclose(got.final, expected.final, rtol=1e-5)
    assert (got.visited, got.scanned, got.slack) == (expected.visited, expected.scanned, expected.slack)


def test_a_reduced_query_is_rescored_as_it_was(asked: tuple[Any, ...], level: str) -> None:
    probe, query, segment, how, k = asked
    wide = np.concatenate([segment.stored.rows.astype(np.float32)] * 2, axis=1)
    both = replace(segment, stored=prepare_rows(wide), deviations=None)
    got = cpu.probe_best(probe, np.concatenate([query] * 2, axis=1), both, how, k)
    expected = reference.probe_best(probe, np.concatenate([query] * 2, axis=1), both, how, k)
    np.testing.assert_array_equal(got.ordinals, expected.ordinals)
    np.testing.assert_allclose(got.final, expected.final, rtol=1e-5)


def test_nothing_is_accepted(asked: tuple[Any, ...], level: str) -> None:
    nobody = np.zeros(len(asked[2].stored.rows), np.bool_)
    got = cpu.probe_best(*asked, nobody)
    assert (len(got.ordinals), len(got.scores), got.visited) == (0, 0, 0)


def test_the_bound_stops_early_and_loses_nothing(level: str) -> None:
    probe, query, segment, how, k = CASES[0].make(np.random.default_rng(0), 0.02)
    how = how._replace(several=400, depth=400)
    both = segment, replace(segment, deviations=None)
    bounded, every = (cpu.probe_best(probe, query, one, how, k) for one in both)
    assert bounded.visited < every.visited
    np.testing.assert_array_equal(bounded.ordinals[:k], every.ordinals[:k])


def test_what_a_query_refuses(level: str) -> None:
    probe, query, *rest = CASES[0].make(np.random.default_rng(0), 0.002)
    how = rest[1]
    for args, told in [
        ((np.zeros((2, 384), np.float32), query, *rest), "there are 2 queries: give one"),
        ((probe * np.float32(np.nan), query, *rest), "NaN or infinite"),
        ((probe, query[:, :8], *rest), "8"),
        ((probe, query, rest[0], how._replace(several=0, depth=0), *rest[2:]), "depth is 0"),
        ((probe, query, *rest[:2], 0), r"k (is )?0"),
        ((probe, query, *rest, np.ones(3, np.bool_)), "more documents than the 3"),
    ]:
        with pytest.raises(ValueError, match=told):
            cpu.probe_best(*args)


def test_what_a_segment_refuses() -> None:
    segment = CASES[0].make(np.random.default_rng(0), 0.002)[2]
    for changes, told in [
        ({"coarse": prepare_centroids(np.zeros((3, 384), np.float32))}, "lists: there are 3 centroids"),
        ({"stored": prepare_rows(np.zeros((2, 384), np.float32))}, "there are 2 stored vectors"),
        ({"metric": "cosine"}, "metric is 'cosine'"),
        ({"origin": np.zeros(8, np.float32)}, "origin is float32"),
    ]:
        with pytest.raises(ValueError, match=told):
            replace(segment, **changes)
