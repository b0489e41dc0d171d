"""Centroids of tokens by k-means: how many, and in one level or in two.

Centroids are means, not scaled to length one: measured on MiniLM's tokens (128 d, K = 8,192) that leaves
residuals a tenth shorter than those of spherical k-means do, in squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from retrieval.kernels.assign.cpu import assign_i8
from retrieval.kernels.assign.kmeans import cluster_means, kmeans
from retrieval.kernels.blocks import over_blocks
from retrieval.quantize.residual.cells import ONE_LEVEL, Cells, Centroids
from retrieval.types import FloatArray, IntArray

__all__ = ["FitProgress", "choose_ncentroids", "train_centroids"]

FitProgress = Callable[[str, int, int], None]
"""Called with what is being trained, how many steps of it are done, and of how many."""

LEAST = 16
"""Tokens to train on for each centroid where their number is chosen."""
ROWS_A_CENTROID = 32
"""Tokens that k-means looks at at most."""
ROWS_A_CENTROID_OF_CELLS = 64
ITERATIONS = 8
ROWS_A_CELL = 256
CELL_ITERATIONS = 10
ROUNDS = 2
"""Of all tokens and centroids together, after each cell by itself: tokens near the border of a cell may
prefer centroids beyond it. Measured at K = 16,384, they make squared errors a twentieth smaller: no larger
than those of k-means in one level, in half its time."""
STEP = 64
"""Cells between two reports of progress."""


def choose_ncentroids(n_tokens: int, n_sample: int) -> int:
    """``2 ** floor(log2(10 sqrt(n_tokens)))``, and so few powers of two that each gets `LEAST` tokens of the
    sample. That is somewhat less than ColBERTv2 takes (Santhanam et al., NAACL 2022, its code): documents are
    scored by all their centroids, not by those probed alone, and more of them cost more than they gain."""
    wanted = min(10 * math.sqrt(max(n_tokens, 1)), n_sample / LEAST)
    return 2 ** int(math.log2(wanted)) if wanted >= 1 else 1


def train_centroids(
    sample: FloatArray, k: int, seed: int = 0, threads: int = 1, progress: FitProgress | None = None
) -> Centroids:
    """``k`` centroids of ``sample`` ``(n, d)`` float32, n >= k >= 1: the same on any number of threads."""
    if k > ONE_LEVEL:
        return _in_cells(sample, k, seed, threads, progress)
    rows = _spread(sample, ROWS_A_CENTROID * k)

    def tell(done: int, total: int, _: float) -> None:
        if progress is not None:
            progress("centroids", done, total)

    found = kmeans(rows, k, iterations=ITERATIONS, seed=seed, threads=threads, progress=tell)
    return Centroids(found.centroids)


def _in_cells(sample: FloatArray, k: int, seed: int, threads: int, progress: FitProgress | None) -> Centroids:
    """k-means in each cell by itself, and then rounds of all together."""
    rows = _spread(sample, ROWS_A_CENTROID_OF_CELLS * k)
    n_cells = math.isqrt(k)
    some = _spread(rows, ROWS_A_CELL * n_cells)
    centers = kmeans(some, n_cells, iterations=CELL_ITERATIONS, seed=seed, threads=threads).centroids
    found = _train_cells(rows, centers, k, seed, threads, progress)
    for done in range(ROUNDS):
        chosen = found.nearest(rows, threads)
        counts = np.bincount(chosen, minlength=k)
        found = found.moved(cluster_means(rows, chosen, counts, found.values, threads))
        if progress is not None:
            progress("all centroids", done + 1, ROUNDS)
    return found


def _train_cells(
    rows: FloatArray, centers: FloatArray, k: int, seed: int, threads: int, progress: FitProgress | None
) -> Centroids:
    """As large a share of the centroids in each cell as it has of the tokens."""
    cell_of = assign_i8(rows, centers, "l2", False, threads).ordinals
    counts = np.bincount(cell_of, minlength=len(centers))
    order, ends = np.argsort(cell_of, kind="stable"), np.cumsum(counts)
    shares = _shares(counts, k)
    kept = np.flatnonzero(shares)  # a cell without centroids is none

    def train(first: int, at: int, _: int) -> FloatArray:
        cell = kept[first + at]
        members = rows[order[ends[cell] - counts[cell] : ends[cell]]]
        return kmeans(members, int(shares[cell]), iterations=ITERATIONS, seed=seed).centroids

    values: list[FloatArray] = []
    for first in range(0, len(kept), STEP):  # the calling thread alone tells of progress
        last = min(first + STEP, len(kept))
        values += over_blocks(partial(train, first), last - first, 1, threads)
        if progress is not None:
            progress("centroids", last, len(kept))
    starts = np.concatenate([[0], np.cumsum(shares[kept])]).astype(np.int64)
    return Centroids(np.concatenate(values), Cells(np.ascontiguousarray(centers[kept]), starts))


def _shares(counts: IntArray, k: int) -> IntArray:
    """Shares of ``k`` in proportion to ``counts``, whose sum is at least ``k``; each at most its count."""
    ideal = counts.astype(np.float64) * (k / int(counts.sum()))
    shares: IntArray = np.floor(ideal).astype(np.int64)
    left = k - int(shares.sum())
    shares[np.argsort(shares - ideal, kind="stable")[:left]] += 1
    return shares


def _spread(sample: FloatArray, most: int) -> FloatArray:
    """At most ``most`` rows, evenly."""
    if len(sample) <= most:
        return np.ascontiguousarray(sample, np.float32)
    return np.ascontiguousarray(sample[np.arange(most) * len(sample) // most], np.float32)
