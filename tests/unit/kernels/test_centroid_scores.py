"""Scores of all centroids: every level equals the reference, and the reference what float64 says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cases.centroid_scores import CASES
from bench.kernels import check
from retrieval.kernels import host
from retrieval.kernels.centroid_maxsim.cpu import centroid_maxsim
from retrieval.kernels.centroid_scores import cpu, portable, reference
from retrieval.kernels.centroid_scores.coded import score_coded
from retrieval.kernels.centroid_scores.reference import Centroids, CentroidScores, prepare_centroids
from retrieval.kernels.coded_maxsim.cpu import score_rows
from retrieval.kernels.coded_maxsim.reference import coded_maxsim_pq
from retrieval.kernels.coded_maxsim.tables import row_tables

VECTORS = host.simd_level() == "avx512"
LEVELS = [
    "portable",
    pytest.param("avx512", marks=pytest.mark.skipif(not VECTORS, reason="no AVX-512 here")),
    pytest.param("tiles", marks=pytest.mark.skipif(not host.has_tiles(), reason="no AMX here")),
]
EXAMPLES = settings(max_examples=40)


@pytest.fixture(params=LEVELS)
def score(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`score_centroids` of one level."""
    module: Any = portable
    if request.param != "portable":
        from retrieval.kernels.centroid_scores import avx512

        module = avx512
    monkeypatch.setattr(host, "has_tiles", lambda: request.param == "tiles")
    monkeypatch.setattr(cpu, "_level", lambda: module)
    return cpu.score_centroids


def vectors(rng: np.random.Generator, n: int, d: int, shift: float = 0.5) -> np.ndarray:
    return rng.standard_normal((n, d), dtype=np.float32) + np.float32(shift)


def assert_same(got: CentroidScores, want: CentroidScores) -> None:
    for name, have, expected in zip(got._fields, got, want, strict=True):
        a, b = np.asarray(have), np.asarray(expected)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if a.dtype.kind in "iu":
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12, err_msg=name)


def poison() -> None:
    """Leave numbers behind in memory that arrays of the next call may get."""
    for size in (300, 5000, 70_000, 600_000):
        np.full(size, 0x5A, np.uint8)


SIZES = [
    (k, n_q, d)
    for k in (1, 2, 7, 8, 9, 15, 63, 64, 65, 127, 1031)
    for n_q, d in ((1, 1), (31, 3), (32, 128), (33, 65), (65, 4), (16, 63), (17, 64), (128, 5))
] + [(100, 40, 384), (33, 32, 1024), (2500, 3, 33)]


@pytest.mark.parametrize(("k", "n_q", "d"), SIZES)
def test_equals_reference(score: Any, k: int, n_q: int, d: int) -> None:
    rng = np.random.default_rng(k * 1000 + n_q + d)
    query, centroids = vectors(rng, n_q, d), prepare_centroids(vectors(rng, k, d))
    for nprobe in {1, min(5, k), k // 2 + 1, k, k + 3}:
        poison()
        want = reference.score_centroids(query, centroids, nprobe, True, 0.01)
        assert_same(score(query, centroids, nprobe, True, 0.01), want)


def test_only_what_is_asked_for(score: Any) -> None:
    rng = np.random.default_rng(0)
    query, centroids = vectors(rng, 33, 20), prepare_centroids(vectors(rng, 70, 20))
    for options in ((0, False, None), (0, True, None), (4, False, None), (0, False, 0.1), (4, False, 0.1)):
        found = score(query, centroids, *options)
        assert_same(found, reference.score_centroids(query, centroids, *options))
        assert (len(found.table), found.rows.shape[1]) == (70 * options[1], 70 * (options[2] is not None))
        assert found.probes.shape == found.scores.shape == (33, options[0])


def test_rows_begin_on_cache_lines(score: Any) -> None:
    rng = np.random.default_rng(0)
    found = score(vectors(rng, 5, 8), prepare_centroids(vectors(rng, 100, 8)), 0, True, 0.1)
    assert found.table.ctypes.data % 64 == found.rows.ctypes.data % 64 == 0


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 300),
    n_q=st.integers(1, 70),
    d=st.integers(1, 70),
    nprobe=st.integers(0, 40),
    shift=st.sampled_from([0.0, 3.0, -100.0]),
    size=st.sampled_from([1e-12, 1e-3, 1.0, 1e6]),
    levels=st.sampled_from([0, 1, 3]),
)
@EXAMPLES
def test_is_as_near_as_it_says(
    seed: int, k: int, n_q: int, d: int, nprobe: int, shift: float, size: float, levels: int
) -> None:
    """Against float64. ``levels`` above 0: few different numbers, so that scores are equal."""
    rng = np.random.default_rng(seed)
    values, query = vectors(rng, k, d, shift), vectors(rng, n_q, d, 0)
    if levels:
        values, query = rng.integers(0, levels + 1, (k, d)).astype(np.float32), np.rint(query)
    values, query = values * np.float32(size), query * np.float32(size)
    centroids = prepare_centroids(values)
    found = cpu.score_centroids(query, centroids, nprobe, True, None)
    assert_same(found, reference.score_centroids(query, centroids, nprobe, True, None))
    exact = query.astype(np.float64) @ values.astype(np.float64).T
    room = found.error[:, None]
    assert (np.abs(np.take_along_axis(exact, found.probes, axis=1) - found.scores) <= room).all()
    table = found.score_table()
    high = exact >= table.lowest[:n_q, None] + room
    restored = table.lowest[:n_q, None] + table.values[:, :n_q].T * np.float64(table.unit)
    slack = room + 0.5001 * table.unit + 1e-6 * np.abs(exact).max()
    assert (np.abs(restored - exact) <= slack)[high].all()
    assert (restored <= np.maximum(exact, table.lowest[:n_q, None]) + slack).all()
    kept = min(nprobe, k)
    if kept:  # what is left out is no better than the worst probe, but for the error
        worst = found.scores[:, -1:].astype(np.float64)
        left = np.ones((n_q, k), bool)
        np.put_along_axis(left, found.probes, False, axis=1)
        assert ((exact <= worst + 2 * room) | ~left).all()
        assert all(len(set(row)) == kept for row in found.probes.tolist())


