"""Centroids made ready for the 8-bit kernel: `reference.quantize_centroids` in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.arrays import plain
from retrieval.kernels.assign.reference import AssignMetric, bias_room
from retrieval.kernels.assign.tile import BLOCK, FAST, Problem
from retrieval.types import FloatArray

__all__ = ["prepare"]


@njit(nogil=True, cache=True, error_model="numpy")
def _largest(centroids: Any, center: Any) -> Any:
    """Largest absolute value of the centred centroids."""
    lanes = np.zeros(centroids.shape[1], np.float64)
    for k in range(len(centroids)):
        for j in range(len(lanes)):
            lanes[j] = max(lanes[j], abs(np.float64(centroids[k, j]) - center[j]))
    return lanes.max()


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
def _measure(centroids: Any, center: Any, scale: Any, codes: Any, k: int) -> Any:
    """Squared norms: as it is, centred, rounded, of the error; and the product with the center."""
    whole, centred, rounded, error, product = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(center)):
        x = np.float64(centroids[k, j])
        y = x - center[j]
        q = (np.float64(codes[k, j]) - 128) * scale
        whole += x * x
        centred += y * y
        rounded += q * q
        error += (y - q) * (y - q)
        product += y * center[j]
    return whole, centred, rounded, error, product


@njit(nogil=True, cache=True, error_model="numpy")
def _quantize(centroids: Any, center: Any, scale: Any, dot: bool, codes: Any, biases: Any) -> Any:
    """Fill ``codes`` and ``biases``; the largest norm and the largest error."""
    norm, error = 0.0, 0.0
    for k in range(len(centroids)):
        for j in range(len(center)):
            level = np.rint((np.float64(centroids[k, j]) - center[j]) / scale)
            codes[k, j] = np.uint8(np.int32(min(max(level, -127.0), 127.0)) + 128)
        whole, centred, rounded, lost, product = _measure(centroids, center, scale, codes, k)
        bias = product + (centred - rounded) / 2 if dot else -rounded / 2
        biases[k] = np.float32(bias / scale)
        norm, error = max(norm, whole), max(error, lost)
    return np.sqrt(norm), np.sqrt(error)


def prepare(centroids: FloatArray, metric: AssignMetric, exact: int, pack: Any) -> Problem:
    """Everything but the values: ``problem._replace(values=...)`` is then given to the level."""
    centroids = plain(centroids)
    n, d = centroids.shape
    center = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    largest = np.float32(_largest(centroids, center))
    scale = largest / np.float32(127) if largest > 0 else np.float32(1)
    codes = np.full((-(-n // BLOCK) * BLOCK, -(-d // 64) * 64), 128, np.uint8)
    biases = np.empty(len(codes), np.float32)
    norm, error = _quantize(centroids, center, np.float64(scale), metric == "dot", codes, biases)
    codes[n:] = codes[n - 1]  # in the last one's own block, where it changes no maximum
    biases[n:] = biases[n - 1]
    return Problem(
        plain(centroids[:0]),
        centroids,
        codes,
        pack(codes, d),
        center,
        biases,
        scale,
        bias_room(biases),
        float(norm),
        float(error),
        metric == "l2",
        exact,
    )
