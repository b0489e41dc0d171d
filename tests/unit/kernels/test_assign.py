"""Assignment to centroids: float and 8-bit, on every level, against the definition."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.kernels import host
from retrieval.kernels.assign import cpu, portable, reference

LEVELS = ["portable"] + (["avx512"] if host.simd_level() == "avx512" else [])
METRICS = ["dot", "l2"]
SHAPES = st.tuples(st.integers(0, 70), st.integers(1, 90), st.sampled_from([1, 3, 4, 48, 63, 64, 65, 130]))


@pytest.fixture(params=LEVELS, autouse=True)
def level(request, monkeypatch) -> str:  # type: ignore[no-untyped-def]
    modules = {"portable": portable}
    if request.param == "avx512":
        from retrieval.kernels.assign import avx512

        modules["avx512"] = avx512
    monkeypatch.setattr(cpu, "_level", lambda: modules[request.param])
    return request.param


def vectors(n: int, d: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, d)) + offset).astype(np.float32)


def truth(values: np.ndarray, centroids: np.ndarray, metric: str) -> np.ndarray:
    """All scores in double precision."""
    wide, c = values.astype(float), centroids.astype(float)
    return wide @ c.T if metric == "dot" else -((wide[:, None] - c[None]) ** 2).sum(2)


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs start as garbage, so that a place left out shows."""
    outputs = lambda n: (np.full(n, -7), np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32))  # noqa: E731
    monkeypatch.setattr(cpu, "_outputs", outputs)


@pytest.mark.parametrize("metric", METRICS)
def test_exact_answers(level: str, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)

    @settings(max_examples=25)
    @given(SHAPES, st.sampled_from([0.0, 1.0, 30.0]))
    def check(shape: tuple[int, int, int], offset: float) -> None:
        n, k, d = shape
        values, centroids = vectors(n, d, 1, offset), vectors(k, d, 2, offset)
        scores = truth(values, centroids, metric)
        best = scores.max(axis=1)
        room = 1e-5 * (1 + offset) ** 2 * d
        for ordinals, found, margins in (
            cpu.assign(values, centroids, metric),
            cpu.assign_i8(values, centroids, metric)[:3],
        ):
            np.testing.assert_allclose(scores[np.arange(n), ordinals], best, atol=room, rtol=0)
            np.testing.assert_allclose(found, best, atol=room, rtol=0)
            assert (margins >= -0.0).all()
            assert np.isinf(margins).all() if k == 1 else np.isfinite(margins).all()

    check()


@pytest.mark.parametrize("metric", METRICS)
def test_eight_bits_equal_the_reference(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)

    @settings(max_examples=25)
    @given(SHAPES)
    def check(shape: tuple[int, int, int]) -> None:
        n, k, d = shape
        values, centroids = vectors(n, d, 3, 0.3), vectors(k, d, 4, 0.3)
        expected = reference.assign_i8(values, centroids, metric, exact=False)
        got = cpu.assign_i8(values, centroids, metric, exact=False)
        np.testing.assert_array_equal(got.ordinals, expected.ordinals)
        room = 1e-5 * (1 + np.abs(expected.scores).max(initial=0))
        np.testing.assert_allclose(got.scores, expected.scores, atol=room)
        np.testing.assert_allclose(got.margins, expected.margins, atol=room)
        doubts = [f(values, centroids, metric).rechecked for f in (cpu.assign_i8, reference.assign_i8)]
        assert abs(doubts[0] - doubts[1]) <= 1

    check()


