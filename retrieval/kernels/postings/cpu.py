"""Postings of centroids by counting: see `retrieval.kernels.postings.reference`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.runs import as_runs
from retrieval.types import IntArray

__all__ = ["distinct", "invert"]


@njit(nogil=True, cache=True, error_model="numpy")
def _distinct(centroids: Any, offsets: Any, stamps: Any, out: Any, counts: Any) -> int:
    """Fill ``out`` and ``counts``; how many were written, or -1 minus a damaged document."""
    n = 0
    for i in range(len(counts)):
        first = n
        if offsets[i] < 0 or offsets[i + 1] < offsets[i] or offsets[i + 1] > len(centroids):
            return -1 - i
        for t in range(offsets[i], offsets[i + 1]):
            c = centroids[t]
            if np.int64(c) >= len(stamps):
                return -1 - i
            if stamps[c] != i + 1:
                stamps[c] = i + 1
                out[n] = c
                n += 1
        out[first:n].sort()
        counts[i] = n - first
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def _count(named: Any, places: Any) -> bool:
    for i in range(len(named)):
        centroid = np.int64(named[i])
        if centroid >= len(places) - 1:
            return False
        places[centroid + 1] += 1
    for c in range(len(places) - 1):
        places[c + 1] += places[c]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _place(named: Any, starts: Any, places: Any, postings: Any) -> None:
    for i in range(len(starts) - 1):
        for j in range(starts[i], starts[i + 1]):
            c = np.int64(named[j])
            postings[places[c]] = i
            places[c] += 1


def distinct(centroids: NDArray[Any], offsets: IntArray, n_centroids: int) -> tuple[NDArray[Any], IntArray]:
    """See `retrieval.kernels.postings.reference.distinct`; equal."""
    centroids, offsets, _, _ = as_runs(centroids, offsets, None)
    out, counts = np.empty(len(centroids), centroids.dtype), np.empty(len(offsets) - 1, np.int64)
    stamps = np.zeros(n_centroids, np.int64)
    n = int(_distinct(plain(centroids), plain(offsets), stamps, out, counts))
    if n < 0:
        raise ValueError(f"document {-1 - n} has tokens or centroids that there are not")
    return out[:n].copy(), counts


def invert(named: NDArray[Any], starts: IntArray, n_centroids: int) -> tuple[IntArray, NDArray[np.uint32]]:
    """See `retrieval.kernels.postings.reference.invert`; equal."""
    named, starts, _, _ = as_runs(named, starts, None)
    if starts[0] != 0 or starts[-1] != len(named) or (np.diff(starts) < 0).any():
        raise ValueError(f"starts do not cut {len(named)} centroids into documents")
    places = np.zeros(n_centroids + 1, np.int64)
    if not _count(plain(named), places):
        raise ValueError(f"centroid {named.max()}: there are {n_centroids}")
    posting_starts, postings = places.copy(), np.empty(len(named), np.uint32)
    _place(plain(named), plain(starts), places, postings)
    return posting_starts, postings
