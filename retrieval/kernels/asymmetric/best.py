"""The best scores so far: a heap whose root is the worst of them."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["offer_block", "sort_best"]

RUN = 64
"""Scores that are compared at once before one is looked at."""


@njit(nogil=True, cache=True, error_model="numpy")
def _worse(scores, ordinals, a, b):  # type: ignore[no-untyped-def]
    return scores[a] < scores[b] or (scores[a] == scores[b] and ordinals[a] > ordinals[b])


@njit(nogil=True, cache=True, error_model="numpy")
def _swap(scores, ordinals, a, b):  # type: ignore[no-untyped-def]
    scores[a], scores[b] = scores[b], scores[a]
    ordinals[a], ordinals[b] = ordinals[b], ordinals[a]


@njit(nogil=True, cache=True, error_model="numpy")
def _sink(scores, ordinals, at, size):  # type: ignore[no-untyped-def]
    """Move an entry down until nothing below it is worse."""
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _worse(scores, ordinals, child + 1, child):
            child += 1
        if not _worse(scores, ordinals, child, at):
            return
        _swap(scores, ordinals, at, child)
        at = child


@njit(nogil=True, cache=True, error_model="numpy")
def _offer(scores, ordinals, size, score, ordinal):  # type: ignore[no-untyped-def]
    """One more; ordinals ascend, so one that ties with the worst is not better. The new size."""
    if size == len(scores):
        if score > scores[0]:
            scores[0], ordinals[0] = score, ordinal
            _sink(scores, ordinals, 0, size)
        return size
    scores[size], ordinals[size] = score, ordinal
    at = size
    while at > 0 and _worse(scores, ordinals, at, (at - 1) // 2):
        _swap(scores, ordinals, at, (at - 1) // 2)
        at = (at - 1) // 2
    return size + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _next_above(row, start, stop, limit):  # type: ignore[no-untyped-def]
    """The first place from ``start`` on whose score is above the limit, or NaN; else ``stop``."""
    while start + RUN <= stop:
        above = 0
        for i in range(RUN):
            above += not row[start + i] <= limit
        if above:
            break
        start += RUN
    while start < stop and row[start] <= limit:
        start += 1
    return start


@njit(nogil=True, cache=True, error_model="numpy")
def offer_block(block, n, first, accept, scores, ordinals, sizes):  # type: ignore[no-untyped-def]
    """Offer ``block[:, :n]``, documents from ordinal ``first`` on.

    ``scores`` and ``ordinals`` are the heaps, ``(n_queries, k)``, ``sizes`` how full they are;
    ``accept`` empty: all. False where an accepted document's score is NaN or infinite.
    """
    k = scores.shape[1]
    for query in range(len(block)):
        row, size, i = block[query], sizes[query], 0
        while i < n:
            if size == k:
                i = _next_above(row, i, n, scores[query, 0])
            if i < n and (not len(accept) or accept[first + i]):
                if not np.isfinite(row[i]):
                    return False
                size = _offer(scores[query], ordinals[query], size, row[i], first + i)
            i += 1
        sizes[query] = size
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def sort_best(scores, ordinals):  # type: ignore[no-untyped-def]
    """Full heaps to lists, best first."""
    for query in range(len(scores)):
        for size in range(scores.shape[1] - 1, 0, -1):
            _swap(scores[query], ordinals[query], 0, size)
            _sink(scores[query], ordinals[query], 0, size)
