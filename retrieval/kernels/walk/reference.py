"""The walk in plain NumPy: the definition.

Gao, Long, RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate nearest
neighbor search (SIGMOD 2024) for the estimates; the walk keeps the best it has seen, as that of Subramanya et
al., DiskANN (NeurIPS 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.rotate.reference import rotate
from retrieval.kernels.walk.prepared import Asked, Coding, Graph
from retrieval.types import FloatArray, IntArray

__all__ = ["FEWEST", "MARGIN", "REACH", "STARTS", "Asked", "Coding", "Graph", "ask_walk", "walk"]

STARTS = 4
"""Entries that a walk begins at: those of the best estimates."""
FURTHEST = 2.7
"""Standard deviations of a rotated query's coordinates that its fours reach."""
MARGIN = 0.85
"""Standard errors by which an estimate may lie below what is looked for, and still be looked at. Measured at
recalls of .9 to .99: with more, codes are read in vain, with less, vectors are missed."""
REACH = 0.75
"""Margins by which a vector may score below the worst of the ``width`` best and still be left. By counts
of what walks read: as good as half and as twice that at recalls of .9 to .98, better than none."""
FEWEST = 8
"""Vectors of the best estimates that are scored at a step, or ``width`` where that is more. The first steps,
far from the query, meet many that are all better than what is known: at recalls of .9 and .95 a third fewer
vectors are scored, and hardly fewer found."""
LOWEST = np.float32(-np.inf)


def ask_walk(queries: FloatArray, coding: Coding, error: float, weights: FloatArray) -> Asked:
    """Queries ``(n_q, d)`` float32 as `walk` takes them; the only place where numbers are rounded that come
    out different on another path.

    ``error`` is the standard error of an estimate for a query of length 1; ``weights`` ``(n_q,)`` are the
    queries' one more coordinates.

    Raises:
        ValueError: a type or shape that does not fit.
    """
    n, dim = queries.shape
    layout, wide = coding.layout, queries.astype(np.float64)
    turned, folded = rotate(queries, coding.signs).astype(np.float64), wide * coding.steps
    largest = np.abs(turned).max(axis=1)
    length = np.sqrt(np.square(turned).sum(axis=1))
    four = np.minimum(largest, FURTHEST * length / np.sqrt(dim)) / 7
    octet = np.abs(folded).max(axis=1) / 127
    fours, octets = np.zeros((n, layout.fours), np.int8), np.zeros((n, layout.wide), np.int8)
    fours[:, :dim] = np.clip(np.rint(turned / np.where(four > 0, four, 1)[:, None]), -7, 7)
    octets[:, :dim] = np.clip(np.rint(folded / np.where(octet > 0, octet, 1)[:, None]), -127, 127)
    begins = wide @ coding.mean, wide @ coding.offsets
    scalars = four, begins[0], octet, begins[1], weights, MARGIN * length * error, fours.sum(axis=1)
    return Asked(fours, octets, np.stack(scalars, axis=1).astype(np.float32))


def walk(
    asked: Asked,
    graph: Graph,
    width: int,
    depth: int,
    accept: NDArray[np.bool_] | None = None,
    room: int | None = None,
) -> tuple[IntArray, FloatArray]:
    """The best ``depth`` vectors of each query that a walk of this ``width`` meets: ``(ordinals (n_q, depth)
    int64, scores float32)``, -1 and minus infinity behind the last.

    From the best `STARTS` entries on, the best vector of the ``room`` best (None: as many as ``width``) that
    has not been left is left by its links, until it scores below the worst of the ``width`` best by more than
    the reach, `REACH` margins; without ``accept`` no sooner than ``depth`` are there. Vectors at the links
    that have not been met are *estimated*, by the signs of a rotated vector's coordinates, and whose estimate
    is above the worst of a full pool, and above what ends the walk, less the margin, is *scored*, by its
    code: one step later, when it is there from memory, and of many only the best estimates (`FEWEST`), of
    equal ones those that were met first. All vectors are walked through; with ``accept`` ``(n,)`` the answer
    is the best of those. Of equal scores a pool keeps those that were met first; the answer has them by
    ordinal.

    The same, bit for bit, on all paths: products are of integers, and ``((f * (s * p)) + b) + w * x`` is
    rounded after every operation.

    Raises:
        ValueError: a type or shape that does not fit, ``depth`` or ``width`` below 1, ``room`` below
            ``width``, or ``depth`` above ``room`` without ``accept``.
    """
    found = [
        _walk(_Query(asked, q, graph), graph, width, depth, accept, room or width)
        for q in range(len(asked.scalars))
    ]
    ordinals, scores = np.full((len(found), depth), -1, np.int64), np.full((len(found), depth), LOWEST)
    for q, pool in enumerate(found):
        count = min(depth, len(pool.ordinals))
        mine, theirs = np.array(pool.scores[:count], np.float32), np.array(pool.ordinals[:count], np.int64)
        order = np.lexsort((theirs, -mine))
        ordinals[q, :count], scores[q, :count] = theirs[order], mine[order]
    return ordinals, scores


