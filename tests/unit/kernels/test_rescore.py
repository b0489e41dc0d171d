"""Rescoring against the definition and against NumPy's products, on every level."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cases.rescore import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.rescore import cpu, reference
from retrieval.quantize import Int8Codec

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]
DTYPES = ["float32", "float16", "uint8"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(cpu, "simd_level", lambda: request.param)
    yield request.param


def draw(seed: int, n: int, d: int, n_queries: int, dtype: str, beyond: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and rows; what lies beyond a row's ``d`` elements is NaN, or 255."""
    rng = np.random.default_rng(seed)
    stored = np.full((n, d + beyond), 255 if dtype == "uint8" else np.nan).astype(dtype)
    stored[:, :d] = rng.integers(0, 256, (n, d)) if dtype == "uint8" else rng.standard_normal((n, d))
    return rng.standard_normal((n_queries, d)).astype(np.float32), stored[:, :d]


def assert_near(
    got: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], room: float
) -> None:
    assert got[0].dtype == expected[0].dtype
    assert got[0].shape == expected[0].shape
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5, atol=room)
    np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([0, 1, 31, 32, 33]) | st.integers(0, 100),
    d=st.sampled_from([1, 15, 16, 17, 31, 32, 33, 48, 384]) | st.integers(1, 130),
    n_queries=st.integers(0, 4),
    depth=st.integers(0, 40),
    dtype=st.sampled_from(DTYPES),
    beyond=st.sampled_from([0, 1, 64]),
    metric=st.sampled_from(["dot", "l2"]),
    every=st.booleans(),
)
def test_near_the_reference(
    level: str,
    seed: int,
    n: int,
    d: int,
    n_queries: int,
    depth: int,
    dtype: str,
    beyond: int,
    metric: str,
    every: bool,
) -> None:
    queries, rows = draw(seed, n, d, n_queries, dtype, beyond)
    ordinals = None if every else np.random.default_rng(seed).integers(-1, n, (n_queries, depth))
    room = 1e-5 * (d * 255.0 * (255 if metric == "l2" else 3) if dtype == "uint8" else d)
    args = (queries, rows, ordinals, metric)
    steps = (
        np.random.default_rng(seed).random(d).astype(np.float32)
        if (metric, dtype) == ("l2", "uint8")
        else None
    )
    for scaled in (None, steps):
        got = cpu.rescore(*args, steps=scaled)  # type: ignore[arg-type]
        assert_near(got, reference.rescore(*args, steps=scaled), room)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_products_and_distances(level: str, dtype: str) -> None:
    queries, rows = draw(0, 50, 37, 2, dtype, 3)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(cpu.rescore(queries, rows, None)[0], queries @ wide.T, rtol=1e-4, atol=1e-3)
    squares = ((queries[:, None].astype(np.float64) - wide) ** 2).sum(axis=2)
    np.testing.assert_allclose(cpu.rescore(queries, rows, None, "l2")[0], -squares, rtol=1e-5)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.integers(1, 60),
    k=st.integers(1, 70),
    noise=st.sampled_from([0.01, 1.0, 20.0]),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_a_stop_loses_nothing(level: str, seed: int, depth: int, k: int, noise: float, dtype: str) -> None:
    queries, rows = draw(seed, 80, 24, 3, dtype, 2)
    rng = np.random.default_rng(seed)
    ordinals = rng.integers(-1, 80, (3, depth))
    true = np.where(ordinals < 0, -1e9, np.take_along_axis(queries @ rows.T.astype(np.float32), ordinals, 1))
    estimates = (true + noise * rng.standard_normal(true.shape)).astype(np.float32)
    order = np.argsort(-estimates, axis=1, kind="stable")
    ordinals, true, estimates = (np.take_along_axis(x, order, 1) for x in (ordinals, true, estimates))
    slacks = (np.abs(true - estimates) + 0.01).astype(np.float32)
    args = (queries, rows, ordinals, "dot", estimates, slacks, k)
    got = cpu.rescore(*args)  # type: ignore[arg-type]
    assert_near(got, reference.rescore(*args), 1e-4)  # type: ignore[arg-type]
    full, n_full = cpu.rescore(queries, rows, ordinals)
    np.testing.assert_array_equal(-np.sort(-got[0], axis=1)[:, :k], -np.sort(-full, axis=1)[:, :k])
    assert (got[1] <= n_full).all()


