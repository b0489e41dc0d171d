"""A segment's graph and its stored vectors together: checked once, and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from retrieval.kernels.lists.prepared import places_of
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.walk.prepared import Coding, Graph

__all__ = ["Walked"]


@dataclass(frozen=True, eq=False, slots=True)
class Walked:
    """What `walk_best` searches: a graph, the coding of its vectors and the standard ``error`` of estimates
    by their bits as `retrieval.kernels.walk` takes them, and the ``stored`` vectors of the documents.
    ``fixed`` is all of it as a kernel takes it.

    Raises:
        ValueError: parts that do not fit each other, or an unknown metric.
    """

    coding: Coding
    graph: Graph
    error: float
    stored: Rows
    metric: RescoreMetric = "dot"
    fixed: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        coding, graph, stored = self.coding, self.graph, self.stored
        if coding.layout != graph.layout:
            told = f"{coding.layout.dim} dimensions, and vectors of {graph.layout.dim}"
            raise ValueError(f"a coding of {told} do not fit each other")
        if self.metric not in {"dot", "l2"}:
            raise ValueError(f"metric is {self.metric!r}: it must be dot or l2")
        n = len(graph.lines)
        if n > len(stored.read):
            raise ValueError(f"there are {len(stored.read)} stored vectors: the graph is of {n} documents")
        coded = coding.signs, coding.mean, coding.steps, coding.offsets
        others = places_of(*coded, stored.steps, stored.offsets, stored.span, stored.low)
        rows = stored.read, stored.stride, stored.read.itemsize, self.metric == "l2"
        places = np.concatenate([others, graph.places, graph.shape])
        object.__setattr__(self, "fixed", (places, float(self.error), *rows))

    def __reduce__(self) -> tuple[Any, ...]:  # a copy's arrays lie elsewhere
        return Walked, tuple(getattr(self, each.name) for each in fields(self) if each.init)