@dataclass
class _Pool:
    """The best ``room`` that were put in, best first."""

    room: int
    scores: list[np.float32] = field(default_factory=list)
    ordinals: list[int] = field(default_factory=list)
    left: list[bool] = field(default_factory=list)

    def put(self, score: np.float32, ordinal: int) -> None:
        place = sum(1 for one in self.scores if one >= score)
        for values, value in ((self.scores, score), (self.ordinals, ordinal), (self.left, False)):
            values.insert(place, value)  # type: ignore[arg-type]
            del values[self.room :]

    @property
    def worst(self) -> np.float32:
        return self.scores[-1] if len(self.scores) == self.room else LOWEST


class _Query:
    def __init__(self, asked: Asked, q: int, graph: Graph) -> None:
        dim = graph.layout.dim
        self.fours, self.octets = (a[q, :dim].astype(np.int64) for a in (asked.fours, asked.octets))
        self.four, self.base, self.octet, self.constant, self.weight, self.margin, _ = asked.scalars[q]
        self.graph = graph

    def estimates(self, lines: NDArray[np.uint8]) -> FloatArray:
        dim = len(self.fours)
        bits = np.unpackbits(lines[:, : -(-dim // 8)], axis=1, count=dim, bitorder="little").astype(np.int64)
        products = (2 * bits @ self.fours - self.fours.sum()).astype(np.float32)
        factors, sides = self.graph.layout.floats(lines).T
        estimates: FloatArray = factors * (products * self.four) + self.base + self.weight * sides
        return estimates

    def score(self, ordinal: int) -> np.float32:
        layout = self.graph.layout
        product = np.float32(self.graph.codes[ordinal, : layout.dim] @ self.octets)
        side = layout.floats(self.graph.lines[ordinal : ordinal + 1])[0, 1]
        return np.float32(self.octet * product + self.constant + self.weight * side)


def _walk(
    query: _Query, graph: Graph, width: int, depth: int, accept: NDArray[np.bool_] | None, room: int
) -> _Pool:
    pool, accepted = _Pool(room), _Pool(depth)
    enough = max(width, depth) if accept is None else width
    reach = np.float32(np.float32(REACH) * query.margin)
    entries = np.argsort(-query.estimates(graph.lines[graph.entries]), kind="stable")[:STARTS]
    waiting = list(dict.fromkeys(graph.entries[entries].tolist()))
    met = set(waiting)
    while True:
        place, least = next((i for i, left in enumerate(pool.left) if not left), None), LOWEST
        if len(pool.scores) >= enough:
            least = np.float32(pool.scores[width - 1] - reach)
        if place is not None and pool.scores[place] < least:
            place = None
        if place is None and not waiting:
            return pool if accept is None else accepted
        fresh = []
        if place is not None:
            pool.left[place] = True
            for ordinal in graph.linked(pool.ordinals[place]).tolist():
                if ordinal not in met:
                    met.add(ordinal)
                    fresh.append(ordinal)
        for ordinal in waiting:
            score = query.score(ordinal)
            pool.put(score, ordinal)
            if accept is not None and accept[ordinal]:
                accepted.put(score, ordinal)
        estimates = query.estimates(graph.lines[fresh])
        if len(pool.scores) >= enough:
            least = np.float32(pool.scores[width - 1] - reach)
        least = np.float32(max(least, pool.worst) - query.margin)
        above = np.flatnonzero(~(estimates <= least))
        best = above[np.argsort(-estimates[above], kind="stable")[: max(width, FEWEST)]]
        waiting = [fresh[i] for i in np.sort(best)]