@pytest.mark.parametrize("metric", METRICS)
def test_margins(metric: str) -> None:
    values, centroids = vectors(200, 32, 1), vectors(50, 32, 2)
    expected = reference.assign(values, centroids, metric)[2]
    np.testing.assert_allclose(cpu.assign(values, centroids, metric)[2], expected, atol=1e-3)
    loss = 0.02 * np.linalg.norm(values, axis=1) * np.linalg.norm(centroids, axis=1).max()
    found = cpu.assign_i8(values, centroids, metric).margins
    assert (np.abs(found - expected) <= 2 * loss).all()


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lowest_ordinal(metric: str) -> None:
    values = vectors(40, 20)
    centroids = np.repeat(vectors(11, 20, 5), 3, axis=0)
    for result in (
        cpu.assign(values, centroids, metric),
        cpu.assign_i8(values, centroids, metric),
        cpu.assign_i8(values, centroids, metric, exact=False),
    ):
        assert (result[0] % 3 == 0).all()
        np.testing.assert_array_equal(result[2], 0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("values", "centroids"),
    [
        (np.zeros((5, 6)), vectors(9, 6)),
        (vectors(5, 6), np.zeros((9, 6))),
        (np.full((5, 6), 1e15), vectors(9, 6)),
        (vectors(5, 6) * 1e-20, vectors(9, 6)),
        (vectors(5, 6), vectors(9, 6) * 1e-20),
        (vectors(5, 6) + 1e4, vectors(9, 6) + 1e4),
        (vectors(33, 6), np.vstack([vectors(8, 6), np.full((1, 6), 1e6)])),
        (np.eye(6) * 127, np.vstack([np.eye(6), -np.eye(6)])),
    ],
)
def test_extremes(values: np.ndarray, centroids: np.ndarray, metric: str) -> None:
    values, centroids = values.astype(np.float32), centroids.astype(np.float32)
    scores = truth(values, centroids, metric)
    room = (
        4e-7
        * values.shape[1]
        * max(np.abs(values).max(), np.abs(centroids).max())
        * max(np.abs(centroids).max(), np.abs(values).max() if metric == "l2" else 0)
    )
    ordinals, found, _, _ = cpu.assign_i8(values, centroids, metric)
    np.testing.assert_allclose(
        scores[np.arange(len(values)), ordinals], scores.max(axis=1), atol=4 * room, rtol=1e-5
    )
    np.testing.assert_allclose(found, scores.max(axis=1), atol=4 * room, rtol=1e-5)


def test_many_doubtful_candidates_fill_the_list() -> None:
    """Centroids that 8 bits cannot tell apart: far more of them than one list holds."""
    values = vectors(32, 16)
    centroids = (vectors(1, 16, 9) + 1e-5 * vectors(900, 16, 10)).astype(np.float32)
    centroids = np.vstack([centroids, -5 * centroids[:1]])
    scores = truth(values, centroids, "dot")
    ordinals, _, _, rechecked = cpu.assign_i8(values, centroids)
    np.testing.assert_allclose(scores[np.arange(32), ordinals], scores.max(axis=1), atol=1e-5)
    assert rechecked > 0


def test_most_eight_bit_choices_are_right() -> None:
    centroids = vectors(2048, 128, 1)
    values = vectors(512, 128, 2)
    exact = cpu.assign(values, centroids)[0]
    assert (cpu.assign_i8(values, centroids, exact=False).ordinals == exact).mean() >= 0.95
    np.testing.assert_array_equal(cpu.assign_i8(values, centroids).ordinals, exact)


def test_threads_and_blocks_change_nothing() -> None:
    values, centroids = vectors(3000, 24), vectors(77, 24, 1)
    one, many = (cpu.assign_i8(values, centroids, threads=threads) for threads in (1, 8))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(cpu.assign(values, centroids, threads=3)[0], one.ordinals)
    with ThreadPoolExecutor(8) as pool:
        for other in pool.map(lambda _: cpu.assign_i8(values, centroids), range(8)):
            np.testing.assert_array_equal(other.ordinals, one.ordinals)


def test_unaligned_read_only_memory(tmp_path: Path) -> None:
    values, centroids = vectors(37, 20), vectors(19, 20, 1)
    path = tmp_path / "values"
    path.write_bytes(b"x" + values.tobytes() + centroids.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=0)[1:].view(np.float32).reshape(-1, 20)
    for function in (cpu.assign, cpu.assign_i8):
        np.testing.assert_array_equal(function(mapped[:37], mapped[37:])[0], function(values, centroids)[0])


@pytest.mark.parametrize("function", [cpu.assign, cpu.assign_i8])
@pytest.mark.parametrize(
    ("values", "centroids", "metric"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3)), "dot"),
        (vectors(2, 3), vectors(2, 4), "dot"),
        (vectors(2, 3), vectors(0, 3), "dot"),
        (vectors(2, 3)[0], vectors(2, 3), "dot"),
        (vectors(2, 3) * np.float32(np.nan), vectors(2, 3), "dot"),
        (vectors(2, 3), vectors(2, 3) + np.float32(np.inf), "l2"),
        (vectors(2, 3), vectors(2, 3), "cosine"),
    ],
)
def test_bad_input_is_refused(function, values, centroids, metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"values|centroids|metric"):
        function(values, centroids, metric)