def test_a_stop_comes_early(level: str) -> None:
    queries, rows = draw(1, 500, 24, 1, "float32", 0)
    scores = (queries @ rows.T)[0]
    ordinals = np.argsort(-scores)[None]
    estimates = scores[ordinals].astype(np.float32)
    visited = cpu.rescore(queries, rows, ordinals, "dot", estimates, np.full_like(estimates, 1e-3), 10)[1]
    assert 10 <= visited[0] <= 12


@pytest.mark.parametrize("dtype", DTYPES)
def test_read_only_file(level: str, dtype: str, tmp_path: Path) -> None:
    queries, rows = draw(2, 40, 33, 2, dtype, 0)
    path = tmp_path / "rows"
    path.write_bytes(b"12345678" + np.ascontiguousarray(rows).tobytes())
    mapped = np.memmap(path, dtype, "r", offset=8, shape=rows.shape)
    ordinals = np.asfortranarray(np.random.default_rng(0).integers(-1, 40, (2, 9)))
    assert_near(
        cpu.rescore(queries, mapped, ordinals),
        reference.rescore(queries, rows, ordinals),
        0.05,
    )


def test_special_halves(level: str) -> None:
    rows = np.array([[np.inf], [-np.inf], [np.nan], [6e-8], [65504]], np.float16)
    scores = cpu.rescore(np.ones((1, 1), np.float32), rows, None)[0]
    np.testing.assert_array_equal(scores[0], rows[:, 0].astype(np.float32))


def test_threads(level: str) -> None:
    queries, rows = draw(3, 2000, 48, 4, "float16", 16)
    ordinals = np.random.default_rng(0).integers(0, 2000, (4, 100))
    expected = cpu.rescore(queries, rows, ordinals)[0]
    with ThreadPoolExecutor(8) as pool:
        for scores, _ in pool.map(lambda _: cpu.rescore(queries, rows, ordinals), range(24)):
            np.testing.assert_array_equal(scores, expected)


