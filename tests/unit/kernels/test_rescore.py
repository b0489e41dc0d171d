"""Rescoring against the definition and against NumPy's products, on every level."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cases.rescore import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.rescore import cpu, reference

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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert_near(cpu.rescore(*args), reference.rescore(*args), room)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_products_and_distances(level: str, dtype: str) -> None:
    queries, rows = draw(0, 50, 37, 2, dtype, 3)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(cpu.rescore(queries, rows, None)[0], queries @ wide.T, rtol=1e-4, atol=1e-3)
    squares = ((queries[:, None].astype(np.float64) - wide) ** 2).sum(axis=2)
    np.testing.assert_allclose(cpu.rescore(queries, rows, None, "l2")[0], -squares, rtol=1e-5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        ((queries, rows, ordinals, "dot", numbers, numbers, -1), "k is -1"),
        ((queries, rows, ordinals, "dot", numbers, numbers, 0), "together"),
        ((queries, rows, ordinals, "dot", numbers, None, 3), "together"),
        ((queries, rows, None, "dot", numbers, numbers, 3), "together"),
        ((queries, rows, ordinals, "dot", numbers[:, :3], numbers, 3), "estimates are"),
        ((queries, rows, ordinals, "dot", numbers, numbers.astype(float), 3), "slacks are"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.rescore(*wrong)  # type: ignore[arg-type]
