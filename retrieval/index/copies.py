"""Equal vectors in a graph: one of them is linked, and leads to the others, one after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["chain", "first_of_each"]

ROWS = 8192


def first_of_each(codes: NDArray[np.uint8], biases: FloatArray) -> IntArray:
    """Of each row of ``codes`` ``(n, d)`` and number of ``biases`` ``(n,)`` the first that is the same:
    ``(n,)``. By a hash of 64 bits: what has the same by chance is found after the other all the same."""
    n, dim = codes.shape
    factors = 2 * np.random.default_rng(0).integers(0, 2**63, dim + 1, dtype=np.uint64) + np.uint64(1)
    hashes = np.ascontiguousarray(biases).view(np.uint32).astype(np.uint64) * factors[dim]
    for first in range(0, n, ROWS):
        hashes[first : first + ROWS] += codes[first : first + ROWS].astype(np.uint64) @ factors[:dim]
    _, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return firsts[inverse].astype(np.int64)


def chain(links: NDArray[np.int32], groups: IntArray) -> NDArray[np.int32]:
    """``links`` ``(n, most)`` with one more before them where it is needed: from each vector to the next of
    its group (as `first_of_each` gives them), and from those behind the first to it."""
    n = len(links)
    order = np.argsort(groups, kind="stable")
    has_next = groups[order[1:]] == groups[order[:-1]]
    if not has_next.any():
        return links
    behind = groups != np.arange(n)
    chained = np.full((n, links.shape[1] + 1), -1, np.int32)
    chained[:, 1:] = links
    chained[order[:-1][has_next], 0] = order[1:][has_next]
    chained[behind, 1] = groups[behind]
    return chained
