"""One segment's graph: how wide a query walks through it, and what it finds there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Effort, Found
from retrieval.index.best import best_of, nothing
from retrieval.kernels.lengths import rounding
from retrieval.kernels.rescore.cpu import rescore_best
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.walk.cpu import ask_walk, walk
from retrieval.kernels.walk.prepared import Coding, Graph
from retrieval.kernels.walk_best.cpu import Best, Walked, is_found, walk_best
from retrieval.quantize.int8 import Int8Codec
from retrieval.types import FloatArray

__all__ = ["VamanaSearch", "kept_by"]

ROWS = 8192
SCANNED = 10
"""Codes that are scored one after another in the time that a walk takes for one of its width."""
WALK_COST = 1000.0
"""Nanoseconds of that, by the model of `retrieval.search.curve`. Measured by bench.ann."""
WIDER = 4
"""Times the width of a walk: the best vectors that it keeps."""
_ONE = np.ones(1, np.float32)
Choice = tuple[int, int, int, NDArray[np.bool_] | None]


def kept_by(width: int) -> int:
    """How many vectors a walk of this width keeps: so many may be found by it."""
    return WIDER * width


class VamanaSearch:
    """One segment's graph; ``error`` is the standard error of its estimates for a query of length 1."""

    def __init__(self, codec: Int8Codec, coding: Coding, graph: Graph, error: float) -> None:
        self._codec, self._coding, self._graph, self._error = codec, coding, graph, error
        self._n = len(graph.lines)
        self._last: tuple[Effort | None, Choice] = None, (0, 0, 0, None)  # what was asked last

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """See `SegmentSearch.search`. ``scanned`` is how wide the walk was.

        Where a filter leaves so few documents that walking to them costs more, and where the walk ends with
        too few, all accepted are scored.
        """
        depth, width, room, accept = self._choice(effort, accept)
        if depth == 0:
            return [nothing() for _ in queries]
        found = []
        for query in np.ascontiguousarray(queries, np.float32):
            one = None if width == 0 else self._walk(query[None], depth, width, room, accept)
            found.append(self._scan(query, depth, accept) if one is None else one)
        return found

    def with_rows(
        self,
        stored: Rows,
        metric: RescoreMetric,
        largest: float,
        deviations: float | None,  # noqa: ARG002  (the errors of scores are not known)
    ) -> Walked:
        """This segment and its stored vectors for `best`."""
        return Walked(self._coding, self._graph, self._error, stored, metric, largest)

    def best(
        self,
        segment: Walked,
        probe: FloatArray,
        query: FloatArray,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
    ) -> Best:
        """What may be among the best ``k`` of one query, in one call: see `retrieval.kernels.walk_best`."""
        last, choice = self._last
        if accept is not None or effort is not last:
            choice = self._choice(effort, accept)
            self._last = (effort, choice) if accept is None else self._last
        depth, width, room, accept = choice
        if depth and width:
            found = walk_best(probe, query, segment, width, room, depth, k, accept)
            if found is not None:
                return found
        scanned = self._scan(probe[0], depth, accept) if depth else nothing()
        slack, _ = rounding(query, segment.largest, segment.metric == "l2")
        rescored = rescore_best(query, segment.stored, scanned.ordinals, k, slack, segment.metric)
        return Best(*rescored, scanned.scanned, slack)

    def _choice(self, effort: Effort, accept: NDArray[np.bool_] | None) -> Choice:
        """How many to find, how wide to walk (0: all accepted are scored), how many to keep meanwhile, and
        the filter if there is one."""
        if accept is None:
            n_accepted = self._n
        elif (n_accepted := int(np.count_nonzero(accept))) == self._n:
            accept = None
        depth = min(effort.depth, n_accepted)
        if depth == 0:
            return 0, 0, 0, accept
        width = max(effort.ef_search, 1)
        if accept is not None:
            width = max(width, depth) * self._n // n_accepted
        room = max(kept_by(width), depth)
        return depth, 0 if n_accepted <= SCANNED * width else width, room, accept

    def _walk(
        self, query: FloatArray, depth: int, width: int, room: int, accept: NDArray[np.bool_] | None
    ) -> Found | None:
        """None where too few were met, or scores overflow."""
        asked = ask_walk(query, self._coding, self._error, _ONE)
        ordinals, scores = walk(asked, self._graph, width, depth, accept, room)
        if not is_found(ordinals, scores):
            return None
        return Found(ordinals[0], scores[0], None, width, cost=WALK_COST * width)

    def _scan(self, query: FloatArray, depth: int, accept: NDArray[np.bool_] | None) -> Found:
        ordinals = np.arange(self._n) if accept is None else np.flatnonzero(accept)
        codec, graph = self._codec, self._graph
        sides = graph.layout.floats(graph.lines)[:, 1]
        scores = [
            codec.scores(query[None], graph.codes[some, : codec.dim])[0] + sides[some]
            for some in (ordinals[i : i + ROWS] for i in range(0, len(ordinals), ROWS))
        ]
        cost = WALK_COST / SCANNED * len(ordinals)
        return best_of(np.concatenate(scores), ordinals, depth, len(ordinals), cost=cost)
