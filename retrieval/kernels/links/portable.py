"""The choice of links in plain loops, which LLVM vectorises along a vector; also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["choose"]

_inner = njit(nogil=True, error_model="numpy", _nrt=False)
_float = njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"contract", "reassoc"})


@_float
def _apart(a, b):  # type: ignore[no-untyped-def]
    """The squared distance."""
    total = np.float32(0)
    for j in range(len(a)):
        total += (a[j] - b[j]) * (a[j] - b[j])
    return total


@_inner
def _nearest_first(values, ordinal, given, distances, order):  # type: ignore[no-untyped-def]
    """The candidates and how far they are, each once; how many. They come nearly in order."""
    count = 0
    for c in given:
        if c < 0 or c == ordinal:
            continue
        distance = _apart(values[ordinal], values[c])
        place = count
        while place > 0 and (
            distances[place - 1] > distance or (distances[place - 1] == distance and order[place - 1] > c)
        ):
            place -= 1
        if place > 0 and order[place - 1] == c:
            continue
        for i in range(count, place, -1):
            distances[i], order[i] = distances[i - 1], order[i - 1]
        distances[place], order[place] = distance, c
        count += 1
    return count


@_inner
def _is_hidden(values, candidate, distance, chosen, count, alpha):  # type: ignore[no-untyped-def]
    for i in range(count):  # noqa: SIM110  (compiled)
        if alpha * _apart(values[candidate], values[chosen[i]]) <= distance:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def choose(values, ordinals, candidates, alpha, links):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.links.reference.choose_links`; fills ``links``. Whether an ordinal of no vector
    was met."""
    size = candidates.shape[1]
    distances, order = np.empty(size + 1, np.float32), np.empty(size + 1, np.int32)
    for row in range(len(ordinals)):
        links[row] = -1
        if ordinals[row] < 0 or ordinals[row] >= len(values):
            return True
        for c in candidates[row]:
            if c >= len(values):
                return True
        count, taken = _nearest_first(values, ordinals[row], candidates[row], distances, order), 0
        for i in range(count):
            if taken == links.shape[1]:
                break
            if not _is_hidden(values, order[i], distances[i], links[row], taken, alpha):
                links[row, taken] = order[i]
                taken += 1
    return False
