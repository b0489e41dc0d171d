"""A segment's lists and its stored vectors together: checked once, and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.door import check_probe
from retrieval.kernels.lists.prepared import Coarse, Lists, places_of
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.sharpen.prepared import PackedRows, check_whole
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray

__all__ = ["Segment"]


@dataclass(frozen=True, eq=False, slots=True)
class Segment:
    """What `probe_best` searches: centroids and codes as `retrieval.kernels.lists.probe_lists` takes them,
    with ``whole`` codes as `retrieval.kernels.sharpen.probe_whole` does, and the ``stored`` vectors of the
    documents, as they are scored no longer than ``largest``. Estimates may be wrong by ``deviations`` times
    their errors (None: by anything).

    ``fixed`` is all of it in two, as in `retrieval.kernels.walk_best.prepared.Walked`: ``numbers`` are, as
    float64, the step of the centroids, size and bits of the codes, stride and bytes of stored numbers,
    whether this is l2, ``largest``, and the deviations, below 0 for none.

    Raises:
        ValueError: parts that do not fit each other, or an unknown metric.
    """

    coarse: Coarse
    coded: Lists
    grid: Grid
    stored: Rows
    metric: RescoreMetric = "dot"
    origin: FloatArray | None = None
    whole: PackedRows | None = None
    largest: float = 1.0
    deviations: float | None = None
    numbers: NDArray[np.float64] = field(init=False, repr=False)
    fixed: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        coarse, coded, grid, stored, whole = self.coarse, self.coded, self.grid, self.stored, self.whole
        _, origin = check_probe(1, coarse, coded, 1, grid, self.origin)
        if whole is not None:
            check_whole(whole, coded, grid)
        if self.metric not in {"dot", "l2"}:
            raise ValueError(f"metric is {self.metric!r}: it must be dot or l2")
        n = int(coded.ordinals.max()) + 1 if len(coded.ordinals) else int(coded.starts[-1])
        if n > len(stored.read):
            raise ValueError(f"there are {len(stored.read)} stored vectors: the codes are of {n} documents")
        of_codes = coarse.step, grid.size, 0 if whole is None else whole.bits
        of_rows = stored.stride, stored.read.itemsize, self.metric == "l2", self.largest
        deviations = -1.0 if self.deviations is None else self.deviations
        numbers = np.array([*of_codes, *of_rows, deviations], np.float64)
        stands = stored.steps, stored.offsets, stored.span, stored.low
        others = places_of(grid.signs, grid.levels, origin, *stands, numbers)
        codes = np.empty(0, np.int64) if whole is None else whole.places
        places = np.concatenate([others, coarse.places, coded.places, codes])
        object.__setattr__(self, "numbers", numbers)  # whose place is told
        object.__setattr__(self, "fixed", (places, stored.read))
        if self.origin is not None:
            object.__setattr__(self, "origin", origin)  # whose place is told

    def __reduce__(self) -> tuple[Any, ...]:  # a copy's arrays lie elsewhere
        return Segment, tuple(getattr(self, each.name) for each in fields(self) if each.init)
