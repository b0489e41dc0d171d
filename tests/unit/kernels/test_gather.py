"""Gathering of candidates: both accumulators against the definition."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.kernels.gather import cpu, reference


def problem(seed: int, n_documents: int, n_centroids: int, n_q: int, n_probe: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    lists = [
        np.unique(rng.integers(0, n_documents, rng.integers(0, 12))).astype(np.uint32)
        if n_documents
        else np.empty(0, np.uint32)
        for _ in range(n_centroids)
    ]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    probes = rng.integers(0, n_centroids, (n_q, n_probe))
    scores = -np.sort(-rng.standard_normal((n_q, n_probe)).astype(np.float32), axis=1)
    return probes, scores, offsets, np.concatenate([*lists, np.empty(0, np.uint32)]), n_documents


def both(monkeypatch: pytest.MonkeyPatch, *args: Any) -> list[Any]:
    """The answers of the dense and of the bucketed accumulator."""
    answers = []
    for documents, share in ((1 << 62, 1), (-1, 0)):
        monkeypatch.setattr(cpu, "DENSE_DOCUMENTS", documents)
        monkeypatch.setattr(cpu, "DENSE_SHARE", share)
        answers.append(cpu.gather(*args))
    return answers


@pytest.mark.parametrize("accepting", [False, True])
@pytest.mark.parametrize("imputing", [False, True])
def test_equals_the_reference(accepting: bool, imputing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(max_examples=30)
    @given(
        st.integers(0, 10**6),
        st.sampled_from([0, 1, 7, 8, 300, 20_000, 40_000]),
        st.integers(1, 40),
        st.integers(0, 33),
        st.integers(0, 9),
    )
    def check(seed: int, n_documents: int, n_centroids: int, n_q: int, n_probe: int) -> None:
        args = problem(seed, n_documents, n_centroids, n_q, n_probe)
        rng = np.random.default_rng(seed)
        accept = rng.random(n_documents) < 0.5 if accepting else None
        missing = rng.standard_normal(n_q).astype(np.float32) if imputing else None
        expected = reference.gather(*args, accept, missing)
        dense, bucketed = both(monkeypatch, *args, accept, missing)
        for got in (dense, bucketed):
            np.testing.assert_array_equal(got[0], expected[0])
            np.testing.assert_allclose(got[1], expected[1], rtol=1e-5, atol=1e-5)
            assert got[0].dtype == np.int64
            assert got[1].dtype == np.float32
        np.testing.assert_array_equal(dense[1], bucketed[1])

    check()


def test_the_first_touch_is_the_maximum_even_if_probes_are_not_sorted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probes, scores = np.array([[0, 1, 2]]), np.array([[1, 3, 2]], np.float32)
    offsets, postings = np.array([0, 1, 3, 4]), np.array([5, 5, 6, 9], np.uint32)
    for got in both(monkeypatch, probes, scores, offsets, postings, 10):
        np.testing.assert_array_equal(got[0], [5, 6, 9])
        np.testing.assert_array_equal(got[1], [3, 3, 2])


def test_a_missing_score_counts_once_per_token(monkeypatch: pytest.MonkeyPatch) -> None:
    probes, scores = np.array([[0], [1]]), np.array([[4], [2]], np.float32)
    offsets, postings = np.array([0, 1, 2]), np.array([3, 7], np.uint32)
    missing = np.array([-1, -2], np.float32)
    for got in both(monkeypatch, probes, scores, offsets, postings, 8, None, missing):
        np.testing.assert_array_equal(got[1], [4 - 2, -1 + 2])


def test_equal_and_zero_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    args = problem(1, 500, 30, 16, 8)
    for value in (0, 1, -1):
        scores = np.full_like(args[1], value)
        expected = reference.gather(args[0], scores, *args[2:])
        for got in both(monkeypatch, args[0], scores, *args[2:]):
            np.testing.assert_array_equal(got[0], expected[0])
            np.testing.assert_array_equal(got[1], expected[1])


def test_many_threads_and_mapped_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes, scores, offsets, postings, n = problem(2, 30_000, 200, 32, 16)
    (tmp_path / "postings").write_bytes(b"xyz" + postings.tobytes())
    mapped = np.memmap(tmp_path / "postings", np.uint8, "r")[3:].view(np.uint32)
    expected = reference.gather(probes, scores, offsets, postings, n)
    for _ in both(monkeypatch, probes, scores, offsets, postings, n):
        with ThreadPoolExecutor(8) as pool:
            for got in pool.map(lambda _: cpu.gather(probes, scores, offsets, mapped, n), range(16)):
                np.testing.assert_array_equal(got[0], expected[0])
                np.testing.assert_allclose(got[1], expected[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.array([[4]])}, "probes go"),
        ({0: np.array([[-1]])}, "probes go"),
        ({0: np.array([[0.5]])}, "probes must"),
        ({1: np.array([[1.0]])}, "probe_scores"),
        ({1: np.array([[np.nan]], np.float32)}, "probe_scores"),
        ({1: np.array([[1, 2]], np.float32)}, "probes must"),
        ({2: np.array([0, 9, 1])}, "posting_offsets leave"),
        ({2: np.array([-1, 1, 1])}, "posting_offsets leave"),
        ({2: np.array([0.0, 1.0])}, "posting_offsets must"),
        ({3: np.array([10, 1], np.uint32)}, "posting 0 is document 10"),
        ({3: np.array([-2, 1])}, "posting 0 is document -2"),
        ({3: np.array([[1]])}, "postings must"),
        ({4: -1}, "n_documents=-1"),
        ({5: np.ones(9, np.bool_)}, "accept"),
        ({5: np.ones(10)}, "accept"),
        ({6: np.ones(2, np.float32)}, "missing"),
        ({6: np.full(1, np.nan, np.float32)}, "missing"),
    ],
)
def test_bad_input_is_refused(change: dict[int, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args: list[Any] = [
        np.array([[0]]),
        np.ones((1, 1), np.float32),
        np.array([0, 1, 2]),
        np.array([1, 2], np.uint32),
        10,
        None,
        None,
    ]
    for at, value in change.items():
        args[at] = value
    for share in (0, 1000):
        monkeypatch.setattr(cpu, "DENSE_DOCUMENTS", -1)
        monkeypatch.setattr(cpu, "DENSE_SHARE", share)
        with pytest.raises(ValueError, match=message):
            cpu.gather(*args)
