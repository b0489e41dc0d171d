"""k-means: what it finds, that it repeats itself, and how it compares with faiss."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from retrieval.kernels.assign.kmeans import kmeans


def blobs(n: int, k: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((k, d)) * 3
    return (centers[rng.integers(0, k, n)] + rng.standard_normal((n, d))).astype(np.float32)


def test_one_centroid_is_the_mean() -> None:
    sample = blobs(500, 4, 12)
    found = kmeans(sample, 1, iterations=2)
    np.testing.assert_allclose(found.centroids[0], sample.mean(axis=0), atol=1e-5)
    assert found.objective[1] == pytest.approx(((sample - sample.mean(axis=0)) ** 2).sum(), rel=1e-4)


def test_the_objective_falls_for_l2_and_rises_for_dot() -> None:
    sample = blobs(2000, 30, 16)
    falling = kmeans(sample, 30, iterations=8).objective
    rising = kmeans(sample, 30, iterations=8, metric="dot").objective
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(falling))
    assert all(b >= a * (1 - 1e-6) for a, b in itertools.pairwise(rising))


def test_seeded_and_the_same_on_any_number_of_threads() -> None:
    sample = blobs(3000, 20, 40)
    first = kmeans(sample, 50, iterations=4, seed=3)
    for threads in (1, 2, 7):
        again = kmeans(sample, 50, iterations=4, seed=3, threads=threads)
        np.testing.assert_array_equal(first.centroids, again.centroids)
        assert first.objective == again.objective
    assert not np.array_equal(first.centroids, kmeans(sample, 50, iterations=4, seed=4).centroids)


def test_empty_clusters_are_repaired() -> None:
    """Start rows that are all the same leave all clusters but one empty."""
    sample = np.vstack([np.zeros((500, 6), np.float32), blobs(40, 4, 6)])
    found = kmeans(sample, 16, iterations=12, seed=0)
    assert np.isfinite(found.centroids).all()
    assert found.objective[-1] < 0.5 * found.objective[0]


def test_as_many_centroids_as_vectors() -> None:
    sample = blobs(20, 5, 8)
    assert kmeans(sample, 20, iterations=2).objective[-1] == pytest.approx(0, abs=1e-6)


def test_spherical_centroids_have_length_one() -> None:
    sample = blobs(400, 8, 10)
    for options in ({"metric": "dot"}, {"metric": "l2", "spherical": True}):
        found = kmeans(sample, 9, iterations=3, **options)
        np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1, rtol=1e-5)
    assert kmeans(sample, 9, iterations=0, metric="dot", spherical=False).objective == ()


def test_progress() -> None:
    calls: list[tuple[int, int, float]] = []
    found = kmeans(blobs(100, 3, 4), 3, iterations=3, progress=lambda *state: calls.append(state))
    assert [(i, n) for i, n, _ in calls] == [(1, 3), (2, 3), (3, 3)]
    assert tuple(objective for _, _, objective in calls) == found.objective


@pytest.mark.parametrize("k", [0, 11])
def test_bad_input_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k}"):
        kmeans(blobs(10, 2, 4), k)
    with pytest.raises(ValueError, match="iterations"):
        kmeans(blobs(10, 2, 4), 2, iterations=-1)
    with pytest.raises(ValueError, match="NaN"):
        kmeans(np.full((10, 2), np.nan, np.float32), 2)


@pytest.mark.parametrize("spherical", [False, True])
def test_as_good_as_faiss(spherical: bool) -> None:
    faiss = pytest.importorskip("faiss")
    sample = blobs(8192, 400, 32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    sums = {}
    for seed in range(3):
        theirs = faiss.Kmeans(
            32, 128, niter=10, spherical=spherical, seed=seed + 1, max_points_per_centroid=1 << 20
        )
        theirs.train(sample)
        ours = kmeans(sample, 128, iterations=10, seed=seed, metric="dot" if spherical else "l2")
        sums[seed] = (ours.objective[-1], float(theirs.obj[-1]))
    ratio = sum(a for a, _ in sums.values()) / sum(b for _, b in sums.values())
    assert ratio >= 0.99 if spherical else ratio <= 1.01
