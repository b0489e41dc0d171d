"""Float assignment by BLAS: blocks of products, and the best two of each row kept as they come."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from retrieval.kernels.assign.decide import true_score
from retrieval.kernels.assign.reference import AssignMetric
from retrieval.kernels.assign.tile import FAST
from retrieval.types import FloatArray

__all__ = ["Centered", "assign_block", "center_of"]

COLUMNS = 1024
LANES = 128


class Centered(NamedTuple):
    """Centroids ``(K, d)`` less ``center``, and what each adds to its products.

    Distances from afar cancel badly; centred, they do not. ``dot`` needs no centring.
    """

    centroids: FloatArray
    center: FloatArray
    biases: FloatArray
    l2: bool


def center_of(centroids: FloatArray, metric: AssignMetric) -> Centered:
    """Make centroids ready for `assign_block`."""
    if metric == "dot":
        d, zeros = centroids.shape[1], np.zeros(len(centroids), np.float32)
        return Centered(centroids, np.zeros(d, np.float32), zeros, False)
    center = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = centroids - center
    return Centered(centred, center, np.float32(-0.5) * np.einsum("ij,ij->i", centred, centred), True)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True, fastmath=FAST)
def _largest(products: Any, i: int, biases: Any, begin: int, end: int, base: int) -> Any:
    largest = np.float32(-np.inf)
    for j in range(begin, end):
        largest = max(largest, products[i, j] + biases[base + j])
    return largest


@njit(nogil=True, cache=True, error_model="numpy")
def _keep_best(products: Any, biases: Any, base: int, best: Any, chosen: Any) -> None:
    """Take columns ``base...`` of scores into each row's best two, ``(rows, 2)``; first one wins ties."""
    rows, columns = products.shape
    for i in range(rows):
        for begin in range(0, columns, LANES):
            end = min(begin + LANES, columns)
            if _largest(products, i, biases, begin, end, base) <= best[i, 1]:
                continue
            for j in range(begin, end):
                score = products[i, j] + biases[base + j]
                if score > best[i, 0]:
                    best[i, 1], chosen[i, 1] = best[i, 0], chosen[i, 0]
                    best[i, 0], chosen[i, 0] = score, base + j
                elif score > best[i, 1]:
                    best[i, 1], chosen[i, 1] = score, base + j


@njit(nogil=True, cache=True, error_model="numpy")
def _rescore(values: Any, centroids: Any, l2: bool, chosen: Any, out: Any) -> None:
    """Score the two of each row anew, each in one sum, and order them."""
    ordinals, scores, margins = out
    for i in range(len(chosen)):
        first, second = chosen[i, 0], chosen[i, 1]
        score, other = true_score(values, i, centroids, first, l2), np.float32(-np.inf)
        if second >= 0:
            other = true_score(values, i, centroids, second, l2)
        if other > score or (other == score and 0 <= second < first):
            first, score, other = second, other, score
        ordinals[i], scores[i], margins[i] = first, score, score - other


def assign_block(values: FloatArray, centroids: FloatArray, centered: Centered, out: Any) -> None:
    """Fill ``out`` (ordinals, scores, margins) for one block of vectors."""
    block = values - centered.center if centered.l2 else values
    best = np.full((len(block), 2), -np.inf, np.float32)
    chosen = np.full((len(block), 2), -1, np.int64)
    products = np.empty(len(block) * COLUMNS, np.float32)
    for base in range(0, len(centroids), COLUMNS):
        part = centered.centroids[base : base + COLUMNS]
        scores = products[: len(block) * len(part)].reshape(len(block), len(part))
        np.matmul(block, part.T, out=scores)
        _keep_best(scores, centered.biases, base, best, chosen)
    _rescore(values, centroids, centered.l2, chosen, out)
