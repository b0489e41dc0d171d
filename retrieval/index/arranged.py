"""Candidates of one segment by its trained search, scored again from the stored vectors.

Estimates come from codes in memory; the best of them are looked up in the stored vectors (mapped
from disk), best first, until none of the rest can belong to the best ``k``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Effort, Found, OneCall, Probe
from retrieval.index.pipeline import OneVector
from retrieval.index.pool import Pool
from retrieval.index.stored import stored_rows
from retrieval.kernels.backend import Backend, kernel
from retrieval.kernels.lengths import rounding
from retrieval.quantize import Codec, Int8Codec
from retrieval.types import FloatArray, IntArray, Metric, Ragged

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
    """One segment of one vector a document; the pools of its candidates have the best final score first.

    ``rows`` ``(n, d)`` are its stored vectors as codes of ``codec``, ``max_norm`` the largest length of
    one, ``segment`` its position in the snapshot. ``is_bounded``: the errors of estimates are known
    for the vectors as they are (nothing was reduced), so that refine may stop by them.
    """

    def __init__(
        self,
        search: Probe,
        rows: NDArray[Any],
        codec: Codec,
        metric: Metric,
        max_norm: float,
        segment: int,
        *,
        is_bounded: bool,
        backend: Backend = "cpu",
    ) -> None:
        self._search, self._rows, self._metric = search, rows, metric
        self._segment, self._is_bounded = segment, is_bounded
        self._best = kernel("rescore_best", backend)
        # Bytes are scored with their offsets taken to the query: terms longer than the vector.
        offsets = 2 * float(np.linalg.norm(codec.low)) if isinstance(codec, Int8Codec) else 0.0
        self._stored = stored_rows(rows, codec)
        self._largest = max_norm + offsets
        self._kernel_metric: Literal["dot", "l2"] = "l2" if metric == "l2" else "dot"
        whole = search.in_one_call if backend == "cpu" and isinstance(search, OneVector) else None
        bounds = self._largest, CONFIDENCE if is_bounded else None
        both = None if whole is None else whole.with_rows(self._stored, self._kernel_metric, *bounds)
        self._both = None if whole is None or both is None else (whole, both)
        self._position = np.empty(0, np.int64)

    def candidates(
        self,
        queries: Ragged,
        probes: Ragged,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
        work: Work,
    ) -> list[Pool]:
        """What may be among the best ``k`` of each query: ``queries`` are prepared, ``probes`` the same as
        the index takes them (`Searcher.reduce_queries`)."""
        values = queries.values
        if self._both is not None and len(values) == 1 and not work.is_detailed:
            return [self._in_one_call(*self._both, values, probes.values, k, effort, accept, work)]
        found = self._search.search(probes, effort, accept)
        return [self._refined(values[i : i + 1], each, k, work) for i, each in enumerate(found)]

    def _in_one_call(
        self,
        search: OneCall,
        both: Any,
        query: FloatArray,
        probe: FloatArray,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
        work: Work,
    ) -> Pool:
        """The candidates of one query ``(1, d)``, found and scored together."""
        given = search.best(both, probe, query, k, effort, accept)
        ordinals, scores, final, visited, scanned, slack = given
        work.codes += scanned
        work.vectors += visited
        return self._pool(ordinals, scores, final, slack)

    def _pool(self, ordinals: IntArray, scores: FloatArray, final: FloatArray, slack: float) -> Pool:
        count, same = len(ordinals), self._position
        if count > len(same):
            self._position = same = np.full(2 * count, self._segment, np.int64)
            same.flags.writeable = False
        return Pool(same[:count], ordinals, scores, slack, final)

    def _refined(self, query: FloatArray, found: Found, k: int, work: Work) -> Pool:
        """The candidates of one query ``(1, d)`` by their stored vectors."""
        slack, length = rounding(query, self._largest, self._metric == "l2")
        ordinals, scores, final, visited = self._best(
            query,
            self._stored,
            found.ordinals,
            k,
            slack,
            self._kernel_metric,
            *self._limits(found, length, slack),
        )
        work.codes += found.scanned
        work.vectors += visited
        if work.is_detailed:
            work.pages += self._pages(found.ordinals[:visited])  # they are scored in their order
        return self._pool(ordinals, scores, final, slack)

    def _limits(
        self, found: Found, length: float, slack: float
    ) -> tuple[FloatArray | None, FloatArray | None, float]:
        """What candidates can score at most: estimates and rounding, errors, and how many of them to add."""
        if not self._is_bounded or found.errors is None:
            return None, None, 0.0
        # The queries of a search that is bounded are the probes.
        width = CONFIDENCE * length
        if self._metric == "l2":  # estimates are of q.x - |x|^2 / 2
            return 2 * found.estimates + np.float32(slack), found.errors, 2 * width
        return found.estimates + np.float32(slack), found.errors, width

    def _pages(self, ordinals: IntArray) -> int:
        """Pages that rows lie on."""
        read = np.sort(ordinals)
        width = self._rows.shape[1] * self._rows.itemsize
        first, last = read * width // PAGE, ((read + 1) * width - 1) // PAGE
        # A page is counted with the first row that touches it.
        before = np.concatenate([[-1], last[:-1]])
        return int((last - np.maximum(first, before + 1) + 1).sum())
