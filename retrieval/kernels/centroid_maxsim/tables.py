"""Tables of centroid scores in small integers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LINE", "ScoreTable", "aligned", "quantise_scores"]

LINE = 64
"""Bytes of a cache line."""
NOT_FINITE, TINY = 0x7F800000, 1e-30


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An empty array that begins on a cache line, so that no row of 32 or 64 bytes lies on two."""
    size = prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, dtype=np.uint8)
    skip = -room.__array_interface__["data"][0] % LINE
    return room[skip : skip + size].view(dtype).reshape(shape)


@dataclass(frozen=True)
class ScoreTable:
    """Scores as bytes: ``score ~ lowest[q] + values[c, q] * unit``, off by ``unit / 2`` at most."""

    values: NDArray[np.uint8]
    unit: float
    lowest: NDArray[np.float32]

    def restore(self, sums: NDArray[np.int32]) -> NDArray[np.float32]:
        """Sums over query tokens back to scores; of documents that have tokens."""
        return (sums * self.unit + self.lowest.sum(dtype=np.float64)).astype(np.float32)


def quantise_scores(scores: NDArray[np.float32]) -> ScoreTable:
    """``(K, n_q)`` float32 to bytes, one unit for all query tokens so that sums compare.

    Raises:
        ValueError: a wrong shape, or a score that is not a finite number.
    """
    if scores.ndim != 2 or scores.dtype != np.float32:
        raise ValueError(
            f"centroid scores are {scores.ndim}-d {scores.dtype}: give (centroids, query tokens) of float32"
        )
    values = aligned(scores.shape, np.uint8)
    if scores.size == 0:
        return ScoreTable(values, 1.0, np.zeros(scores.shape[1], dtype=np.float32))
    scores = np.ascontiguousarray(scores)
    lowest, highest = scores[0].copy(), scores[0].copy()
    bits = np.zeros(scores.shape[1], dtype=np.int32)
    _extend(scores, scores.view(np.int32), lowest, highest, bits)
    if bits.max() >= NOT_FINITE:
        raise ValueError("centroid scores must be finite numbers")
    span = float((highest.astype(np.float64) - lowest).max())
    unit = span / 255 if span > TINY else 1.0
    _to_bytes(scores, lowest, np.float32(1 / unit), values)
    return ScoreTable(values, unit, lowest)


@njit(nogil=True, cache=True, error_model="numpy")
def _extend(scores, patterns, lowest, highest, bits):  # type: ignore[no-untyped-def]
    """Each query token's range, and the largest of its ``patterns`` (the scores' bits) without the sign."""
    for c in range(scores.shape[0]):
        for q in range(scores.shape[1]):
            lowest[q] = min(lowest[q], scores[c, q])
            highest[q] = max(highest[q], scores[c, q])
            bits[q] = max(bits[q], patterns[c, q] & np.int32(0x7FFFFFFF))


@njit(nogil=True, cache=True, error_model="numpy")
def _to_bytes(scores, lowest, scale, values):  # type: ignore[no-untyped-def]
    for c in range(scores.shape[0]):
        for q in range(scores.shape[1]):
            values[c, q] = np.uint8(
                min((scores[c, q] - lowest[q]) * scale + np.float32(0.5), np.float32(255))
            )