def test_what_is_refused(level: str) -> None:
    queries, rows = draw(4, 20, 6, 2, "float32", 2)
    ordinals = np.zeros((2, 5), np.int64)
    numbers = np.zeros((2, 5), np.float32)
    for wrong, message in [
        ((queries.astype(float), rows, ordinals), "queries are float64"),
        ((queries[:, :5], rows, ordinals), "rows are float32"),
        ((queries, rows.astype(float), ordinals), "rows are float64"),
        ((queries, rows[:, ::-1], ordinals), "strides"),
        ((queries, np.asfortranarray(rows), ordinals), "strides"),
        ((queries, np.broadcast_to(rows[:1], rows.shape), ordinals), "strides"),
        ((queries, rows[::-1], ordinals), "strides"),
        ((queries, rows, ordinals.astype(np.int32)), "ordinals are int32"),
        ((queries, rows, ordinals[:1]), "ordinals are int64"),
        ((queries, rows, ordinals + 20), "ordinal 20: there are 20"),
        ((queries, rows, ordinals - 2), "ordinal -2"),
        ((queries, rows, ordinals + 2**62), "ordinal 4611686018427387904"),
        ((queries, rows, ordinals, "cosine"), "metric is 'cosine'"),
        ((queries, rows, ordinals, "dot", None, None, 0, queries[0]), "the metric is dot"),
        ((queries, rows, ordinals, "l2", None, None, 0, queries[0]), "the rows are float32"),
        (
            (queries, rows.astype(np.uint8), ordinals, "l2", None, None, 0, queries[0, 1:]),
            "steps are float32",
        ),
        ((queries, rows, ordinals, "dot", numbers, numbers, -1), "k is -1"),
        ((queries, rows, ordinals, "dot", numbers, numbers, 0), "together"),
        ((queries, rows, ordinals, "dot", numbers, None, 3), "together"),
        ((queries, rows, None, "dot", numbers, numbers, 3), "together"),
        ((queries, rows, ordinals, "dot", numbers[:, :3], numbers, 3), "estimates are"),
        ((queries, rows, ordinals, "dot", numbers, numbers.astype(float), 3), "slacks are"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.rescore(*wrong)  # type: ignore[arg-type]


def stored(seed: int, n: int, d: int, dtype: str, is_calibrated: bool) -> tuple[reference.Rows, np.ndarray]:
    """Rows, and what they stand for in float64."""
    _, rows = draw(seed, n, d, 1, dtype, 3)
    if dtype != "uint8" or not is_calibrated:
        return cpu.prepare_rows(rows), rows.astype(np.float64)
    rng = np.random.default_rng(seed)
    codec = Int8Codec(rng.standard_normal(d).astype(np.float32), rng.random(d).astype(np.float32))
    return cpu.prepare_rows(rows, codec.span, codec.low), codec.decode(rows).astype(np.float64)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 31, 32, 33]) | st.integers(1, 100),
    d=st.sampled_from([1, 15, 16, 17, 31, 32, 33]) | st.integers(1, 130),
    depth=st.integers(0, 120),
    k=st.integers(1, 60),
    dtype=st.sampled_from(DTYPES),
    metric=st.sampled_from(["dot", "l2"]),
    share=st.sampled_from([0.0, 0.05, 10.0]),
    noise=st.sampled_from([None, 0.01, 1.0, 20.0]),
)
def test_the_best_are_kept(
    level: str,
    seed: int,
    n: int,
    d: int,
    depth: int,
    k: int,
    dtype: str,
    metric: str,
    share: float,
    noise: float | None,
) -> None:
    rows, values = stored(seed, n, d, dtype, is_calibrated=True)
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((1, d)).astype(np.float32)
    products = values @ query[0].astype(np.float64)
    true = products if metric == "dot" else 2 * products - np.square(values).sum(axis=1)
    size = float(np.abs(values).sum(axis=1).max() * np.abs(query).max() + 1)
    size += 0 if metric == "dot" else float(np.square(values).sum(axis=1).max() + np.square(query).sum())
    slack = share * size + 1e-5 * size
    ordinals = rng.integers(0, n, depth)
    limits: dict[str, Any] = {}
    if noise is not None:
        off = noise * rng.standard_normal(depth)
        estimates = true[ordinals] + off
        order = np.argsort(-estimates, kind="stable")
        ordinals, off = ordinals[order], off[order]
        limits["estimates"] = estimates[order].astype(np.float32)
        limits["errors"] = ((np.abs(off) + 1e-5 * size) / 3).astype(np.float32)
        limits["width"] = 3.0
    args = (query, rows, ordinals, k, slack, metric)
    kept, scores, final, visited = cpu.rescore_best(*args, **limits)  # type: ignore[arg-type]
    exact = cpu.score_exactly(query, rows, kept, metric)  # type: ignore[arg-type]
    np.testing.assert_array_equal(final, exact.astype(np.float32))
    assert kept.dtype == np.int64
    assert scores.dtype == np.float32
    assert visited == depth if noise is None else min(k, depth) <= visited <= depth
    np.testing.assert_allclose(scores, true[kept], rtol=1e-5, atol=1e-5 * size)
    # Nothing of the best k is lost, and nothing is kept that is certainly beyond the slack.
    kth = np.sort(true[ordinals])[::-1][min(k, depth) - 1] if depth else 0.0
    assert set(ordinals[true[ordinals] >= kth]) <= set(kept)
    assert (true[kept] >= kth - slack - 2e-5 * size).all() or depth <= k
    again = reference.rescore_best(*args, **limits)  # type: ignore[arg-type]
    if share in (0.0, 10.0) and noise is None and dtype != "uint8":
        np.testing.assert_array_equal(kept, again[0])
    assert abs(visited - again[3]) <= 0.1 * depth


def test_the_best_come_first_and_ties_in_their_order(level: str) -> None:
    rows = cpu.prepare_rows(np.array([[1], [3], [2], [2], [2], [0]], np.float32))
    every, query = np.array([5, 4, 3, 2, 1, 0]), np.ones((1, 1), np.float32)
    kept, scores, _, visited = cpu.rescore_best(query, rows, every, 2, 0.0)
    assert (kept.tolist(), scores.tolist(), visited) == ([1, 4, 3, 2], [3, 2, 2, 2], 6)
    assert cpu.rescore_best(query, rows, every, 2, 1.0)[0].tolist() == [1, 4, 3, 2, 0]
    assert cpu.rescore_best(query, rows, every, 6, 0.0)[0].tolist() == [1, 4, 3, 2, 0, 5]
    assert cpu.rescore_best(query, rows, every[:0], 6, 0.0)[3] == 0


