"""Float queries against quantised documents: against the reference, on every level."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.kernels import host
from retrieval.kernels.asymmetric import cpu, portable, reference

LEVELS = ["portable", "avx512"] if host.simd_level() == "avx512" else ["portable"]
per_example = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "portable":
        monkeypatch.setattr(cpu, "_scorer", lambda exact: portable.ExactScorer if exact else portable.Scorer)
    return str(request.param)


def make(seed: int, n_queries: int, n: int, dim: int, bits: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((n_queries, dim), dtype=np.float32)
    codes = rng.integers(0, 256, (n, -(-dim * bits // 8)), dtype=np.uint8)
    scales, offsets = rng.standard_normal((2, n), dtype=np.float32)
    return queries, codes, scales, offsets, bits


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=1))


@given(
    seed=st.integers(0, 2**32 - 1),
    n_queries=st.sampled_from([0, 1, 2, 3, 4, 5, 8, 9, 33]),
    n=st.sampled_from([0, 1, 15, 16, 31, 32, 33, 100]),
    dim=st.sampled_from([1, 2, 7, 8, 9, 31, 48, 64, 96, 101, 128, 129, 384, 1000]),
    bits=st.sampled_from(reference.BITS),
    exact=st.booleans(),
)
@per_example
def test_scores_equal_reference(level, seed, n_queries, n, dim, bits, exact) -> None:  # type: ignore[no-untyped-def]
    args = make(seed, n_queries, n, dim, bits)
    assert_close(cpu.asymmetric(*args, exact), reference.asymmetric(*args, exact))


@given(
    seed=st.integers(0, 2**32 - 1),
    n_queries=st.sampled_from([0, 1, 3, 6]),
    n=st.sampled_from([0, 1, 33, 200]),
    bits=st.sampled_from(reference.BITS),
    k=st.sampled_from([0, 1, 5, 64, 300]),
    share=st.sampled_from([None, 0.0, 0.3]),
    exact=st.booleans(),
)
@per_example
def test_best_equal_the_sorted_scores(level, seed, n_queries, n, bits, k, share, exact) -> None:  # type: ignore[no-untyped-def]
    """Selection is exact on the scores that this level computes."""
    args = make(seed, n_queries, n, 20, bits)
    accept = None if share is None else np.random.default_rng(seed).random(n) < share
    scores, ordinals = cpu.asymmetric_topk(*args, k, accept, exact)
    every = cpu.asymmetric(*args, exact)
    accepted = np.arange(n) if accept is None else np.flatnonzero(accept)
    best = accepted[np.argsort(-every[:, accepted], axis=1, kind="stable")[:, :k]]
    np.testing.assert_array_equal(ordinals, best)
    np.testing.assert_array_equal(scores, np.take_along_axis(every, best, axis=1))
    assert_close(scores, reference.asymmetric_topk(*args, k, accept, exact)[0])


def test_blocks_are_joined(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More documents than are scored at once, one stretch of them not accepted."""
    args = make(5, 5, 9000, 9, 4)
    monkeypatch.setattr(cpu, "_SCORES", 64)
    accept = np.ones(9000, bool)
    accept[4000:8300] = False
    scores, ordinals = cpu.asymmetric_topk(*args, 50, accept)
    every = np.where(accept, cpu.asymmetric(*args), -np.inf)
    np.testing.assert_array_equal(ordinals, np.argsort(-every, axis=1, kind="stable")[:, :50])
    assert_close(scores, np.take_along_axis(every, ordinals, axis=1))


def test_ties_go_to_the_first(level: str) -> None:
    queries, codes, scales, offsets, bits = make(6, 2, 300, 24, 2)
    codes[:], scales[:], offsets[:] = codes[0], scales[0], offsets[0]
    accept = np.arange(300) % 3 == 1
    _, ordinals = cpu.asymmetric_topk(queries, codes, scales, offsets, bits, 20, accept)
    assert ordinals.tolist() == [list(range(1, 60, 3))] * 2


