"""Scans of product-quantised codes against the definition, on every level, and against faiss's distances."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cases.pq_scan import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.pq_scan import cpu, reference
from retrieval.kernels.topk import cpu as topk_cpu

LEVELS = ["avx512", "portable"] if host.simd_level() == "avx512" else ["portable"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(cpu, "simd_level", lambda: request.param)
    monkeypatch.setattr(topk_cpu, "simd_level", lambda: request.param)
    topk_cpu._kernels.cache_clear()
    yield request.param
    topk_cpu._kernels.cache_clear()


def draw(
    seed: int, n: int, m: int, n_queries: int, nbits: int, kind: str = "random"
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**nbits, (n, m), dtype=np.uint8)
    tables = rng.standard_normal((n_queries, m, 2**nbits)).astype(np.float32)
    if kind == "few":  # many ties
        tables = np.round(tables)
        codes[: n // 2] = codes[n - n // 2 :]
    elif kind == "equal":
        tables[:] = 2.5
    elif kind == "extreme":  # the largest totals there can be
        tables[:], tables[:, :, 0] = 1e30, -1e30
        codes[::2] = 2**nbits - 1
    return tables, reference.pack_codes(codes) if nbits == 4 else codes


def assert_same(got: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for have, want in zip(got, expected, strict=True):
        assert have.dtype == want.dtype
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_cases(case, level: str) -> None:  # type: ignore[no-untyped-def]
    assert check(case) is None


def test_more_subquantisers_than_16_bits_hold(level: str) -> None:
    tables, codes = draw(0, 70, 601, 2, 4, "extreme")
    assert_same(cpu.pq_scan(tables, codes, 70, nbits=4), reference.pq_scan(tables, codes, 70, nbits=4))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 150) | st.integers(0, 1500),
    m=st.integers(1, 40),
    n_queries=st.integers(0, 9),
    k=st.integers(0, 20) | st.integers(0, 1600),
    nbits=st.sampled_from([4, 8]),
    kind=st.sampled_from(["random", "few", "equal", "extreme"]),
    share=st.sampled_from([None, 0.0, 0.02, 0.5]),
    exact=st.booleans(),
)
def test_equal_to_the_reference(
    level: str,
    seed: int,
    n: int,
    m: int,
    n_queries: int,
    k: int,
    nbits: int,
    kind: str,
    share: float | None,
    exact: bool,
) -> None:
    tables, codes = draw(seed, n, m, n_queries, nbits, kind)
    accept = None if share is None else np.random.default_rng(seed).random(n) < share
    args = (tables, codes, k, accept, nbits, n, exact)
    assert_same(cpu.pq_scan(*args), reference.pq_scan(*args))
    assert_same((cpu.pq_scores(tables, codes, nbits, n),), (reference.pq_scores(tables, codes, nbits, n),))
    assert_same(cpu.quantize_tables(tables), reference.quantize_tables(tables))


@pytest.mark.parametrize(("nbits", "m"), [(8, 300), (8, 520), (4, 600)])
def test_many_subquantisers_do_not_overflow(level: str, nbits: int, m: int) -> None:
    tables, codes = draw(0, 200, m, 5, nbits, "extreme")
    assert_same(
        cpu.pq_scan(tables, codes, 20, None, nbits, 200),
        reference.pq_scan(tables, codes, 20, None, nbits, 200),
    )


@pytest.mark.parametrize("nbits", [4, 8])
def test_scores_ascending(level: str, nbits: int) -> None:
    """Every vector beats all before it, so that the buffers are cut over and over."""
    tables, codes = draw(0, 4000, 6, 5, nbits)
    codes = reference.unpack_codes(codes, 4000, 6) if nbits == 4 else codes
    totals = reference.pq_scores(reference.quantize_tables(tables)[0].astype(np.float32), codes)
    codes = codes[np.argsort(totals[0])]
    stored = reference.pack_codes(codes) if nbits == 4 else codes
    assert_same(
        cpu.pq_scan(tables, stored, 7, None, nbits, 4000),
        reference.pq_scan(tables, stored, 7, None, nbits, 4000),
    )


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 100), m=st.integers(1, 33))
def test_packing_is_reversible(seed: int, n: int, m: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 16, (n, m), dtype=np.uint8)
    packed = cpu.pack_codes(codes)
    assert packed.shape == (-(-n // 32), -(-m // 8), 2, 64)
    np.testing.assert_array_equal(cpu.unpack_codes(packed, n, m), codes)
    if n and m > 4:
        assert packed[0, 0, 0, 0] == codes[0, 0] | codes[0, 4] << 4


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 64), nbits=st.sampled_from([4, 8]))
def test_quantised_scores_are_within_their_bound(seed: int, m: int, nbits: int) -> None:
    tables, codes = draw(seed, 60, m, 3, nbits)
    entries, scale, bias = cpu.quantize_tables(tables)
    exact = reference.pq_scores(tables, codes, nbits, 60).astype(np.float64)
    coarse = (
        reference.pq_scores(entries.astype(np.float32), codes, nbits, 60) * scale[:, None] + bias[:, None]
    )
    assert (abs(exact - coarse) <= (m * scale / 2)[:, None] * (1 + 1e-4) + 1e-4).all()
    assert entries.min() == 0
    assert entries.max() == 255


def test_agrees_with_faiss() -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((n, 24)).astype(np.float32) for n in (600, 4))
    quantizer = faiss.ProductQuantizer(24, 6, 8)
    quantizer.train(vectors)
    codes = quantizer.compute_codes(vectors)
    centroids = faiss.vector_to_array(quantizer.centroids).reshape(6, 256, 4)
    split = queries.reshape(4, 6, 1, 4)
    tables = -np.square(split - centroids).sum(-1).astype(np.float32)
    distances, labels = np.empty((4, 600), np.float32), np.empty((4, 600), np.int64)
    heap = faiss.float_maxheap_array_t()
    heap.nh, heap.k, heap.val, heap.ids = 4, 600, faiss.swig_ptr(distances), faiss.swig_ptr(labels)
    quantizer.search(faiss.swig_ptr(queries), 4, faiss.swig_ptr(codes), 600, heap, True)
    scores, ordinals = cpu.pq_scan(tables, codes, 600, exact_tables=True)
    np.testing.assert_allclose(-scores, distances, rtol=1e-4, atol=1e-4)
    assert (ordinals == labels).mean() > 0.99
    scores, _ = cpu.pq_scan(tables, codes, 10)
    bound = 6 * reference.quantize_tables(tables)[1].max() / 2
    np.testing.assert_allclose(-scores, distances[:, :10], atol=bound * 1.001 + 1e-4)


@pytest.mark.parametrize("kind", ["random", "few", "equal", "extreme", "ascending", "descending"])
@pytest.mark.parametrize(("n_queries", "k"), [(1, 1), (5, 10), (1, 40)])
def test_threshold_from_the_first_vectors(level: str, n_queries: int, k: int, kind: str) -> None:
    """Enough vectors that the 4-bit scan begins with the maxima of the first."""
    n, m = 150_007, 9
    tables, packed = draw(3, n, m, n_queries, 4, kind)
    if kind.endswith("scending"):
        codes = reference.unpack_codes(packed, n, m)
        totals = reference.pq_scores(reference.quantize_tables(tables[:1])[0].astype(np.float32), codes)[0]
        packed = reference.pack_codes(codes[np.argsort(totals if kind == "ascending" else -totals)])
    args = (tables, packed, k, None, 4, n)
    assert_same(cpu.pq_scan(*args), reference.pq_scan(*args))


@pytest.mark.parametrize("nbits", [4, 8])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite(level: str, nbits: int, value: float) -> None:
    tables, codes = draw(0, 100, 5, 2, nbits)
    for place in (0, tables[0].size - 1, tables.size // 2, tables.size - 1):
        wrong = tables.copy()
        wrong.reshape(-1)[place] = value
        for exact in (False, True):
            with pytest.raises(ValueError, match="not finite"):
                cpu.pq_scan(wrong, codes, 3, None, nbits, 100, exact)


@pytest.mark.parametrize("nbits", [4, 8])
def test_unaligned_read_only_file(level: str, nbits: int, tmp_path: Path) -> None:
    tables, codes = draw(1, 333, 19, 5, nbits)
    path = tmp_path / "codes"
    path.write_bytes(b"xyz" + codes.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=3, shape=codes.shape)
    assert_same(
        cpu.pq_scan(tables, mapped, 9, None, nbits, 333),
        reference.pq_scan(tables, codes, 9, None, nbits, 333),
    )


@pytest.mark.parametrize("nbits", [4, 8])
def test_threads(nbits: int) -> None:
    tables, codes = draw(2, 20_000, 16, 5, nbits)
    args = (tables, codes, 20, None, nbits, 20_000)
    expected = reference.pq_scan(*args)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.pq_scan(*args), range(24)):
            assert_same(got, expected)


def test_what_is_refused() -> None:
    tables, codes = draw(0, 40, 3, 2, 8)
    packed = draw(0, 40, 3, 2, 4)[1]
    for wrong, message in [
        ((tables, codes, 3, None, 5), "nbits is 5"),
        ((tables[:, :, :100], codes, 3), "tables are float32"),
        ((tables.astype(float), codes, 3), "tables are float64"),
        ((np.full_like(tables, np.nan), codes, 3), "not finite"),
        ((tables, codes[:, :2], 3), "codes are uint8"),
        ((tables, codes.astype(np.int8), 3), "codes are int8"),
        ((tables, codes, -1), "k is -1"),
        ((tables, codes, 3, np.ones(39, np.bool_)), "accept"),
        ((tables, codes, 3, None, 8, 39), "n is 39"),
        ((tables[:, :, :16], packed, 3, None, 4, 65), "n is 65"),
        ((tables[:, :, :16], codes, 3, None, 4, 40), "codes are uint8"),
    ]:
        with pytest.raises(ValueError, match=message):
            cpu.pq_scan(*wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a code is 16"):
        cpu.pack_codes(np.full((2, 2), 16, np.uint8))
