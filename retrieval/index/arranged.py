"""Candidates of one segment by its trained search, scored again from the stored vectors.

Estimates come from codes in memory; the best of them are looked up in the stored vectors (mapped
from disk), best first, until none of the rest can belong to the best ``k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Effort, Found, SegmentSearch
from retrieval.index.metric import UNIT_ROUNDOFF
from retrieval.index.pool import Pool
from retrieval.kernels.backend import Backend, kernel
from retrieval.kernels.topk import select
from retrieval.quantize import Codec, Int8Codec
from retrieval.types import FloatArray, Metric

__all__ = ["Arranged", "Work"]

CONFIDENCE = 3.0
"""Standard deviations by which an estimate may be wrong before refine stops too early."""
PAGE = 4096


@dataclass(slots=True)
class Work:
    """What was done for a search: ``codes`` scanned, ``vectors`` looked up among the stored ones, and
    the ``pages`` of 4 KiB that these lie on."""

    codes: int = 0
    vectors: int = 0
    pages: int = 0
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
        self._max_norm, self._segment, self._is_bounded = max_norm, segment, is_bounded
        self._backend = backend

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
        lengths = np.linalg.norm(probes, axis=1)
        ordinals, estimates, slacks = self._padded(found, lengths)
        scores = self._rescore(queries, ordinals, estimates, slacks, k)
        self._count(found, ordinals, scores, work)
        return [
            self._pool(ordinals[i], scores[i], k, slack) for i, slack in enumerate(self._rounding(queries))
        ]

    def _padded(
        self, found: Sequence[Found], lengths: FloatArray
    ) -> tuple[NDArray[np.int64], FloatArray | None, FloatArray | None]:
        """Candidates as rows of equal length, -1 behind the last, with what bounds their scores."""
        width = max((len(each.ordinals) for each in found), default=0)
        ordinals = np.full((len(found), width), -1, dtype=np.int64)
        bounded = self._is_bounded and all(each.errors is not None for each in found)
        estimates = np.full(ordinals.shape, -np.inf, dtype=np.float32) if bounded else None
        slacks = np.zeros(ordinals.shape, dtype=np.float32) if bounded else None
        for i, each in enumerate(found):
            n = len(each.ordinals)
            ordinals[i, :n] = each.ordinals
            if estimates is not None and slacks is not None and each.errors is not None:
                estimates[i, :n] = each.estimates
                slacks[i, :n] = CONFIDENCE * lengths[i] * each.errors
        return ordinals, estimates, slacks

    def _rescore(
        self,
        queries: FloatArray,
        ordinals: NDArray[np.int64],
        estimates: FloatArray | None,
        slacks: FloatArray | None,
        k: int,
    ) -> FloatArray:
        """Scores from the stored vectors, -inf where refine stopped before; of the order, and up to
        rounding the value, of exact search."""
        score = kernel("rescore", self._backend)
        squares = np.einsum("nd,nd->n", queries, queries)[:, None]
        if self._metric == "l2":
            if estimates is not None and slacks is not None:  # of q.x - |x|^2 / 2
                estimates, slacks = 2 * estimates - squares, 2 * slacks
            if isinstance(self._codec, Int8Codec):
                return self._rescore_decoded(queries, ordinals)
            scores, _ = score(queries, self._rows, ordinals, "l2", estimates, slacks, k)
            return np.asarray(scores + squares, dtype=np.float32)
        if isinstance(self._codec, Int8Codec):
            folded, constants = self._codec.fold(queries)
            if estimates is not None:
                estimates = estimates - constants[:, None]
            scores, _ = score(folded, self._rows, ordinals, "dot", estimates, slacks, k)
            return np.asarray(scores + constants[:, None], dtype=np.float32)
        scores, _ = score(queries, self._rows, ordinals, "dot", estimates, slacks, k)
        return np.asarray(scores, dtype=np.float32)

    def _rescore_decoded(self, queries: FloatArray, ordinals: NDArray[np.int64]) -> FloatArray:
        """Distances to calibrated bytes need the numbers themselves."""
        scores = np.full(ordinals.shape, -np.inf, dtype=np.float32)
        for i, query in enumerate(queries):
            chosen = ordinals[i] >= 0
            values = self._codec.decode(self._rows[ordinals[i][chosen]])
            scores[i, chosen] = 2 * (values @ query) - np.einsum("nd,nd->n", values, values)
        return scores

    def _pool(self, ordinals: NDArray[np.int64], scores: FloatArray, k: int, slack: float) -> Pool:
        scored = np.flatnonzero(scores > -np.inf)
        kept = scored[select(scores[scored], k, slack)]
        return Pool(np.full(len(kept), self._segment), ordinals[kept], scores[kept], slack)

    def _rounding(self, queries: FloatArray) -> FloatArray:
        """How far two scores may lie apart with the true ones in the other order; as in exact search,
        and for bytes with the offsets that are folded into the query."""
        largest = self._max_norm
        if isinstance(self._codec, Int8Codec):
            largest += 2 * float(np.linalg.norm(self._codec.low))
        size = np.linalg.norm(queries, axis=1).astype(np.float64) * largest
        if self._metric == "l2":
            size = 2 * size + largest**2 + np.einsum("nd,nd->n", queries, queries)
        slacks: FloatArray = 2 * (queries.shape[1] + 8) * UNIT_ROUNDOFF * size
        return slacks

    def _count(
        self, found: Sequence[Found], ordinals: NDArray[np.int64], scores: FloatArray, work: Work
    ) -> None:
        read = np.unique(ordinals[scores > -np.inf])
        width = self._rows.shape[1] * self._rows.itemsize
        first, last = read * width // PAGE, ((read + 1) * width - 1) // PAGE
        work.codes += sum(each.scanned for each in found)
        work.vectors += len(read)
        # Rows come in order: a page is counted with the first row that touches it.
        work.pages += int((last - np.maximum(first, np.concatenate([[-1], last[:-1]]) + 1) + 1).sum())