def test_error_is_small_for_unit_vectors() -> None:
    """As for a model whose vectors have a mean cosine of 0.8: bytes of vectors as they are would be worse."""
    rng = np.random.default_rng(0)
    values, query = vectors(rng, 5000, 128, 2.0), vectors(rng, 32, 128, 2.0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    found = cpu.score_centroids(query, prepare_centroids(values), 100, False)
    exact = np.take_along_axis(query.astype(np.float64) @ values.T.astype(np.float64), found.probes, axis=1)
    assert np.abs(found.scores - exact).max() < 3e-3
    assert found.error.max() < 0.02


@pytest.mark.parametrize("k", [1, 8, 100, 9000])
def test_ties_go_to_the_first(score: Any, k: int) -> None:
    """All centroids equal; and a query token of zeros."""
    centroids = prepare_centroids(np.tile(np.array([[1, 2, -3]], np.float32), (k, 1)))
    query = np.array([[1, 1, 1], [0, 0, 0], [-1, 5, 2]], np.float32)
    found = score(query, centroids, 40, True, 0.5)
    assert (found.probes == np.arange(min(k, 40))).all()
    np.testing.assert_allclose(found.scores, np.tile([[0], [0], [3]], (1, min(k, 40))), atol=1e-6)
    assert (found.rows[0, :, :3] == [0, 0, 6]).all() and not found.rows[0, :, 3:].any()
    assert not found.table.any()


def test_many_equal_best(score: Any) -> None:
    """More ties than probes, at both ends of a bound, far apart and in the last, incomplete block."""
    rng = np.random.default_rng(0)
    values = vectors(rng, 4099, 16)
    values[rng.choice(4099, 300, replace=False)] = values[0] = values[-1] = 4
    query = np.abs(vectors(rng, 32, 16))
    centroids = prepare_centroids(values)
    for nprobe in (1, 32, 299, 301, 302, 303, 400):
        assert_same(
            score(query, centroids, nprobe, False),
            reference.score_centroids(query, centroids, nprobe, False),
        )


@pytest.mark.parametrize("order", [1, -1])
def test_centroids_in_order(score: Any, order: int) -> None:
    """Each is better (or worse) than all before; more blocks than groups of maxima."""
    values = np.linspace(-1, 1, 20_003, dtype=np.float32)[::order, None] * np.ones(4, np.float32)
    centroids = prepare_centroids(np.ascontiguousarray(values))
    query = np.array([[1, 2, 3, 4], [-1, 0, 0, 0]], np.float32)
    for nprobe in (1, 33, 3000):
        assert_same(
            score(query, centroids, nprobe, False),
            reference.score_centroids(query, centroids, nprobe, False),
        )


def test_sums_one_apart(score: Any) -> None:
    """The better centroid comes long after the other, and is better by the least there is."""
    values = np.zeros((128, 3), np.float32)
    values[::2, 2], values[1::2, 2] = 127, -127  # so that bytes are the numbers themselves
    values[[0, 1, 100, 101], 1] = [5, -5, 6, -6]
    centroids, query = prepare_centroids(values), np.array([[127, 1, 0]], np.float32)
    for nprobe in (1, 2):
        found = score(query, centroids, nprobe, False)
        assert (found.probes.tolist(), found.scores.tolist()) == ([[100, 0][:nprobe]], [[6, 5][:nprobe]])


def test_more_probes_than_maxima_are_counted(score: Any) -> None:
    rng = np.random.default_rng(0)
    query, centroids = vectors(rng, 2, 3), prepare_centroids(vectors(rng, 40_000, 3))
    found = score(query, centroids, 39_000, False)
    assert_same(found, reference.score_centroids(query, centroids, 39_000, False))


def test_rows_saturate(score: Any) -> None:
    query, values = np.ones((1, 2), np.float32), np.array([[100, 100], [-100, -100]], np.float32)
    found = score(query, prepare_centroids(values), 0, False, 1e-3)
    assert found.rows[0, :, 0].tolist() == [2**15 - 1, -(2**15)]
    assert not found.rows[0, :, 1:].any()


def test_bytes_do_not_saturate_at_the_top(score: Any) -> None:
    """The best possible: a centroid along the query, the others its opposite."""
    query = np.array([[3, -4, 12]], np.float32)
    values = np.concatenate([query, -query])
    found = score(query, prepare_centroids(values), 1, True)
    assert found.table[:, 0].tolist() == [255, 0]
    assert found.table[0, 0] * found.unit + found.lowest[0] == pytest.approx(169, rel=0.01)


def test_bytes_are_for_centroid_maxsim() -> None:
    """The sum of maxima, given back, against MaxSim with the documents' centroids in float64."""
    rng = np.random.default_rng(0)
    query, values = vectors(rng, 20, 32, 0), vectors(rng, 500, 32, 1)
    ids, offsets = rng.integers(0, 500, 4000).astype(np.uint16), np.arange(0, 4001, 100)
    found = cpu.score_centroids(query, prepare_centroids(values))
    table = found.score_table()
    assert table.values.shape == (500, 32) and not table.values[:, 20:].any()
    got = table.restore(centroid_maxsim(table.values, ids, offsets))
    exact = query.astype(np.float64) @ values.T.astype(np.float64)
    want = exact[:, ids].reshape(20, 40, 100).max(axis=2).sum(axis=0)
    assert np.abs(got - want).max() <= found.error.sum() + 20 * 0.51 * table.unit
    assert np.corrcoef(got, want)[0, 1] > 0.999


@pytest.mark.parametrize(("m", "codes", "n_q"), [(8, 16, 32), (5, 16, 33), (3, 256, 20), (1, 16, 1)])
def test_rows_are_for_coded_maxsim(m: int, codes: int, n_q: int) -> None:
    rng = np.random.default_rng(m)
    query, values = vectors(rng, n_q, 24, 0), vectors(rng, 77, 24, 1)
    residuals = (0.3 * rng.standard_normal((m, codes, n_q))).astype(np.float32)
    nbits = 8 if codes == 256 else 4
    n_bytes = m if nbits == 8 else -(-m // 2)
    ids, offsets = rng.integers(0, 77, 600).astype(np.uint16), np.array([0, 0, 1, 50, 600])
    stored, norms = rng.integers(0, 256, (600, n_bytes), dtype=np.uint8), rng.uniform(-0.9, 1, 600)
    norms = norms.astype(np.float32)
    found, tables = score_coded(query, prepare_centroids(values), residuals, 5, True)
    scores = (values.astype(np.float64) @ query.T.astype(np.float64)).astype(np.float32)
    want = coded_maxsim_pq(scores, residuals, ids, stored, norms, offsets, nbits=nbits)
    got = score_rows(tables, ids, stored, norms, offsets)
    assert np.abs(got - want).max() <= tables.error
    assert tables.error < found.error.sum() + 0.02 * np.abs(scores).max() * n_q
    # The same rows, but for the 8-bit error, as of exact scores in that unit.
    exact = np.rint(scores / tables.unit)
    room = found.error / tables.unit + 1
    flat = np.moveaxis(tables.centroid, 1, 0).reshape(77, -1)
    assert (np.abs(flat[:, :n_q] - exact) <= room).all() and not flat[:, n_q:].any()
    largest = np.abs(tables.centroid.astype(np.int64)).max(axis=1).astype(np.float64).max()
    top = np.abs(tables.residual.astype(np.int64)).max(axis=(2, 3)).sum(axis=1).max()
    assert largest + top <= 2**15 - 1
    assert tables.unit <= 3 * row_tables(scores, residuals).unit
    assert found.probes.shape == (n_q, 5) and len(found.table) == 77


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
@pytest.mark.usefixtures("score")
def test_cases(case: Any) -> None:
    assert check(case, scale=0.003) is None


def test_views_and_read_only_arrays(score: Any) -> None:
    rng = np.random.default_rng(0)
    query, values = vectors(rng, 40, 24), vectors(rng, 60, 24)
    want = score(query[::2, ::3].copy(), prepare_centroids(values[::2, ::3].copy()), 3)
    query.flags.writeable = values.flags.writeable = False
    assert_same(score(query[::2, ::3], prepare_centroids(values[::2, ::3]), 3), want)


def test_threads() -> None:
    rng = np.random.default_rng(0)
    query, centroids = vectors(rng, 32, 64), prepare_centroids(vectors(rng, 3000, 64))
    want = cpu.score_centroids(query, centroids, 16, True, 0.01)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: cpu.score_centroids(query, centroids, 16, True, 0.01), range(32)):
            assert_same(got, want)


def test_prepared_centroids() -> None:
    values = np.array([[1, 0, -1], [3, 4, 1], [2, 2, 3]], np.float32)
    made = prepare_centroids(values)
    assert (made.n, made.dim, made.codes.shape) == (3, 3, (8, 4))
    np.testing.assert_array_equal(made.codes[3:], np.tile(made.codes[2], (6, 1))[:5])
    assert (made.codes[:, 3] == 128).all() and made.codes.max() == 255
    restored = made.center + made.step * (made.codes[:3, :3].astype(np.float64) - 128)
    assert np.abs(restored - values).max() <= made.step / 2 * 1.001
    lost = np.linalg.norm(restored - values, axis=1).max()
    assert made.lost == pytest.approx(lost, rel=1e-6)
    assert made.longest == pytest.approx(np.linalg.norm(restored - made.center, axis=1).max(), rel=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        made.codes[0] = 0


@pytest.mark.parametrize("module", [cpu, reference])
def test_what_is_refused(module: Any) -> None:
    values, query = np.ones((5, 3), np.float32), np.ones((2, 3), np.float32)
    for wrong in (values[0], values.astype(np.float64), values[:0], values[:, :0]):
        with pytest.raises(ValueError, match="centroids are"):
            module.prepare_centroids(wrong)
    for number in (np.nan, np.inf, -np.inf):
        broken = values.copy()
        broken[4, 2] = number
        with pytest.raises(ValueError, match="centroids have NaN or infinity"):
            module.prepare_centroids(broken)
        with pytest.raises(ValueError, match="query has NaN or infinity"):
            module.score_centroids(broken, prepare_centroids(values))
    made: Centroids = prepare_centroids(values)
    for wrong in (query[0], query[:, :2], query.astype(np.float64), query[:0]):
        with pytest.raises(ValueError, match=r"query is .*: give float32 \(query tokens, 3\)"):
            module.score_centroids(wrong, made)
    for options, message in (
        ((-1,), "nprobe is -1"),
        ((1, True, 0.0), "row_unit is 0.0"),
        ((1, True, float("nan")), "row_unit is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            module.score_centroids(query, made, *options)
    broken_codes: list[Any] = [made.codes[:7], made.codes[:, :3], made.codes.astype(np.int8)]
    for codes in broken_codes:
        with pytest.raises(ValueError, match="make them by prepare_centroids"):
            module.score_centroids(query, made._replace(codes=codes))
    for n in (0, 9, -8):
        with pytest.raises(ValueError, match="make them by prepare_centroids"):
            module.score_centroids(query, made._replace(n=n))


def test_tables_that_do_not_fit_are_refused() -> None:
    query, made = np.ones((2, 3), np.float32), prepare_centroids(np.ones((5, 3), np.float32))
    table = np.zeros((4, 16, 2), np.float32)
    wrong: Any
    for wrong in (table[0], table[:, :15], table[:, :, :1], table.astype(np.float64)):
        with pytest.raises(ValueError, match="residual_table is"):
            score_coded(query, made, wrong)
    table[1, 2, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        score_coded(query, made, table)
