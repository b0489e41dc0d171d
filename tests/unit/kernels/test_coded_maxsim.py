"""MaxSim on residual codes: every route and level within its stated error of the reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cases.coded_maxsim import CASES
from retrieval.kernels import host
from retrieval.kernels.coded_maxsim import cpu, reference, tables

VECTORS = host.simd_level() == "avx512"
LEVELS = ["portable", pytest.param("avx512", marks=pytest.mark.skipif(not VECTORS, reason="no AVX-512 here"))]
DOCLENS = st.lists(st.integers(0, 19), max_size=8)
N_Q = st.one_of(st.integers(1, 70), st.sampled_from([16, 32, 48, 64, 512]))
EXAMPLES = settings(max_examples=50)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(cpu, "_has_vectors", lambda: request.param == "avx512")
    return str(request.param)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def documents(rng: np.random.Generator, doclens: list[int], k: int, n_bytes: int) -> tuple[np.ndarray, ...]:
    """centroids, codes, norms, offsets: types drawn as well; some norms negative, some 0."""
    offsets = np.concatenate([[0], np.cumsum(doclens, dtype=np.int64)])
    n = int(offsets[-1])
    norms = (rng.choice([0.0, -1.0, 1.0, 1.0, 1.0], n) * rng.uniform(0.2, 3, n)).astype(
        rng.choice(["f2", "f4"])
    )
    centroids = rng.integers(0, k, n).astype(rng.choice(["u2", "u4"]))
    return centroids, rng.integers(0, 256, (n, n_bytes), dtype=np.uint8), norms, offsets


def assert_within(got: np.ndarray, expected: np.ndarray, error: float, norms: np.ndarray, n_q: int) -> None:
    assert got.dtype == expected.dtype == np.float32
    assert np.isfinite(got).all()
    largest = float(np.abs(norms.astype(np.float64)).max(initial=0))
    rounding = 1e-5 * (np.abs(expected).max(initial=0) + n_q * largest)
    assert np.abs(got - expected).max(initial=0) <= error * largest + rounding


@given(
    seed=st.integers(0, 2**32 - 1),
    doclens=DOCLENS,
    k=st.integers(1, 9),
    n_q=N_Q,
    m=st.integers(1, 37),
    nbits=st.sampled_from([4, 8]),
)
@EXAMPLES
def test_pq(seed: int, doclens: list[int], k: int, n_q: int, m: int, nbits: int) -> None:
    rng = np.random.default_rng(seed)
    scores, table = 10 * floats(rng, k, n_q), floats(rng, m, 2**nbits, n_q)
    centroids, codes, norms, offsets = documents(rng, doclens, k, -(-m * nbits // 8))
    made = tables.row_tables(scores, table)
    for ordinals in (None, rng.permutation(len(doclens))[:3]):
        expected = reference.coded_maxsim_pq(scores, table, centroids, codes, norms, offsets, ordinals, nbits)
        found = []
        for vectors in {False, VECTORS}:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(cpu, "_has_vectors", lambda vectors=vectors: vectors)
                found.append(
                    cpu.coded_maxsim_pq(scores, table, centroids, codes, norms, offsets, ordinals, nbits)
                )
            assert_within(found[-1], expected, made.error, norms, n_q)
        np.testing.assert_array_equal(found[0], found[-1])  # the same integers on every level


@given(
    seed=st.integers(0, 2**32 - 1),
    doclens=DOCLENS,
    n_q=N_Q,
    d=st.one_of(st.integers(1, 70), st.sampled_from([96, 128, 384])),
    bits=st.sampled_from([1, 2, 4]),
    each=st.booleans(),
    vectors=st.sampled_from(sorted({False, VECTORS})),
)
@EXAMPLES
def test_bits(seed: int, doclens: list[int], n_q: int, d: int, bits: int, each: bool, vectors: bool) -> None:
    rng = np.random.default_rng(seed)
    scores, query = floats(rng, 5, n_q), floats(rng, n_q, d)
    buckets = 0.3 * floats(rng, *((d, 2**bits) if each else (2**bits,)))
    centroids, codes, norms, offsets = documents(rng, doclens, 5, -(-d * bits // 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_has_vectors", lambda: vectors)
        if cpu.multiplies_bytes(buckets, bits):
            error = tables.byte_tables(query, buckets, bits).error
        else:
            error = tables.row_tables(scores, tables.nibble_table(query, buckets, bits)).error
        for ordinals in (None, rng.permutation(len(doclens))[:3]):
            arguments = (query, scores, buckets, codes, centroids, norms, offsets, ordinals, bits)
            assert_within(
                cpu.coded_maxsim_bits(*arguments), reference.coded_maxsim_bits(*arguments), error, norms, n_q
            )


def test_by_hand() -> None:
    scores = np.array([[1.0], [2.0]], np.float32)
    table = np.zeros((2, 16, 1), np.float32)
    table[0, 3], table[1, 5] = 0.5, -0.25
    codes = np.array([[3 | 5 << 4], [3 | 7 << 4], [0]], np.uint8)
    arguments = (
        np.array([0, 1, 1], np.uint16),
        codes,
        np.array([2, 1, 0.5], np.float32),
        np.array([0, 2, 2, 3]),
    )
    expected = [max((1 + 0.5 - 0.25) * 2, (2 + 0.5) * 1), 0, 2 * 0.5]
    assert reference.coded_maxsim_pq(scores, table, *arguments).tolist() == expected
    np.testing.assert_allclose(cpu.coded_maxsim_pq(scores, table, *arguments), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("bits", "buckets", "codes", "residual"),
    [
        (1, [-0.5, 0.5], 0b0001_0110, [-0.5, 0.5, 0.5, -0.5, 0.5]),
        (2, [-0.5, 0.0, 0.5, 0.0], 0b10_01_00_10, [0.5, -0.5, 0.0, 0.5]),
    ],
)
def test_signs_and_ternary_codes_by_hand(
    level: str, bits: int, buckets: list[float], codes: int, residual: list[float]
) -> None:
    query = np.arange(1, len(residual) + 1, dtype=np.float32)[None]
    arguments = (
        query,
        np.array([[0.25]], np.float32),
        np.array(buckets, np.float32),
        np.array([[codes]], np.uint8),
    )
    rest = (np.zeros(1, np.uint16), np.ones(1, np.float16), np.array([0, 1]), None, bits)
    expected = 0.25 + float(query[0] @ residual)
    assert reference.coded_maxsim_bits(*arguments, *rest).tolist() == [expected]
    np.testing.assert_allclose(cpu.coded_maxsim_bits(*arguments, *rest), [expected], rtol=0.02)


@pytest.mark.parametrize("value", [0.0, 1e-38, -7.0, 3e36])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_equal_extreme_scores(level: str, value: float, bits: int) -> None:
    scores, query = np.full((2, 33), value, np.float32), np.zeros((33, 20), np.float32)
    centroids, codes, _, offsets = documents(np.random.default_rng(0), [1, 0, 300], 2, -(-20 * bits // 8))
    norms = np.full(301, 1.5, np.float32)
    got = cpu.coded_maxsim_bits(
        query, scores, np.ones(2**bits, np.float32), codes, centroids, norms, offsets, None, bits
    )
    np.testing.assert_allclose(got, [33 * 1.5 * value, 0, 33 * 1.5 * value], rtol=1e-3, atol=1e-30)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_long_documents_and_tiny_norms(level: str, bits: int) -> None:
    rng = np.random.default_rng(0)
    query, scores = floats(rng, 32, 48), floats(rng, 100, 32)
    buckets = np.linspace(-0.2, 0.2, 2**bits, dtype=np.float32)
    centroids, codes, _, offsets = documents(rng, [8192, 3, 9], 100, 48 * bits // 8)
    norms = np.ones(8204, np.float32)
    norms[8192:8195], norms[8195:] = 0, 1e-40
    arguments = (query, scores, buckets, codes, centroids, norms, offsets, None, bits)
    got, expected = cpu.coded_maxsim_bits(*arguments), reference.coded_maxsim_bits(*arguments)
    np.testing.assert_allclose(got, expected, rtol=0.02, atol=1e-30)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_cases(level: str, case) -> None:  # type: ignore[no-untyped-def]
    arguments = case.make(np.random.default_rng(1), 0.002)
    got, expected = getattr(cpu, case.function)(*arguments), getattr(reference, case.function)(*arguments)
    assert np.abs(got - expected).max() <= case.tolerance * np.abs(expected).max()


def small(bits: int = 4) -> list[np.ndarray | int | None]:
    rng = np.random.default_rng(0)
    centroids, codes, norms, offsets = documents(rng, [30] * 200, 50, 8 * bits)
    buckets = np.linspace(-0.2, 0.2, 2**bits, dtype=np.float32)
    return [floats(rng, 32, 64), floats(rng, 50, 32), buckets, codes, centroids, norms, offsets, None, bits]


@pytest.mark.parametrize("bits", [1, 4])
def test_threads(level: str, bits: int) -> None:
    arguments = small(bits)
    expected = cpu.coded_maxsim_bits(*arguments)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.coded_maxsim_bits(*arguments), range(24)):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("bits", [1, 4])
def test_unaligned_read_only_maps(level: str, bits: int, tmp_path: Path) -> None:
    arguments = small(bits)
    expected = cpu.coded_maxsim_bits(*arguments)
    for i, array in enumerate(arguments[:7]):
        assert isinstance(array, np.ndarray)
        (tmp_path / str(i)).write_bytes(b"x" + array.tobytes())
        arguments[i] = np.memmap(tmp_path / str(i), array.dtype, "r", 1, array.shape)
    np.testing.assert_array_equal(cpu.coded_maxsim_bits(*arguments), expected)


def test_what_is_refused(level: str) -> None:
    rng = np.random.default_rng(0)
    scores, table = floats(rng, 3, 2), floats(rng, 4, 16, 2)
    centroids, codes, norms = np.zeros(5, np.uint16), np.zeros((5, 2), np.uint8), np.ones(5, np.float16)
    good = [scores, table, centroids, codes, norms, np.array([0, 2, 5]), None, 4]
    assert cpu.coded_maxsim_pq(*good).shape == (2,)
    nan, infinite = norms.copy(), scores.copy()
    nan[3], infinite[1, 1] = np.nan, np.inf
    for at, wrong, message in [
        (0, scores.astype(float), "centroid_scores is"),
        (0, infinite, "finite"),
        (1, table[:, :8], "residual_table is"),
        (1, np.full_like(table, np.nan), "finite"),
        (2, np.full(5, 3, np.uint16), "document 0 has a token of centroid 3"),
        (2, centroids.astype(float), "centroids are"),
        (3, codes[:4], "codes are"),
        (3, codes.astype(np.int8), "codes are"),
        (4, norms.astype(float), "inv_norms are"),
        (4, nan, "document 1 has an inverse norm"),
        (5, np.array([0, 2, 6]), "document 1 is tokens 2 to 6"),
        (6, np.array([2]), "ordinal 2"),
        (7, 5, "nbits is 5"),
    ]:
        bad = [*good[:at], wrong, *good[at + 1 :]]
        with pytest.raises(ValueError, match=message):
            cpu.coded_maxsim_pq(*bad)


def test_what_bits_refuse(level: str) -> None:
    query, scores, buckets, codes, centroids, norms, offsets, _, bits = small()
    good = [query, scores, buckets, codes, centroids, norms, offsets, None, bits]
    assert isinstance(query, np.ndarray) and isinstance(buckets, np.ndarray) and isinstance(norms, np.ndarray)
    nan = norms.copy()
    nan[45] = np.inf
    for at, wrong, message in [
        (0, query[:5], "query is"),
        (0, np.where(query > 2, np.nan, query).astype(np.float32), "finite"),
        (2, buckets[:3], "buckets are"),
        (2, buckets * np.float32(np.nan), "finite"),
        (4, np.full(len(norms), 50, np.uint16), "document 0 has a token of centroid 50"),
        (5, nan, "document 1 has an inverse norm"),
        (8, 3, "bits is 3"),
    ]:
        bad = [*good[:at], wrong, *good[at + 1 :]]
        with pytest.raises(ValueError, match=message):
            cpu.coded_maxsim_bits(*bad)


@given(st.integers(0, 2**32 - 1), st.integers(1, 33), st.integers(1, 40), st.sampled_from([1e-3, 1.0, 1e3]))
@EXAMPLES
def test_row_tables_cannot_overflow(seed: int, m: int, n_q: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    scores, table = np.float32(size) * floats(rng, 6, n_q), floats(rng, m, 16, n_q)
    made = tables.row_tables(scores, table)
    worst = np.abs(made.centroid.astype(int)).max(axis=1) + np.abs(made.residual.astype(int)).max(axis=2).sum(
        axis=1
    )
    assert worst.max() <= 32767
    if m % 2:  # the second half of the last byte holds nothing
        last = made.residual[:, -1].reshape(-1, 16, 16, 32)
        np.testing.assert_array_equal(last, np.broadcast_to(last[:, :1], last.shape))
    flat = made.centroid.transpose(1, 0, 2).reshape(6, -1)
    assert not flat[:, n_q:].any()
    assert np.abs(flat[:, :n_q] * made.unit - scores).max() <= 0.51 * made.unit
    pairs = np.concatenate([table, np.zeros_like(table[: m % 2])]).reshape(-1, 2, 16, n_q)
    both = (pairs[:, 0, None] + pairs[:, 1, :, None]).reshape(len(pairs), 256, n_q)
    flat = made.residual.transpose(1, 2, 0, 3).reshape(len(pairs), 256, -1)
    assert not flat[:, :, n_q:].any()
    assert np.abs(flat[:, :, :n_q] * made.unit - both).max() <= 0.51 * made.unit


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([1, 2, 4]), st.booleans())
@EXAMPLES
def test_nibble_table_says_what_the_codes_mean(seed: int, d: int, bits: int, each: bool) -> None:
    rng = np.random.default_rng(seed)
    query, buckets = floats(rng, 3, d), floats(rng, *((d, 2**bits) if each else (2**bits,)))
    codes = rng.integers(0, 256, (9, -(-d * bits // 8)), dtype=np.uint8)
    table = tables.nibble_table(query, buckets, bits)
    got = table[np.arange(len(table)), reference.unpack(codes, 4, len(table))].sum(axis=1)
    values = np.broadcast_to(buckets, (d, 2**bits))[np.arange(d), reference.unpack(codes, bits, d)]
    np.testing.assert_allclose(got, values @ query.T, rtol=1e-4, atol=1e-4)
