"""The best of inverted lists in one call, with AVX-512; see `retrieval.kernels.lists.probe`.

Several threads of a process that ask short queries pass Python's lock to each other at every call: here
once a query.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lengths import rounding
from retrieval.kernels.lists.places import doubles_at, floats_at, signs_at
from retrieval.kernels.lists.probe import probe as by_codes
from retrieval.kernels.rescore.best import best
from retrieval.kernels.sharpen.probe import probe as by_whole_codes

__all__ = ["probe_best"]

COARSE, CODED, WHOLE = 16, 38, 50
"""Where the places of a `Coarse`, of `Lists` and of `PackedRows` begin."""


@njit(nogil=True, error_model="numpy")
def _find(asked, places, numbers, choice, several, accept, estimates, ordinals, errors):  # type: ignore[no-untyped-def]
    """Candidates into the last three: ``(what is wrong, how many, codes seen)``."""
    step, size, bits = numbers
    n_probe, enough, reach, n_least = choice
    coarse, coded = places[COARSE:CODED], places[CODED:WHOLE]
    dim, signs, levels, origin = (
        asked.shape[1],
        signs_at(places, 0),
        floats_at(places, 1),
        floats_at(places, 2),
    )
    turn = signs.reshape((len(signs) // dim, dim)), size, levels.reshape((len(levels) // 16, 16))
    n_probe, seen = min(n_probe, len(floats_at(coarse, 1))), np.empty((2, 1), np.int64)
    where = coarse, step, enough, reach, n_least, n_probe, coded
    if bits == 0:
        tables = np.empty((0, 0, 16), np.float32)
        wrong = by_codes(asked, tables, *turn, *where, origin, accept, estimates, ordinals, errors, seen)
        return wrong, seen[0, 0], seen[1, 0]
    ranks, found = np.empty(ordinals.shape, np.int64), np.empty(1, np.int64)
    whole = places[WHOLE:], bits, several
    out = estimates, ordinals, errors, ranks, found, seen
    wrong = by_whole_codes(asked, *turn, *where, *whole, origin, accept, *out)
    return wrong, found[0], seen[1, 0]


@njit(nogil=True, cache=True, error_model="numpy")
def probe_best(  # type: ignore[no-untyped-def]
    asked,
    query,
    places,
    rows,
    n_probe,
    enough,
    reach,
    n_least,
    several,
    depth,
    k,
    accept,
    kept,
    scores,
):
    """`reference.probe_best` into ``kept`` ``(depth,)`` and ``scores`` ``(2, depth)``: what is wrong, or 0,
    how many are kept, how many stored vectors were scored, how many codes seen, and the slack.

    ``places`` and ``rows`` are the ``fixed`` of a `Segment`."""
    fixed = doubles_at(places, 7)
    step, size, bits = fixed[0], np.int64(fixed[1]), np.int64(fixed[2])
    stride, itemsize, l2, is_bounded = np.int64(fixed[3]), np.int64(fixed[4]), fixed[5] > 0, fixed[7] >= 0
    slack, length = rounding(query, fixed[6], l2)
    has_errors = is_bounded and (bits > 0 or len(floats_at(places, CODED // 2 + 5)) > 0)
    estimates, ordinals = np.empty((1, depth), np.float32), np.empty((1, depth), np.int64)
    errors = np.empty((1, depth if bits > 0 or has_errors else 0), np.float32)
    numbers, choice = (step, size, bits), (n_probe, enough, reach, n_least)
    found = _find(asked, places, numbers, choice, several, accept, estimates, ordinals, errors)
    wrong, n, seen = found
    if wrong:
        return wrong, 0, 0, 0, slack
    limits, factor = estimates[0, : n if has_errors else 0], np.float32(2 if l2 else 1)
    for i in range(len(limits)):
        limits[i] = factor * limits[i] + np.float32(slack)
    bounds, visited = (limits, errors[0, : len(limits)], factor * (fixed[7] * length)), np.zeros(1, np.int64)
    steps, offsets, span, low = (
        floats_at(places, 3),
        doubles_at(places, 4),
        floats_at(places, 5),
        floats_at(places, 6),
    )
    stored = rows, stride, itemsize, steps, offsets, span, low
    out = kept, scores[0], scores[1], visited
    count = best(query, *stored, ordinals[0, :n], l2, *bounds, k, slack, *out)
    return 0, count, visited[0], seen, slack
