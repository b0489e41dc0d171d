"""The nearest codes found so far, by counting: distances are small integers.

Codes are offered in the order of their ordinals, so a code as far as the k-th nearest is never
better than it: only distances below the ``limit`` (the k-th smallest so far) are kept, together with
a count of every distance. The count tells the new limit exactly; the buffer holds twice k entries
and forgets what has fallen behind the limit when it is full.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["LIMIT", "Held", "make_held", "offer", "take"]

LIMIT, BELOW, SIZE = 0, 1, 2

Held = tuple[IntArray, IntArray, NDArray[np.int32], IntArray]
"""Per query: (limit, entries below the limit, entries in the buffer), the count of each distance,
the buffer's distances and ordinals."""


def make_held(n_queries: int, k: int, largest: int) -> Held:
    """Nothing found yet. ``largest``: the largest possible distance."""
    state = np.zeros((n_queries, 3), np.int64)
    state[:, LIMIT] = largest + 1
    counts = np.zeros((n_queries, largest + 1), np.int64)
    room = 2 * k + 16
    return state, counts, np.empty((n_queries, room), np.int32), np.empty((n_queries, room), np.int64)


@njit(nogil=True, cache=True, error_model="numpy")
def offer(held, query, distance, ordinal, k):  # type: ignore[no-untyped-def]
    """One code; ordinals ascend from call to call."""
    state, counts, distances, ordinals = held
    if distance >= state[query, LIMIT]:
        return
    if state[query, SIZE] == distances.shape[1]:
        _compact(state[query], distances[query], ordinals[query], k)
    size = state[query, SIZE]
    distances[query, size], ordinals[query, size] = distance, ordinal
    state[query, SIZE] += 1
    state[query, BELOW] += 1
    counts[query, distance] += 1
    while state[query, BELOW] >= k:
        state[query, LIMIT] -= 1
        state[query, BELOW] -= counts[query, state[query, LIMIT]]


@njit(nogil=True, cache=True, error_model="numpy")
def _compact(state, distances, ordinals, k):  # type: ignore[no-untyped-def]
    """Keep the entries below the limit, and of those at the limit the first ones, k in all."""
    at_limit = k - state[BELOW]
    size = 0
    for i in range(state[SIZE]):
        if distances[i] < state[LIMIT] or (distances[i] == state[LIMIT] and at_limit > 0):
            at_limit -= distances[i] == state[LIMIT]
            distances[size], ordinals[size] = distances[i], ordinals[i]
            size += 1
    state[SIZE] = size


@njit(nogil=True, cache=True, error_model="numpy")
def take(held, k, distances, ordinals):  # type: ignore[no-untyped-def]
    """Write each query's nearest in order; ``distances`` and ``ordinals`` are ``(n_queries, k)``."""
    state, counts, kept_distances, kept_ordinals = held
    for query in range(len(state)):
        _compact(state[query], kept_distances[query], kept_ordinals[query], k)
        place = np.zeros(counts.shape[1] + 1, np.int64)
        for i in range(state[query, SIZE]):
            place[kept_distances[query, i] + 1] += 1
        for distance in range(counts.shape[1]):
            place[distance + 1] += place[distance]
        for i in range(state[query, SIZE]):
            distance = kept_distances[query, i]
            distances[query, place[distance]] = distance
            ordinals[query, place[distance]] = kept_ordinals[query, i]
            place[distance] += 1
