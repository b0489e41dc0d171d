"""What residual codecs are made of, against first principles and faiss."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import faiss
import numpy as np
import pytest

from retrieval.kernels.assign.cpu import assign_i8, assign_prepared, prepare_centroids
from retrieval.kernels.assign.reference import assign
from retrieval.kernels.residuals import cpu
from retrieval.kernels.residuals.reference import Around
from retrieval.quantize.residual import cells, training
from retrieval.quantize.residual.buckets import BucketResiduals, TernaryResiduals
from retrieval.quantize.residual.cells import Centroids
from retrieval.quantize.residual.product import ProductResiduals
from retrieval.quantize.residual.training import choose_ncentroids, train_centroids


@cache
def gaussian(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


@cache
def clustered(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(9).standard_normal((400, 24))
    values = centers[rng.integers(0, 400, n)] + 0.7 * rng.standard_normal((n, 24))
    return values.astype(np.float32)


# --- Buckets -----------------------------------------------------------------------------------


def test_buckets_of_a_normal_distribution_are_those_of_the_literature() -> None:
    """Max, Quantizing for minimum distortion (1960), table I."""
    sample = gaussian(200_000, 1)
    for bits, expected in ((1, [0.7979]), (2, [0.4528, 1.510]), (4, [0.1284, 0.3881])):
        buckets = BucketResiduals.fit(sample, {"bits": bits, "buckets": "global"}, 0, 1).buckets
        half = 2 ** (bits - 1)
        np.testing.assert_allclose(buckets[half : half + len(expected)], expected, atol=0.02)
        np.testing.assert_allclose(buckets, -buckets[::-1], atol=0.04)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_no_bucket_can_be_moved_for_the_better(bits: int) -> None:
    sample = np.abs(gaussian(4000, 5)) ** np.array([1, 2, 0.5, 3, 1.5], np.float32)
    coder = BucketResiduals.fit(sample, {"bits": bits}, 0, 1)
    decoded = coder.decode(coder.encode(sample))
    nearest = np.abs(sample[:, :, None] - coder.buckets).min(axis=2)
    np.testing.assert_allclose(np.abs(sample - decoded), nearest, atol=1e-6)
    for j in range(5):
        for bucket in np.unique(decoded[:, j]):
            mean = sample[decoded[:, j] == bucket, j].mean(dtype=np.float64)
            assert abs(mean - bucket) < 0.02 * np.ptp(sample[:, j])
    cuts = np.quantile(sample, np.arange(1, 2**bits) / 2**bits, axis=0)  # as ColBERTv2 has them
    levels = (sample[:, None] > cuts).sum(axis=1)
    means = np.stack([
        [sample[levels[:, j] == k, j].mean() for k in range(2**bits)] for j in range(5)
    ])  # fmt: skip
    by_quantiles = ((sample - means[np.arange(5), levels]) ** 2).sum()
    assert ((sample - decoded) ** 2).sum() <= by_quantiles * 1.0001


def test_ternary_codes_are_the_nearest_of_three() -> None:
    sample = gaussian(5000, 3) * np.array([1, 5, 0.1], np.float32)
    for shares in ("dimension", "global"):
        coder = TernaryResiduals.fit(sample, {"buckets": shares, "bits": 4}, 0, 1)
        b = np.broadcast_to(coder.buckets, (3, 4))[:, 2]
        three = np.stack([-b, np.zeros(3, np.float32), b], axis=1)
        nearest = np.abs(sample[:, :, None] - three).argmin(axis=2)
        expected = three[np.arange(3), nearest]
        np.testing.assert_array_equal(coder.decode(coder.encode(sample)), expected)
    # With b the mean of what is above b / 2, for a normal distribution b = 1.224.
    alone = TernaryResiduals.fit(gaussian(200_000, 1), {}, 0, 1)
    np.testing.assert_allclose(alone.buckets[0], [-1.224, 0, 1.224, 0], atol=0.02)


def test_shared_buckets_see_every_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval.quantize.residual import buckets

    monkeypatch.setattr(buckets, "NUMBERS", 1000)
    sample = np.tile(np.array([[-3, 3]], np.float32), (4000, 1))
    assert BucketResiduals.fit(sample, {"bits": 1, "buckets": "global"}, 0, 1).buckets.tolist() == [-3, 3]


# --- Parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "nbits"), [(1, 4), (8, 4), (32, 4), (7, 8), (4, 8)])
def test_codes_are_faiss_codes(m: int, nbits: int) -> None:
    dim = 4 * m
    coder = ProductResiduals.fit(gaussian(3000, dim), {"m": m, "nbits": nbits}, 0, 1)
    quantizer = faiss.ProductQuantizer(dim, m, nbits)
    faiss.copy_array_to_vector(coder.codebooks.reshape(-1), quantizer.centroids)
    values = gaussian(333, dim, 1)
    codes = coder.encode(values)
    same = (codes == quantizer.compute_codes(values)).all(axis=1)
    assert same.mean() > 0.99  # products of equal size may be rounded either way
    np.testing.assert_array_equal(coder.decode(codes), quantizer.decode(codes))


@pytest.mark.parametrize("m", [1, 3, 8, 20, 30, 31])
def test_parts_need_not_be_equal(m: int) -> None:
    coder = ProductResiduals.fit(gaussian(3000, 31), {"m": m}, 0, 1)
    values, query = gaussian(100, 31, 1), gaussian(3, 31, 2)
    decoded, table = coder.decode(coder.encode(values)), coder.table(query)
    starts = [31 * part // m for part in range(m + 1)]
    assert max(np.diff(starts)) - min(np.diff(starts)) <= 1 and table.shape == (m, 16, 3)
    for part, (first, last) in enumerate(pairwise(starts)):
        words = coder.codebooks[part, :, : last - first]
        distances = ((values[:, None, first:last] - words) ** 2).sum(axis=2)
        own = ((values[:, first:last] - decoded[:, first:last]) ** 2).sum(axis=1)
        np.testing.assert_allclose(own, distances.min(axis=1), atol=1e-5)
        np.testing.assert_allclose(table[part], words @ query[:, first:last].T, atol=1e-5)
        assert not coder.codebooks[part, :, last - first :].any()


def test_more_parts_lose_less() -> None:
    sample, values = gaussian(4000, 32), gaussian(500, 32, 1)
    lost = []
    for m in (4, 8, 12, 16, 24, 32):
        coder = ProductResiduals.fit(sample, {"m": m}, 0, 1)
        lost.append(((values - coder.decode(coder.encode(values))) ** 2).sum())
    assert all(more < 0.95 * less for less, more in pairwise(lost))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def codes(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def decoded_around(dim: int = 8, ordinals: tuple[int, ...] = (0, 1, 2), norms: int = 3) -> np.ndarray:
    around = Around(zeros(5, dim), np.array(ordinals), np.ones(norms, np.float16))
    return cpu.product_values(codes(3, 2), zeros(4, 16, 2), 8, around)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: cpu.product_codes(zeros(3, 8), zeros(9, 16, 1)), "codebooks are"),
        (lambda: cpu.product_codes(zeros(3, 8), zeros(4, 32, 2)), "codebooks are"),
        (lambda: cpu.product_codes(zeros(3, 8), zeros(4, 16, 1)), "codebooks are"),
        (lambda: cpu.product_codes(np.zeros((3, 8)), zeros(4, 16, 2)), "must be float32"),
        (lambda: cpu.product_values(codes(3, 1), zeros(4, 16, 2), 8), "give uint8"),
        (lambda: cpu.product_values(codes(3, 4), zeros(4, 256, 2), 9), "codebooks"),
        (lambda: cpu.bucket_codes(zeros(3, 8), zeros(4, 8), 2), "edges are"),
        (lambda: cpu.bucket_codes(zeros(3, 8), zeros(3, 7), 2), "edges are"),
        (lambda: cpu.bucket_codes(zeros(3, 8), zeros(3, 8), 3), "bits is 3"),
        (lambda: cpu.bucket_values(codes(3, 1), zeros(8, 4), 2), "give uint8"),
        (lambda: cpu.bucket_values(codes(3, 2), zeros(8, 3), 2), "buckets are"),
        (lambda: cpu.bucket_values(codes(3, 2).view(np.int8), zeros(8, 4), 2), "give uint8"),
        (lambda: decoded_around(dim=7), "float32 .K, 8."),
        (lambda: decoded_around(ordinals=(0, 1)), "one a code"),
        (lambda: decoded_around(norms=2), "one a code"),
        (lambda: decoded_around(ordinals=(0, 5, 1)), "leave the 5 centroids"),
        (lambda: decoded_around(ordinals=(0, -1, 1)), "leave the 5 centroids"),
    ],
)
def test_kernels_refuse_what_does_not_fit(call: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()


@pytest.mark.parametrize(
    ("ordinals", "told"),
    [
        (np.array([0, 1, 5]), "leave the 5 centroids"),
        (np.array([0, -1, 2]), "leave the 5 centroids"),
        (np.array([0, 1]), "give int64"),
        (np.array([0, 1, 2], np.int32), "give int64"),
    ],
)
def test_inverse_norms_refuse_what_does_not_fit(ordinals: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cpu.inverse_norms(gaussian(3, 4), gaussian(5, 4), ordinals, gaussian(3, 4))
    with pytest.raises(ValueError, match="do not fit"):
        cpu.inverse_norms(gaussian(3, 4), gaussian(5, 3), np.arange(3), gaussian(3, 4))


# --- Centroids ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_tokens", "n_sample", "expected"),
    [
        (916_000, 10**7, 8192),
        (671_089, 10**7, 8192),  # just above (8192 / 10) squared, and just below
        (671_088, 10**7, 4096),
        (916_000, 16 * 100, 64),
        (916_000, 16, 1),
        (916_000, 1, 1),
        (1, 10**7, 8),
        (0, 0, 1),
    ],
)
def test_how_many_centroids(n_tokens: int, n_sample: int, expected: int) -> None:
    assert choose_ncentroids(n_tokens, n_sample) == expected


@pytest.mark.parametrize("exact", [True, False])
def test_prepared_centroids_are_asked_time_and_again(exact: bool) -> None:
    values, centroids = clustered(333, 1), clustered(100, 2)
    problem = prepare_centroids(centroids, "l2", exact)
    for some in (values, values[:31], values[:0]):
        for threads in (1, 2):
            expected = assign_i8(some, centroids, "l2", exact)
            for got, want in zip(assign_prepared(some, problem, threads), expected, strict=True):
                np.testing.assert_array_equal(got, want)
    for wrong in (values[:, :-1], values.astype(np.float64), values[0]):
        with pytest.raises(ValueError, match="values are"):
            assign_prepared(wrong, problem)
    with pytest.raises(ValueError, match="centroid"):
        prepare_centroids(centroids[:0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        assign_prepared(values * np.float32(np.nan), problem)


def squared(values: np.ndarray, centroids: np.ndarray, chosen: np.ndarray) -> float:
    return float(((values - centroids[chosen]) ** 2).sum(dtype=np.float64))


def test_tokens_go_to_the_nearest_of_all() -> None:
    values = clustered(2000, 1)
    for k in (1, 2, 33, 300):
        found = train_centroids(clustered(8000), k, seed=1)
        chosen, best = found.nearest(values), assign(values, found.values, "l2")[0]
        assert chosen.dtype == np.int64 and (chosen == best).mean() > 0.97
        assert squared(values, found.values, chosen) <= 1.0005 * squared(values, found.values, best)


def test_cells_lose_little(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, values = clustered(40_000), clustered(3000, 1)
    one = train_centroids(sample, 600, seed=1)
    monkeypatch.setattr(training, "ONE_LEVEL", 599)
    two = train_centroids(sample, 600, seed=1)
    starts = two.state()["cells/starts"]
    assert "cells/starts" not in one.state() and len(starts) - 1 in range(20, 25)
    assert two.values.shape == one.values.shape
    best = assign(values, two.values, "l2")[0]
    chosen = two.nearest(values)
    assert (chosen == best).mean() > 0.95
    assert squared(values, two.values, chosen) < 1.02 * squared(values, two.values, best)
    in_one = squared(values, one.values, one.nearest(values))
    assert squared(values, two.values, chosen) < 1.04 * in_one
    # All cells visited, every token finds its nearest but for what bytes round.
    monkeypatch.setattr(cells, "VISITED", len(starts) - 1)
    all_visited = two.nearest(values)
    assert squared(values, two.values, all_visited) <= 1.0005 * squared(values, two.values, best)
    assert (all_visited == best).mean() > (chosen == best).mean()
    for rows in (1, 64, 1000):
        monkeypatch.setattr(cells, "ROWS", rows)
        np.testing.assert_array_equal(two.nearest(values[:100], threads=2), all_visited[:100])
    assert two.nearest(values[:0]).shape == (0,)


def test_rounds_of_all_together_are_for_the_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "ONE_LEVEL", 100)
    errors = []
    for rounds in (0, 2):
        monkeypatch.setattr(training, "ROUNDS", rounds)
        found = train_centroids(clustered(20_000), 400, seed=1)
        errors.append(squared(clustered(20_000), found.values, found.nearest(clustered(20_000))))
    assert errors[1] < 0.99 * errors[0]


def test_equal_tokens_leave_cells_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few different tokens, many copies: cells get no tokens, or too few for a centroid, and are dropped."""
    monkeypatch.setattr(training, "ONE_LEVEL", 10)
    sample = np.concatenate([np.tile(clustered(3), (300, 1)), clustered(40, 5)])
    found = train_centroids(np.ascontiguousarray(sample), 100, seed=1)
    assert found.values.shape == (100, 24) and np.isfinite(found.values).all()
    again = Centroids.from_state(found.state(), 24)
    np.testing.assert_array_equal(again.nearest(sample), found.nearest(sample))
    assert squared(sample[:900], found.values, found.nearest(sample)[:900]) < 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_centroids(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.geometric(0.02, 40) * (rng.random(40) < 0.8)
    for k in (1, 7, int(counts.sum()) // 3, int(counts.sum())):
        shares = training._shares(counts, k)
        assert shares.sum() == k and (shares >= 0).all() and (shares <= counts).all()
        assert (np.abs(shares - counts * k / counts.sum()) < 1).all()