def test_the_best_come_early(level: str) -> None:
    query, rows = draw(1, 500, 24, 1, "float32", 0)
    scores = (query @ rows.T)[0]
    order = np.argsort(-scores)
    limits = scores[order], np.full(500, 1e-3, np.float32), 1.0
    kept, _, _, visited = cpu.rescore_best(query, cpu.prepare_rows(rows), order, 10, 0.0, "dot", *limits)
    assert 10 <= visited <= 12
    np.testing.assert_array_equal(kept, order[:10])


def test_damaged_vectors_are_not_among_the_best(level: str) -> None:
    rows = np.ones((40, 17), np.float16)
    rows[::3] = np.nan
    kept, scores, _, _ = cpu.rescore_best(
        np.ones((1, 17), np.float32), cpu.prepare_rows(rows), np.arange(40), 5, 0.0
    )
    assert set(kept) == set(range(40)) - set(range(0, 40, 3))
    assert (scores == 17).all()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from([1, 15, 16, 17, 31, 32, 33, 384]) | st.integers(1, 130),
    dtype=st.sampled_from(DTYPES),
    is_calibrated=st.booleans(),
    metric=st.sampled_from(["dot", "l2"]),
)
def test_exact_scores(level: str, seed: int, d: int, dtype: str, is_calibrated: bool, metric: str) -> None:
    rows, values = stored(seed, 40, d, dtype, is_calibrated)
    rng = np.random.default_rng(seed)
    query, ordinals = rng.standard_normal((1, d)).astype(np.float32), rng.integers(0, 40, 60)
    wide = query[0].astype(np.float64)
    expected = values @ wide if metric == "dot" else -np.linalg.norm(values - wide, axis=1)
    room = 1e-12 * (np.abs(values).max() + 1) * d
    for module in (cpu, reference):
        got = module.score_exactly(query, rows, ordinals, metric)  # type: ignore[arg-type]
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected[ordinals], rtol=1e-12, atol=room)
        for one in np.unique(ordinals):  # wherever it stands
            assert len(set(got[ordinals == one].tolist())) == 1


def test_equal_rows_have_equal_exact_scores(level: str) -> None:
    values = np.tile(np.random.default_rng(0).standard_normal((1, 61)).astype(np.float16), (300, 1))
    scores = cpu.score_exactly(
        np.random.default_rng(1).standard_normal((1, 61)).astype(np.float32),
        cpu.prepare_rows(values),
        np.arange(300),
    )
    assert len(set(scores.tolist())) == 1


def test_what_the_best_refuse(level: str) -> None:
    query, rows = draw(4, 20, 6, 1, "float32", 2)
    _, codes = draw(4, 20, 6, 1, "uint8", 0)
    number = np.ones(6, np.float32)
    good = cpu.prepare_rows(rows)
    ordinals, numbers = np.arange(5), np.zeros(5, np.float32)
    for wrong, message in [
        ((query.astype(float), good, ordinals, 1, 0.0), "query is float64"),
        ((query[0], good, ordinals, 1, 0.0), "query is float32"),
        ((query[:, :5], good, ordinals, 1, 0.0), "query is float32"),
        ((query, good, ordinals.astype(np.int32), 1, 0.0), "ordinals are int32"),
        ((query, good, ordinals[None], 1, 0.0), "ordinals are int64"),
        ((query, good, ordinals + 16, 1, 0.0), "ordinal 20: there are 20"),
        ((query, good, ordinals - 2, 1, 0.0), "ordinal -2"),
        ((query, good, ordinals, 0, 0.0), "k is 0"),
        ((query, good, ordinals, 1, 0.0, "cosine"), "metric is 'cosine'"),
        ((query, good, ordinals, 1, 0.0, "dot", numbers), "together"),
        ((query, good, ordinals, 1, 0.0, "dot", numbers[:3], numbers), "estimates are"),
        ((query, good, ordinals, 1, 0.0, "dot", numbers, numbers.astype(float)), "errors are"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.rescore_best(*wrong)  # type: ignore[arg-type]
    for wrong_ordinal in (-1, -2, 20, 2**62):
        with pytest.raises(ValueError, match=f"ordinal {wrong_ordinal}"):
            cpu.score_exactly(query, good, np.array([wrong_ordinal]))
    for wrong_rows, message in [
        ((rows[:, ::-1],), "strides"),
        ((rows.astype(float),), "rows are float64"),
        ((rows, number, number), "are for uint8"),
        ((codes, number), "together"),
        ((codes, number[:5], number), "span is float32"),
        ((codes, number, number.astype(float)), "low is float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.prepare_rows(*wrong_rows)