@pytest.mark.parametrize("bits", reference.BITS)
@pytest.mark.parametrize("spread", ["normal", "one large", "zero", "equal", "extremes"])
def test_error_is_within_the_bound(level: str, bits: int, spread: str) -> None:
    queries, codes, scales, offsets, _ = make(7, 6, 150, 96, bits)
    if spread == "one large":
        queries[:, 3] = 40
    elif spread != "normal":
        queries[:] = {"zero": 0, "equal": -0.7, "extremes": np.sign(queries) * 3}[spread]
    codes[:50], codes[50:60] = 0, 255
    error = np.abs(
        cpu.asymmetric(queries, codes, scales, offsets, bits).astype(float)
        - reference.asymmetric(queries, codes, scales, offsets, bits, exact=True)
    )
    bound = reference.error_bound(queries, scales, bits)
    rounding = 1e-5 * np.abs(scales) * np.abs(queries).sum(axis=1, keepdims=True) * 2**bits + 1e-4
    assert (error <= bound + rounding).all()
    if spread == "normal":
        assert error.max() > bound.max() / 100  # a bound that says something


@pytest.mark.parametrize("bits", reference.BITS)
def test_values_by_hand(level: str, bits: int) -> None:
    """Each dimension alone finds its own code: the layout is what the reference says."""
    dim = 24
    _, codes, _, _, _ = make(8, 0, 70, dim, bits)
    ones, zeros = np.ones(70, np.float32), np.zeros(70, np.float32)
    queries = np.eye(dim, dtype=np.float32)
    for exact in (False, True):
        scores = cpu.asymmetric(queries, codes, ones, zeros, bits, exact)
        assert_close(scores, reference.unpack(codes, bits, dim).T.astype(np.float32))


def test_bits_beyond_the_last_dimension_are_ignored(level: str) -> None:
    queries, codes, scales, offsets, bits = make(9, 3, 40, 5, 1)
    changed = codes | 0b11100000
    for exact in (False, True):
        expected = cpu.asymmetric(queries, codes & 0b00011111, scales, offsets, bits, exact)
        np.testing.assert_array_equal(
            cpu.asymmetric(queries, changed, scales, offsets, bits, exact), expected
        )


@pytest.mark.parametrize("n_queries", [1, 4, 9])
def test_unaligned_memory_map(level: str, tmp_path: Path, n_queries: int) -> None:
    queries, codes, scales, offsets, bits = make(10, n_queries, 77, 37, 4)
    parts = []
    for name, array in (("codes", codes), ("scales", scales), ("offsets", offsets)):
        (tmp_path / name).write_bytes(b"x" + array.tobytes())
        parts.append(np.memmap(tmp_path / name, array.dtype, "r", offset=1, shape=array.shape))
    for exact in (False, True):
        expected = reference.asymmetric(queries, codes, scales, offsets, bits, exact)
        assert_close(cpu.asymmetric(queries, *parts, bits, exact), expected)


def test_threads_agree(level: str) -> None:
    args = make(11, 12, 1000, 64, 4)
    expected, best = cpu.asymmetric(*args), cpu.asymmetric_topk(*args, 10)
    with ThreadPoolExecutor(8) as pool:
        runs = [
            (pool.submit(cpu.asymmetric, *args), pool.submit(cpu.asymmetric_topk, *args, 10))
            for _ in range(16)
        ]
        for scores, found in runs:
            np.testing.assert_array_equal(scores.result(), expected)
            np.testing.assert_array_equal(found.result()[1], best[1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bits": 3}, "bits=3"),
        ({"queries": np.zeros((1, 16))}, "queries: float64"),
        ({"queries": np.zeros(16, np.float32)}, "queries: float32"),
        ({"queries": np.zeros((1, 0), np.float32)}, "0 dimensions"),
        ({"queries": np.full((1, 16), np.nan, np.float32)}, "queries: NaN"),
        ({"codes": np.zeros((4, 9), np.uint8)}, r"codes: uint8\(4, 9\)"),
        ({"codes": np.zeros((4, 16), np.uint8)[:, ::2]}, "not contiguous"),
        ({"codes": np.zeros((4, 8), np.int8)}, "codes: int8"),
        ({"scales": np.zeros(3, np.float32)}, r"scales: float32\(3,\)"),
        ({"offsets": np.zeros(4)}, "offsets: float64"),
        ({"k": -1}, "k=-1"),
        ({"accept": np.ones(5, bool)}, "accept: bool"),
        ({"scales": np.full(4, np.nan, np.float32)}, "NaN or infinite"),
        ({"offsets": np.full(4, np.inf, np.float32)}, "NaN or infinite"),
    ],
)
def test_bad_input_is_refused(level: str, change: dict[str, Any], told: str) -> None:
    good = dict(zip(("queries", "codes", "scales", "offsets", "bits"), make(12, 1, 4, 16, 4), strict=True))
    with pytest.raises(ValueError, match=told):
        cpu.asymmetric_topk(**{**good, "k": 2, **change})
