"""Candidates of one segment by its trained search, scored again from the stored vectors.

Estimates come from codes in memory; the best of them are looked up in the stored vectors (mapped
from disk), best first, until none of the rest can belong to the best ``k``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Effort, Found, SegmentSearch
from retrieval.index.metric import UNIT_ROUNDOFF
from retrieval.index.pool import Pool
from retrieval.kernels.backend import Backend, kernel
from retrieval.kernels.topk import select
from retrieval.quantize import Codec, Int8Codec
from retrieval.types import FloatArray, IntArray, Metric

__all__ = ["Arranged", "Work"]

CONFIDENCE = 3.0
"""Standard deviations by which an estimate may be wrong before refine stops too early."""
PAGE = 4096


@dataclass(slots=True)
class Work:
    """What was done for a search: ``codes`` scanned, ``vectors`` looked up among the stored ones, and
    the ``pages`` of 4 KiB that these lie on, counted if ``is_detailed``."""

    codes: int = 0
    vectors: int = 0
    pages: int = 0
    is_detailed: bool = False
    modes: dict[str, int] = field(default_factory=dict)
    """Segments by how they were searched."""

    def count(self, mode: str) -> None:
        """One more segment was searched in this way."""
        self.modes[mode] = self.modes.get(mode, 0) + 1


class Arranged:
    """One segment of one vector a document.

    ``rows`` ``(n, d)`` are its stored vectors as codes of ``codec``, ``max_norm`` the largest length of
    one, ``segment`` its position in the snapshot. ``is_bounded``: the errors of estimates are known
    for the vectors as they are (nothing was reduced), so that refine may stop by them.
    """

    def __init__(
        self,
        search: SegmentSearch,
        rows: NDArray[Any],
        codec: Codec,
        metric: Metric,
        max_norm: float,
        segment: int,
        *,
        is_bounded: bool,
        backend: Backend = "cpu",
    ) -> None:
        self._search, self._rows, self._codec, self._metric = search, rows, codec, metric
        self._segment, self._is_bounded = segment, is_bounded
        self._score = kernel("rescore", backend)
        # Bytes are scored with their offsets folded into the query: terms longer than the vector.
        offsets = 2 * float(np.linalg.norm(codec.low)) if isinstance(codec, Int8Codec) else 0.0
        self._largest = max_norm + offsets

    def candidates(
        self,
        queries: FloatArray,
        probes: FloatArray,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
        work: Work,
    ) -> list[Pool]:
        """What may be among the best ``k`` of each query: ``queries`` ``(n_q, d)`` are prepared,
        ``probes`` the same as the index takes them (`Pipeline.reduce_queries`)."""
        found = self._search.search(probes, effort, accept)
        return [self._refined(queries[i : i + 1], each, k, work) for i, each in enumerate(found)]

    def _refined(self, query: FloatArray, found: Found, k: int, work: Work) -> Pool:
        """The candidates of one query ``(1, d)`` by their stored vectors."""
        square = float(np.vdot(query, query))
        scores, visited = self._scores(query, square, found, k)
        work.codes += found.scanned
        work.vectors += visited
        slack = self._slack(square)
        kept = select(scores, k, slack)
        if visited < len(scores):  # refine stopped: what it left has no score
            kept = kept[scores[kept] > -np.inf]
        if work.is_detailed:
            work.pages += self._pages(found.ordinals[scores > -np.inf])
        segments = np.full(len(kept), self._segment)
        return Pool(segments, found.ordinals[kept], scores[kept], slack)

    def _scores(self, query: FloatArray, square: float, found: Found, k: int) -> tuple[FloatArray, int]:
        """Scores from the stored vectors, -inf where refine stopped before, and how many it did; of the
        order, and up to rounding the value, of exact search."""
        estimates = slacks = None
        if self._is_bounded and found.errors is not None:
            # The queries of a search that is bounded are the probes.
            estimates, slacks = (
                found.estimates[None],
                found.errors[None] * np.float32(CONFIDENCE * sqrt(square)),
            )
        ordinals = found.ordinals[None]
        if self._metric == "l2":
            if isinstance(self._codec, Int8Codec):
                return self._decoded(query[0], found.ordinals), len(found.ordinals)
            if estimates is not None and slacks is not None:  # they are of q.x - |x|^2 / 2
                estimates, slacks = 2 * estimates - np.float32(square), 2 * slacks
            scores, visited = self._score(query, self._rows, ordinals, "l2", estimates, slacks, k)
            return scores[0] + np.float32(square), int(visited[0])
        constant = np.float32(0)
        if isinstance(self._codec, Int8Codec):
            query, constants = self._codec.fold(query)
            constant = constants[0]
            estimates = None if estimates is None else estimates - constant
        scores, visited = self._score(query, self._rows, ordinals, "dot", estimates, slacks, k)
        return scores[0] + constant, int(visited[0])

    def _decoded(self, query: FloatArray, ordinals: IntArray) -> FloatArray:
        """Distances to calibrated bytes need the numbers themselves."""
        values = self._codec.decode(self._rows[ordinals])
        scores: FloatArray = 2 * (values @ query) - np.einsum("nd,nd->n", values, values)
        return scores

    def _slack(self, square: float) -> float:
        """How far two scores may lie apart with the true ones in the other order; see `FlatIndex`."""
        size = sqrt(square) * self._largest
        if self._metric == "l2":
            size = 2 * size + self._largest**2 + square
        return float(2 * (self._rows.shape[1] + 8) * UNIT_ROUNDOFF * size)

    def _pages(self, ordinals: IntArray) -> int:
        """Pages that rows lie on."""
        read = np.sort(ordinals)
        width = self._rows.shape[1] * self._rows.itemsize
        first, last = read * width // PAGE, ((read + 1) * width - 1) // PAGE
        # A page is counted with the first row that touches it.
        before = np.concatenate([[-1], last[:-1]])
        return int((last - np.maximum(first, before + 1) + 1).sum())
