"""Postings of centroids in plain NumPy: the definition."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["distinct", "invert"]


def distinct(centroids: NDArray[Any], offsets: IntArray, n_centroids: int) -> tuple[NDArray[Any], IntArray]:
    """Each document's centroids, once each, ascending.

    ``centroids`` ``(n_tokens,)`` uint16 or uint32, all below ``n_centroids``; document ``i`` owns
    ``offsets[i]:offsets[i + 1]``. Returns them back to back, and how many each document has ``(n,)``.

    Raises:
        ValueError: a wrong shape or type, or a centroid that does not exist.
    """
    if len(centroids) and int(centroids.max()) >= n_centroids:
        raise ValueError(f"centroid {centroids.max()}: there are {n_centroids}")
    rows = [np.unique(centroids[start:stop]) for start, stop in pairwise(offsets)]
    counts = np.array([len(row) for row in rows], np.int64)
    return np.concatenate([np.empty(0, centroids.dtype), *rows]), counts


def invert(named: NDArray[Any], starts: IntArray, n_centroids: int) -> tuple[IntArray, NDArray[np.uint32]]:
    """From each document's centroids to each centroid's documents.

    Document ``i`` names ``named[starts[i]:starts[i + 1]]``. Returns ``posting_starts`` ``(n_centroids + 1,)``
    and ``postings`` uint32, ascending within a centroid.

    Raises:
        ValueError: a wrong shape or type, or a centroid that does not exist.
    """
    if len(named) and int(named.max()) >= n_centroids:
        raise ValueError(f"centroid {named.max()}: there are {n_centroids}")
    documents = np.repeat(np.arange(len(starts) - 1, dtype=np.uint32), np.diff(starts))
    order = np.argsort(named, kind="stable")
    posting_starts = np.zeros(n_centroids + 1, np.int64)
    np.cumsum(np.bincount(named, minlength=n_centroids), out=posting_starts[1:])
    return posting_starts, documents[order]
