"""A segment's graph and its stored vectors together: checked once, and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.prepared import places_of
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.walk.prepared import SHORTEST, Coding, Graph

__all__ = ["Walked"]


@dataclass(frozen=True, eq=False, slots=True)
class Walked:
    """What `walk_best` searches: a graph, the coding of its vectors and the standard ``error`` of estimates
    by their bits as `retrieval.kernels.walk` takes them, and the ``stored`` vectors of the documents, as they
    are scored no longer than ``largest``.

    A query takes a few tens of microseconds, and each argument of a compiled call one or two tenths of one.
    So ``fixed`` is all of this in two: where everything lies, and the stored vectors, for whose type a kernel
    is compiled. ``numbers`` are, as float64, the error, the window of a rotation, stride and bytes of stored
    numbers, whether this is l2, and ``largest``. ``is_short``: there is nothing to do by vectors.

    Raises:
        ValueError: parts that do not fit each other, or an unknown metric.
    """

    coding: Coding
    graph: Graph
    error: float
    stored: Rows
    metric: RescoreMetric = "dot"
    largest: float = 1.0
    numbers: NDArray[np.float64] = field(init=False, repr=False)
    fixed: tuple[Any, ...] = field(init=False, repr=False)
    is_short: bool = field(init=False, repr=False)

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
        dim, read = coding.layout.dim, stored.read
        window, l2 = 1 << (dim.bit_length() - 1), self.metric == "l2"
        numbers = np.array([self.error, window, stored.stride, read.itemsize, l2, self.largest], np.float64)
        coded = coding.signs, coding.mean, coding.steps, coding.offsets
        others = places_of(*coded, stored.steps, stored.offsets, stored.span, stored.low, numbers)
        object.__setattr__(self, "numbers", numbers)  # whose place is told
        object.__setattr__(self, "fixed", (np.concatenate([others, graph.places, graph.shape]), read))
        object.__setattr__(self, "is_short", dim < SHORTEST or not len(coding.signs) or not n)

    def __reduce__(self) -> tuple[Any, ...]:  # a copy's arrays lie elsewhere
        return Walked, tuple(getattr(self, each.name) for each in fields(self) if each.init)
