"""The best of a graph in one call, with AVX-512.

Several threads of a process that ask short queries pass Python's lock to each other at every call: here
once a query.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lengths import rounding
from retrieval.kernels.lists.places import doubles_at, floats_at, signs_at
from retrieval.kernels.rescore.best import best
from retrieval.kernels.walk.avx512 import turn_and_ask, walk

__all__ = ["walk_best"]

GRAPH, SHAPE = 18, 28
"""Where the places of a `Graph` and its shape begin."""


@njit(nogil=True, cache=True, error_model="numpy")
def walk_best(  # type: ignore[no-untyped-def]
    asked, query, places, rows, width, room, k, accept, kept, scores
):
    """`reference.walk_best` into ``kept`` ``(depth,)`` and ``scores`` ``(2, depth)``: how many are kept, -1
    where the walk finds too few, how many stored vectors were scored, and the slack. ``places`` and ``rows``
    are the ``fixed`` of a `Walked`."""
    numbers, shape = doubles_at(places, 8), places[SHAPE:]
    error, window, stride, itemsize = (
        numbers[0],
        np.int64(numbers[1]),
        np.int64(numbers[2]),
        np.int64(numbers[3]),
    )
    dim, depth, l2, room = asked.shape[1], len(kept), numbers[4] > 0, min(room, shape[0])
    slack, _ = rounding(query, numbers[5], l2)
    signs = signs_at(places, 0)
    fours, octets = np.zeros((1, shape[4]), np.int8), np.zeros((1, shape[3]), np.int8)
    turned, weights = np.empty((1, dim), np.float32), np.ones(1, np.float32)
    scalars = np.empty((1, 7), np.float32)
    coded = floats_at(places, 1), floats_at(places, 2), floats_at(places, 3)
    rest = error, weights, fours, octets, scalars
    turn_and_ask(asked, signs.reshape((len(signs) // dim, dim)), window, turned, *coded, *rest)
    ordinals, found = np.empty((1, depth), np.int64), np.empty((1, depth), np.float32)
    walk(places[GRAPH:SHAPE], shape, fours, octets, scalars, width, room, accept, ordinals, found)
    if ordinals[0, depth - 1] < 0 or not np.isfinite(found[0, 0]):
        return -1, 0, slack
    stands = floats_at(places, 4), doubles_at(places, 5), floats_at(places, 6), floats_at(places, 7)
    none, visited = found[0, :0], np.zeros(1, np.int64)
    out = kept, scores[0], scores[1], visited
    stored = rows, stride, itemsize, *stands
    count = best(query, *stored, ordinals[0], l2, none, none, 0.0, k, slack, *out)
    return count, visited[0], slack
