"""Hamming scans against the reference and faiss, on every level."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.kernels import host
from retrieval.kernels.hamming import cpu, reference

LEVELS = ["portable", "avx512"] if host.simd_level() == "avx512" else ["portable"]
LENGTHS = [1, 3, 7, 8, 16, 20, 24, 32, 40, 48, 56, 63, 64, 65, 96, 128, 191, 192, 193, 200, 256, 1023, 1024]
per_example = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "portable":
        monkeypatch.setattr(cpu, "_vectors", lambda: None)
    return str(request.param)


def make(seed: int, n_queries: int, n: int, nbytes: int, spread: int = 256) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = rng.integers(0, spread, (n_queries + n, nbytes), dtype=np.uint8)
    return draw[:n_queries], draw[n_queries:]


def assert_equal(got: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    for have, want, dtype in zip(got, expected, ("int32", "int64"), strict=True):
        assert have.dtype == want.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(have, want)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_queries=st.sampled_from([0, 1, 2, 3, 4, 5, 9]),
    n=st.sampled_from([0, 1, 7, 8, 9, 16, 40, 333]),
    nbytes=st.sampled_from(LENGTHS),
    k=st.sampled_from([0, 1, 2, 10, 33, 1000]),
    spread=st.sampled_from([1, 2, 256]),
    share=st.sampled_from([None, 0.0, 0.1, 0.7]),
)
@per_example
def test_nearest_equal_reference(level, seed, n_queries, n, nbytes, k, spread, share) -> None:  # type: ignore[no-untyped-def]
    queries, codes = make(seed, n_queries, n, nbytes, spread)
    accept = None if share is None else np.random.default_rng(seed).random(n) < share
    assert_equal(cpu.hamming(queries, codes, k, accept), reference.hamming(queries, codes, k, accept))
    if n_queries:
        np.testing.assert_array_equal(
            cpu.hamming_distances(queries[0], codes), reference.hamming_distances(queries[0], codes)
        )


@pytest.mark.parametrize("nbytes", [1, 48, 128, 1024])
def test_farther_and_nearer(level: str, nbytes: int) -> None:
    """Codes that come nearer one after the other change the limit most; all bits may differ."""
    n = 8 * nbytes + 1
    steps = np.unpackbits(np.tri(n, 8 * nbytes, -1, dtype=np.uint8), axis=1).reshape(n, -1, 8)[:, :, 7]
    codes = np.packbits(steps, axis=1)[::-1].copy()
    queries = np.zeros((5, nbytes), np.uint8)
    for k in (1, 3, n):
        assert_equal(cpu.hamming(queries, codes, k), reference.hamming(queries, codes, k))
    assert cpu.hamming_distances(queries[0], codes).tolist() == list(range(n))[::-1]


def test_buffer_is_compacted(level: str) -> None:
    """Many more candidates than the buffer holds: falling distances with many ties."""
    rng = np.random.default_rng(0)
    falling = np.sort(rng.integers(0, 64, 5000))[::-1]
    codes = np.packbits(np.arange(64) < falling[:, None], axis=1)
    queries = np.zeros((4, 8), np.uint8)
    for k in (1, 7, 100):
        assert_equal(cpu.hamming(queries, codes, k), reference.hamming(queries, codes, k))


@pytest.mark.parametrize("nbytes", [8, 48, 67, 192])
def test_unaligned_memory_map(level: str, tmp_path: Path, nbytes: int) -> None:
    queries, codes = make(1, 5, 101, nbytes)
    path = tmp_path / "codes"
    path.write_bytes(b"x" * 3 + codes.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=3, shape=codes.shape)
    assert_equal(cpu.hamming(queries, mapped, 9), reference.hamming(queries, codes, 9))
    np.testing.assert_array_equal(
        cpu.hamming_distances(queries[0], mapped), reference.hamming_distances(queries[0], codes)
    )


@pytest.mark.parametrize("nbytes", [8, 40, 65, 200])
def test_nothing_is_read_behind_the_end(level: str, nbytes: int) -> None:
    """What follows the codes in memory does not change the answer."""
    queries, codes = make(2, 4, 48, nbytes)
    answers = []
    for filler in (0, 255):
        room = np.full(codes.size + 256, filler, np.uint8)
        room[: codes.size] = codes.reshape(-1)
        answers.append(cpu.hamming(queries, room[: codes.size].reshape(codes.shape), 5))
    assert_equal(*answers)


def test_threads_agree(level: str) -> None:
    queries, codes = make(3, 4, 3000, 48)
    expected = reference.hamming(queries, codes, 20)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(cpu.hamming, queries, codes, 20) for _ in range(32)]:
            assert_equal(done.result(), expected)


@pytest.mark.parametrize("nbytes", [4, 16, 48, 128])
def test_distances_equal_faiss(level: str, nbytes: int) -> None:
    faiss = pytest.importorskip("faiss")
    queries, codes = make(4, 6, 500, nbytes)
    index = faiss.IndexBinaryFlat(8 * nbytes)
    index.add(codes)
    expected, _ = index.search(queries, 30)
    distances, ordinals = cpu.hamming(queries, codes, 30)
    np.testing.assert_array_equal(distances, expected)
    for query, row, found in zip(queries, distances, ordinals, strict=True):
        np.testing.assert_array_equal(cpu.hamming_distances(query, codes[found]), row)


@pytest.mark.parametrize(
    ("queries", "codes", "k", "accept", "told"),
    [
        (np.zeros((1, 8), np.int8), np.zeros((2, 8), np.uint8), 1, None, "queries: int8|query: int8"),
        (np.zeros((1, 8), np.uint8), np.zeros((2, 8), np.int8), 1, None, "codes: int8"),
        (np.zeros(8, np.uint8), np.zeros((2, 8), np.uint8), 1, None, r"queries: \(8,\)"),
        (np.zeros((1, 4), np.uint8), np.zeros((2, 8), np.uint8), 1, None, "codes of 8 bytes"),
        (np.zeros((1, 0), np.uint8), np.zeros((2, 0), np.uint8), 1, None, "codes of 0 bytes"),
        (np.zeros((1, 1025), np.uint8), np.zeros((2, 1025), np.uint8), 1, None, "codes of 1025 bytes"),
        (np.zeros((1, 4), np.uint8), np.zeros((2, 8), np.uint8)[:, ::2], 1, None, "not contiguous"),
        (np.zeros((1, 8), np.uint8), np.zeros((2, 8), np.uint8), -1, None, "k=-1"),
        (np.zeros((1, 8), np.uint8), np.zeros((2, 8), np.uint8), 1, np.ones(3, bool), r"accept: bool\(3,\)"),
        (np.zeros((1, 8), np.uint8), np.zeros((2, 8), np.uint8), 1, np.ones(2, np.uint8), "accept: uint8"),
    ],
)
def test_bad_input_is_refused(queries, codes, k, accept, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=told):
        cpu.hamming(queries, codes, k, accept)
