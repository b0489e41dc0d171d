"""Scores from centroids alone: every level equals the reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cases.centroid_maxsim import CASES
from retrieval.kernels import host, runs
from retrieval.kernels.centroid_maxsim import cpu, portable, reference, tables

VECTORS = host.simd_level() == "avx512"
LEVELS = ["portable", pytest.param("avx512", marks=pytest.mark.skipif(not VECTORS, reason="no AVX-512 here"))]
EXAMPLES = settings(max_examples=60)


def score(
    level: str, table: np.ndarray, centroids: np.ndarray, offsets: np.ndarray, ordinals=None
) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The level's kernel, into memory that held something else."""
    if level == "avx512":
        from retrieval.kernels.centroid_maxsim import avx512

        kernel = avx512.score_u8 if table.dtype == np.uint8 else avx512.score_i16
    else:
        kernel = portable.score
    arguments = runs.as_runs(centroids, offsets, ordinals)
    out = np.full(len(offsets) - 1 if ordinals is None else len(ordinals), -(2**31), np.int32)
    assert kernel(table.reshape(-1), table.shape[1], len(table), *arguments, out) == -1
    return out


def ragged(rng: np.random.Generator, doclens: list[int], k: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(doclens, dtype=np.int64)])
    return rng.integers(0, k, int(offsets[-1])).astype(dtype), offsets


@pytest.mark.parametrize("level", LEVELS)
@given(
    seed=st.integers(0, 2**32 - 1),
    doclens=st.lists(st.integers(0, 11), max_size=9),
    k=st.integers(1, 9),
    n_q=st.one_of(st.integers(1, 70), st.sampled_from([32, 64, 96, 128, 511, 512])),
    table=st.sampled_from(["uint8", "int16"]),
    dtype=st.sampled_from(["uint16", "uint32"]),
    chosen=st.lists(st.integers(0, 8), max_size=12),
)
@EXAMPLES
def test_equals_reference(level, seed, doclens, k, n_q, table, dtype, chosen) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    info = np.iinfo(table)
    scores = rng.integers(info.min, info.max, (k, n_q), dtype=table, endpoint=True)
    centroids, offsets = ragged(rng, doclens, k, dtype)
    for ordinals in (None, np.array([i for i in chosen if i < len(doclens)], dtype=np.int64)):
        expected = reference.centroid_maxsim(scores, centroids, offsets, ordinals)
        np.testing.assert_array_equal(score(level, scores, centroids, offsets, ordinals), expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", 0), ("uint8", 255), ("int16", -(2**15)), ("int16", 2**15 - 1)]
)
@pytest.mark.parametrize("n_q", [1, 32, 33, 512])
def test_extremes(level: str, dtype: str, value: int, n_q: int) -> None:
    table = np.full((3, n_q), value, dtype)
    centroids, offsets = ragged(np.random.default_rng(0), [1, 0, 8192], 3, "uint16")
    assert score(level, table, centroids, offsets).tolist() == [value * n_q, 0, value * n_q]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_cases(case) -> None:  # type: ignore[no-untyped-def]
    arguments = case.make(np.random.default_rng(1), 0.003)
    np.testing.assert_array_equal(
        getattr(cpu, case.function)(*arguments), getattr(reference, case.function)(*arguments)
    )


def test_unaligned_read_only_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (40, 32), dtype=np.uint8)
    centroids, offsets = ragged(rng, [5, 0, 17, 1], 40, "uint16")
    (tmp_path / "file").write_bytes(b"x" + table.tobytes() + b"yy" + centroids.tobytes())
    mapped_table = np.memmap(tmp_path / "file", np.uint8, "r", 1, (40, 32))
    mapped = np.memmap(tmp_path / "file", np.uint16, "r", 3 + table.size, centroids.shape)
    np.testing.assert_array_equal(
        cpu.centroid_maxsim(mapped_table, mapped, offsets),
        reference.centroid_maxsim(table, centroids, offsets),
    )


def test_threads() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (500, 48), dtype=np.uint8)
    centroids, offsets = ragged(rng, [50] * 400, 500, "uint16")
    expected = reference.centroid_maxsim(table, centroids, offsets)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.centroid_maxsim(table, centroids, offsets), range(32)):
            np.testing.assert_array_equal(got, expected)


def test_what_is_refused() -> None:
    table, centroids, offsets = np.zeros((3, 4), np.uint8), np.zeros(5, np.uint16), np.array([0, 2, 5])
    for wrong, message in [
        ((table.astype(float), centroids, offsets), "table is"),
        ((table[0], centroids, offsets), "table is"),
        ((table, centroids.astype(np.int32), offsets), "centroids are"),
        ((table, centroids, offsets.astype(float)), "offsets are"),
        ((table, centroids, offsets, np.array([2])), "ordinal 2: there are 2"),
        ((table, centroids, offsets, np.array([-1])), "ordinal -1: there are 2"),
        ((table, centroids, np.array([0, 2, 6])), "document 1 is tokens 2 to 6"),
        ((table, centroids, np.array([0, 2, 1])), "document 1 is tokens 2 to 1"),
        ((table, centroids, np.array([-1, 2])), "document 0 is tokens -1 to 2"),
        ((table, np.array([0, 3], np.uint16), np.array([0, 1, 2])), "document 1 has a token of centroid 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.centroid_maxsim(*wrong)
    assert cpu.centroid_maxsim(table, centroids, np.array([0])).shape == (0,)
    assert cpu.centroid_maxsim(table[:, :0], centroids, offsets).tolist() == [0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(1, 40), st.sampled_from([1e-3, 1.0, 1e6]))
@EXAMPLES
def test_bytes_are_within_half_a_unit(seed: int, k: int, n_q: int, size: float) -> None:
    scores = (size * np.random.default_rng(seed).standard_normal((k, n_q))).astype(np.float32)
    table = tables.quantise_scores(scores)
    restored = table.lowest + table.values * table.unit
    assert np.abs(restored - scores).max() <= 0.5001 * table.unit + 1e-6 * size
    assert table.values.ctypes.data % tables.LINE == 0
    centroids, offsets = np.arange(k, dtype=np.uint16), np.array([0, k])
    exact = scores.max(axis=0).sum()
    got = table.restore(cpu.centroid_maxsim(table.values, centroids, offsets))
    assert abs(got[0] - exact) <= n_q * (0.51 * table.unit + 1e-5 * size)


def test_scores_that_are_not_numbers_are_refused() -> None:
    for value in (np.nan, np.inf, -np.inf):
        scores = np.zeros((4, 3), np.float32)
        scores[2, 1] = value
        with pytest.raises(ValueError, match="finite"):
            tables.quantise_scores(scores)
    assert tables.quantise_scores(np.full((4, 3), 2.5, np.float32)).restore(np.zeros(1, np.int32)) == [7.5]
