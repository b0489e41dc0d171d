"""k-means (Lloyd) on the assignment kernels: seeded, and the same on any number of threads."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels import host
from retrieval.kernels.assign import cpu
from retrieval.kernels.assign.reference import AssignMetric
from retrieval.kernels.blocks import over_blocks
from retrieval.types import FloatArray, IntArray

__all__ = ["KMeansProgress", "KMeansResult", "cluster_means", "kmeans"]

EPSILON = np.float32(1 / 1024)  # how far the halves of a split cluster are moved apart, as in faiss

KMeansProgress = Callable[[int, int, float], None]
"""Called after each iteration with its number, from 1, how many there will be, and the objective."""


@dataclass(frozen=True)
class KMeansResult:
    """Centroids ``(k, d)`` float32, and the objective before each iteration's update.

    The objective is the sum over the sample of squared distances (``l2``, falls) or of inner
    products (``dot``, rises) to the assigned centroids.
    """

    centroids: FloatArray
    objective: tuple[float, ...]
    seconds: float


def kmeans(
    sample: FloatArray,
    k: int,
    *,
    iterations: int = 10,
    seed: int = 0,
    metric: AssignMetric = "l2",
    spherical: bool | None = None,
    threads: int = 1,
    progress: KMeansProgress | None = None,
) -> KMeansResult:
    """Find ``k`` centroids of ``sample`` ``(n, d)`` float32, n >= k.

    It starts from ``k`` rows drawn by ``seed``. A cluster that loses all its vectors takes half of the
    largest one: its centroid is copied and the two moved apart by a thousandth, as faiss does.
    ``spherical`` scales centroids to length one after each update (default: for ``dot``, where
    longer centroids would win everything).

    Raises:
        ValueError: fewer vectors than centroids, no centroids, NaN, or a wrong shape or type.
    """
    if sample.ndim != 2 or not 1 <= k <= len(sample):
        raise ValueError(f"k={k} must be from 1 to the number of vectors, sample is {sample.shape}")
    if iterations < 0:
        raise ValueError(f"iterations={iterations} must be at least 0")
    started = time.perf_counter()
    spherical = metric == "dot" if spherical is None else spherical
    rows = np.random.default_rng(seed).choice(len(sample), size=k, replace=False)
    centroids = np.ascontiguousarray(sample[np.sort(rows)], dtype=np.float32)
    if spherical:
        _normalise(centroids)
    objective: list[float] = []
    for iteration in range(iterations):
        ordinals, scores = _nearest(sample, centroids, metric, threads)
        total = float(scores.sum(dtype=np.float64))
        objective.append(-total if metric == "l2" else total)
        counts = np.bincount(ordinals, minlength=k)
        centroids = cluster_means(sample, ordinals, counts, centroids, threads)
        _split_largest(centroids, counts)
        if spherical:
            _normalise(centroids)
        if progress is not None:
            progress(iteration + 1, iterations, objective[-1])
    return KMeansResult(centroids, tuple(objective), time.perf_counter() - started)


def _nearest(
    sample: FloatArray, centroids: FloatArray, metric: AssignMetric, threads: int
) -> tuple[IntArray, FloatArray]:
    if host.simd_level() == "avx512":
        found = cpu.assign_i8(sample, centroids, metric, True, threads)
        return found.ordinals, found.scores
    return cpu.assign(sample, centroids, metric, threads)[:2]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_rows(sample: Any, ordinals: Any, first: int, last: int, sums: Any) -> None:
    for i in range(len(sample)):
        row = ordinals[i]
        for j in range(first, last):
            sums[row, j] += sample[i, j]


def cluster_means(
    sample: FloatArray, ordinals: IntArray, counts: IntArray, previous: FloatArray, threads: int
) -> FloatArray:
    """Mean of each cluster; of an empty one the previous centroid.

    Threads share the columns, not the rows: every sum is added in one order, however many there are.
    """
    sums = np.zeros(previous.shape, np.float64)
    width = max(16, -(-sample.shape[1] // threads))
    over_blocks(
        lambda first, last: _add_rows(sample, ordinals, first, last, sums), sample.shape[1], width, threads
    )
    means = sums / np.maximum(counts, 1)[:, None]
    return np.where(counts[:, None] > 0, means, previous).astype(np.float32)


def _split_largest(centroids: FloatArray, counts: IntArray) -> None:
    """Give every empty cluster half of the currently largest one, in place."""
    empty = np.flatnonzero(counts == 0)
    if len(empty) == 0:
        return
    largest = [(-int(count), i) for i, count in enumerate(counts) if count > 0]
    heapq.heapify(largest)
    signs = np.where(np.arange(centroids.shape[1]) % 2 == 0, EPSILON, -EPSILON)
    for target in empty:
        count, source = heapq.heappop(largest)
        centroids[target] = centroids[source] * (1 + signs)
        centroids[source] *= 1 - signs
        half = -count // 2
        heapq.heappush(largest, (count + half, source))
        heapq.heappush(largest, (-half, int(target)))


def _normalise(centroids: FloatArray) -> None:
    """Scale to length one in place; a zero centroid stays."""
    norms = np.linalg.norm(centroids, axis=1, keepdims=True)
    np.divide(centroids, norms, out=centroids, where=norms > 0)
