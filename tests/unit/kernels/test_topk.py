"""Selection of the best k against sorting, on every level."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cases.topk import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.topk import cpu, portable, reference

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]
NOTHING = np.empty(0, np.uint8)


def kernels(level: str) -> Any:
    if level == "avx512":
        from retrieval.kernels.topk import avx512

        return avx512
    return portable


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    module = kernels(request.param)
    monkeypatch.setattr(cpu, "_kernels", lambda: module)
    return request.param


def assert_same(got: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    for have, want in zip(got, expected, strict=True):
        assert have.dtype == want.dtype
        np.testing.assert_array_equal(have, want)


def draw(seed: int, n: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(n).astype(np.float32)
    if kind == "ties":
        return np.round(scores * 2).astype(np.float32)  # with 0.0 and -0.0
    if kind == "infinite":
        return rng.choice(np.array([np.inf, -np.inf, 0.0, -0.0, 1.0], np.float32), n)
    return {"random": scores, "ascending": np.sort(scores), "descending": np.sort(scores)[::-1].copy()}[kind]


KINDS = ["random", "ties", "infinite", "ascending", "descending"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.function}: {case.label}")
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case, scale=0.02) is None


@pytest.mark.parametrize("which", LEVELS)
@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 5000) | st.integers(0, 130),
    k=st.integers(0, 70) | st.integers(0, 5000),
    kind=st.sampled_from(KINDS),
    share=st.sampled_from([None, 0.0, 0.01, 0.5, 1.0]),
)
def test_equal_to_sorting(which: str, seed: int, n: int, k: int, kind: str, share: float | None) -> None:
    scores = draw(seed, n, kind)
    accept = None if share is None else np.random.default_rng(seed).random(n) < share
    ordinals, count = reference.topk(scores, k, accept)[1], min(k, n)
    best, got = np.full((1, count), np.nan, np.float32), np.full((1, count), -1, np.int64)
    mask = NOTHING if accept is None else accept.view(np.uint8)
    found = kernels(which).sorted_rows(scores[None], k, mask, best, got)
    assert found == len(ordinals)
    np.testing.assert_array_equal(got[0, :found], ordinals)
    np.testing.assert_array_equal(best[0, :found], scores[ordinals])
    assert (got[0, found:] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k"), [(50_000, 1), (50_000, 10), (50_000, 3000), (20_000, 19_999)])
def test_many_cuts(level: str, n: int, k: int, kind: str) -> None:
    scores = draw(1, n, kind)
    assert_same(cpu.topk(scores, k), reference.topk(scores, k))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.001, 0.3])
def test_many_scores_of_which_some_are_accepted(level: str, kind: str, share: float) -> None:
    scores, accept = draw(2, 70_001, kind), np.random.default_rng(3).random(70_001) < share
    for k in (1, 100, 2500):
        assert_same(cpu.topk(scores, k, accept), reference.topk(scores, k, accept))


def test_sorted_lists_in_a_row_are_not_quadratic(level: str) -> None:
    scores = -np.sort(-np.random.default_rng(0).standard_normal((100, 1000)).astype(np.float32), axis=1)
    assert_same(cpu.topk(scores.reshape(-1), 1000), reference.topk(scores.reshape(-1), 1000))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 63, 64, 65, 1000])
def test_nan_is_refused_wherever_it_is(level: str, n: int) -> None:
    for position in {0, n // 2, n - 1}:
        scores = np.arange(n, dtype=np.float32)
        scores[position] = np.nan
        for k in (0, 1, n):
            with pytest.raises(ValueError, match=f"position {position} "):
                cpu.topk(scores, k, np.zeros(n, np.bool_))
            with pytest.raises(ValueError, match=f"position {position} of row 1"):
                cpu.topk_rows(np.stack([np.zeros(n, np.float32), scores]), k)


def test_signed_zeros_tie_and_keep_their_sign(level: str) -> None:
    scores, ordinals = cpu.topk(np.array([-0.0, 0.0, -0.0], np.float32), 3)
    np.testing.assert_array_equal(ordinals, [0, 1, 2])
    np.testing.assert_array_equal(np.signbit(scores), [True, False, True])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 300)),
    k=st.integers(0, 320),
)
def test_rows(seed: int, shape: tuple[int, int], k: int) -> None:
    scores = draw(seed, shape[0] * shape[1], "ties").reshape(shape)
    assert_same(cpu.topk_rows(scores, k), reference.topk_rows(scores, k))


@pytest.mark.parametrize("slack", [0.0, 0.25, np.float32(0.1), np.float64(0.1), np.inf, 1e300])
@pytest.mark.parametrize("kind", KINDS)
def test_select_with_every_kind_of_slack(level: str, kind: str, slack: float) -> None:
    scores = draw(5, 3000, kind)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = reference.select(scores, 100, slack)
        np.testing.assert_array_equal(cpu.select(scores, 100, slack), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 4000),
    k=st.integers(1, 4000),
    slack=st.sampled_from([0.0, 1e-3, 0.5]),
)
def test_select(dtype: type, seed: int, n: int, k: int, slack: float) -> None:
    scores = draw(seed, n, "ties" if seed % 2 else "random").astype(dtype)
    np.testing.assert_array_equal(cpu.select(scores, k, slack), reference.select(scores, k, slack))


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(0, 400), max_size=8), k=st.integers(0, 500)
)
def test_merge(seed: int, lengths: list[int], k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = [np.round(rng.standard_normal(n) * 3).astype(np.float32) for n in lengths]
    ids = [rng.integers(-(2**62), 2**62, n) for n in lengths]
    assert_same(cpu.merge(scores, ids, k), reference.merge(scores, ids, k))


def test_merge_of_rows_and_what_it_refuses() -> None:
    scores, ids = np.zeros((3, 700), np.float32), np.arange(2100)[::-1].reshape(3, 700).copy()
    assert_same(cpu.merge(scores, ids, 900), (np.zeros(900, np.float32), np.arange(900)))
    with pytest.raises(ValueError, match="2100 scores and 700 ids"):
        cpu.merge(scores, ids[:1], 3)
    with pytest.raises(ValueError, match="float64"):
        cpu.merge(scores.astype(float), ids, 3)
    with pytest.raises(ValueError, match="k is -1"):
        cpu.merge(scores, ids, -1)
    scores[1, 5] = np.nan
    with pytest.raises(ValueError, match="position 705"):
        cpu.merge(scores, ids, 3)


def test_what_topk_refuses() -> None:
    with pytest.raises(ValueError, match="float64"):
        cpu.topk(np.zeros(3), 1)
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        cpu.topk(np.zeros((2, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k is -1"):
        cpu.topk(np.zeros(3, np.float32), -1)
    with pytest.raises(ValueError, match="accept"):
        cpu.topk(np.zeros(3, np.float32), 1, np.zeros(4, np.bool_))
    with pytest.raises(ValueError, match="accept"):
        cpu.topk(np.zeros(3, np.float32), 1, np.zeros(3, np.uint8))  # type: ignore[arg-type]


def test_unaligned_read_only_file(level: str, tmp_path: Path) -> None:
    scores = draw(3, 5001, "random")
    path = tmp_path / "scores"
    path.write_bytes(b"x" + scores.tobytes())
    mapped = np.memmap(path, np.float32, "r", offset=1, shape=(5001,))
    assert_same(cpu.topk(mapped, 50), reference.topk(scores, 50))


def test_threads(level: str) -> None:
    scores = draw(4, 100_000, "random")
    expected = reference.topk(scores, 100)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.topk(scores, 100), range(32)):
            assert_same(got, expected)
