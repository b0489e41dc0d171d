"""LEMUR-lite against ridge regression written out in float64."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from retrieval.errors import ConfigError
from retrieval.reduce import lemur
from retrieval.reduce.lemur import Lemur
from retrieval.types import FloatArray, Ragged
from tests.unit.reduce.token_sets import best_match_sums, found, some, texts

DIM = 17
SAMPLE, QUERIES = texts(150, DIM, 1, shared=0.5), texts(50, DIM, 2, longest=8, shared=0.5)
NEW = texts(40, DIM, 3, shared=0.5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemur, "PROBES", 500)
    monkeypatch.setattr(lemur, "ANCHORS", 100)


def matches(documents: Ragged, probes: FloatArray) -> FloatArray:
    """Best match of every probe in every document, ``(n, t)``, float64."""
    wide = documents.values.astype(np.float64) @ probes.astype(np.float64).T
    return np.array([wide[a:b].max(axis=0) for a, b in pairwise(documents.offsets)])


def test_is_ridge_regression() -> None:
    """With all dimensions kept, estimates are those of the regression of matches on features."""
    whole = 100 + DIM + 1
    fold = Lemur.fit(SAMPLE, whole, seed=1)
    state = fold.state()[1]
    wide = {key: array.astype(np.float64) for key, array in state.items()}
    length = np.sqrt(np.mean(np.sum((wide["probes"] - wide["center"]) ** 2, axis=1)))

    def features(tokens: FloatArray) -> FloatArray:
        moved = (tokens.astype(np.float64) - wide["center"]) / length
        directions = wide["anchors"][:-1] * length
        np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1, atol=1e-5)
        bent = np.maximum(moved @ directions - 0.3, 0)
        return np.concatenate([bent, moved, np.ones((len(moved), 1))], axis=1)

    psi = features(state["probes"])
    gram = psi.T @ psi
    ridge = 1e-3 * np.trace(gram) / whole * np.eye(whole)
    target = matches(NEW, state["probes"]) - matches(SAMPLE, state["probes"]).mean(axis=0)
    weights = np.linalg.solve(gram + ridge, psi.T @ target.T)
    asked = np.array([features(QUERIES[i]).sum(axis=0) for i in range(len(QUERIES))])
    estimates = fold.transform_queries(QUERIES) @ fold.transform_documents(NEW).T
    expected = asked @ weights
    np.testing.assert_allclose(estimates, expected, atol=2e-3 * np.abs(expected).max())


def test_estimates_are_near_maxsim_for_documents_never_seen() -> None:
    """In MaxSim's unit, up to a number a query."""
    fold = Lemur.fit(SAMPLE, 100, QUERIES)
    asked = texts(60, DIM, 9, longest=8, shared=0.5)
    estimates = fold.transform_queries(asked) @ fold.transform_documents(NEW).T
    scores = best_match_sums(asked, NEW)
    left = [each - each.mean(axis=1, keepdims=True) for each in (estimates, scores)]
    error = np.sum((left[0] - left[1]) ** 2) / np.sum(left[1] ** 2)
    assert error < 0.1


def test_fewer_dimensions_keep_most() -> None:
    shares, whole = [], Lemur.fit(SAMPLE, 118)
    exact = whole.transform_queries(QUERIES) @ whole.transform_documents(NEW).T
    for dim in (2, 8, 32, 118):
        fold = Lemur.fit(SAMPLE, dim)
        short = fold.transform_queries(QUERIES) @ fold.transform_documents(NEW).T
        shares.append(np.sum((short - exact) ** 2) / np.sum(exact**2))
    assert shares == sorted(shares, reverse=True)
    assert shares[2] < 0.1
    assert found(short, best_match_sums(QUERIES, NEW), 3, 10) > 0.9


@pytest.mark.parametrize("n", [1, 255, 256, 257, 513])
def test_long_documents_are_matched_in_parts(n: int) -> None:
    tokens = np.random.default_rng(n).standard_normal((n, DIM)).astype(np.float32)
    probes = np.random.default_rng(1).standard_normal((31, DIM)).astype(np.float32)
    expected = (tokens.astype(np.float64) @ probes.T.astype(np.float64)).max(axis=0)
    np.testing.assert_allclose(lemur._matches(tokens, probes), expected, atol=1e-5)


def test_probes_are_half_of_queries_where_there_are_any() -> None:
    def of(probes: FloatArray, given: Ragged) -> int:
        rows = {row.tobytes() for row in given.values}
        return sum(probe.tobytes() in rows for probe in probes)

    alone = Lemur.fit(SAMPLE, 8).state()[1]["probes"]
    assert (of(alone, SAMPLE), len(alone)) == (500, 500)
    many = Lemur.fit(SAMPLE, 8, texts(200, DIM, 4)).state()[1]["probes"]
    assert (of(many, SAMPLE), len(many)) == (250, 500)
    few = Lemur.fit(SAMPLE, 8, some(QUERIES, [0])).state()[1]["probes"]
    assert of(few, QUERIES) == len(QUERIES[0])
    assert len(few) == 500


def test_probes_are_fewer_where_tokens_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lemur, "WORK", 200 * DIM)
    assert Lemur.fit(SAMPLE, 8).state()[0]["probes"] == 200


def test_more_dimensions_take_more_anchors() -> None:
    assert Lemur.fit(SAMPLE, 118).state()[0]["anchors"] == 100
    assert Lemur.fit(SAMPLE, 300).state()[0]["anchors"] == 300 - DIM - 1
    assert Lemur.fit(SAMPLE, 518).state()[0]["anchors"] == 500


def test_too_many_dimensions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"lemur:519 .* 500 tokens of 17; choose 518 at most"):
        Lemur.fit(SAMPLE, 519)
