"""One segment's inverted lists: which of them a query visits, and what it finds there."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Effort, Found
from retrieval.index.best import nothing
from retrieval.index.lists import WIDEN, Coded, found_whole, scan
from retrieval.index.training import GROUPS_SHARE
from retrieval.kernels.lists.cpu import Probed, choose_lists, probe_lists
from retrieval.kernels.lists.prepared import Coarse, Lists
from retrieval.kernels.probe_best.cpu import Best, Depth, Segment, probe_best
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.sharpen.cpu import probe_whole
from retrieval.quantize.base import SearchCodec, TableCodec
from retrieval.quantize.bits import BitsTableCodec, NestedBitsCodec
from retrieval.types import FloatArray

__all__ = ["IvfSearch"]

MOST = 8
"""Times as many lists as half of the queries visit that any may visit."""
FILLED = 2
"""Times as many documents as are asked for that visited lists should have."""


class Choice(NamedTuple):
    """Of lists: as `retrieval.kernels.lists.choose_lists` has it."""

    most: int
    enough: int
    reach: float
    least: int


class IvfSearch:
    """One segment's lists."""

    def __init__(
        self,
        codec: SearchCodec,
        coded: Coded,
        coarse: Coarse,
        origin: FloatArray | None,
        reaches: FloatArray | None,
    ) -> None:
        self._codec, self._coded, self._coarse, self._origin = codec, coded, coarse, origin
        self._reaches = reaches
        self._last: tuple[Effort | None, Depth] = None, Depth(1, 1, 0.0, 1, 1, 1)  # what was asked last
        self._grid = codec.grid if isinstance(codec, BitsTableCodec | NestedBitsCodec) else None
        self._n_documents = int(coded.starts[-1])

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """See `SegmentSearch.search`."""
        queries, coded = np.asarray(queries, np.float32), self._coded.lists
        depth = min(effort.depth, self._n_documents)
        if coded is not None and depth < 1:
            return [nothing() for _ in queries]
        choice = self._choice(queries, effort, accept)
        if coded is not None and (self._coded.whole is None or self._grid is not None):
            return self._probe(queries, coded, choice, depth, accept)
        lists, bases = choose_lists(queries, self._coarse, *choice)
        if self._origin is not None:
            bases = np.repeat((queries @ self._origin)[:, None], lists.shape[1], axis=1)
        elif self._coded.biases is not None:
            bases = bases - self._coarse.biases[lists]  # a document's own bias takes its place
        return scan(self._codec, self._coded, queries, lists, bases, effort.depth, accept)

    def with_rows(
        self, stored: Rows, metric: RescoreMetric, largest: float, deviations: float | None
    ) -> Segment | None:
        """This segment and its stored vectors for `best`; None where that takes several calls."""
        coded, origin = self._coded, self._origin
        if coded.lists is None or self._grid is None:
            return None
        given = self._coarse, coded.lists, self._grid, stored, metric, origin, coded.whole
        return Segment(*given, largest, deviations)

    def best(
        self,
        segment: Segment,
        probe: FloatArray,
        query: FloatArray,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
    ) -> Best:
        """What may be among the best ``k`` of one query, in one call: see `retrieval.kernels.probe_best`."""
        last, how = self._last
        if accept is not None or effort is not last:
            depth = max(1, min(effort.depth, self._n_documents))
            several = depth if self._coded.whole is None else min(WIDEN * depth, self._n_documents)
            how = Depth(*self._choice(probe, effort, accept), several, depth)
            self._last = (effort, how) if accept is None else self._last
        return probe_best(probe, query, segment, how, k, accept)

    def _choice(self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None) -> Choice:
        """Which lists to visit: ``effort.nprobe`` of the highest scores under a filter; else half of the
        queries visit no more, and those that lie between many lists visit more of them."""
        nlist = len(self._coarse.centroids)
        nprobe = min(max(1, effort.nprobe), nlist)
        if accept is not None and effort.accepted and nprobe < nlist:
            nprobe = self._enough_lists(queries, nprobe, effort.accepted, accept)
        if accept is not None or self._reaches is None or nprobe == nlist:
            return Choice(nprobe, max(8 * nprobe, nlist // GROUPS_SHARE), np.inf, nprobe)
        most = min(MOST * nprobe, nlist)
        least = min(nprobe, math.ceil(FILLED * effort.depth * nlist / max(self._n_documents, 1)))
        enough = max(8 * nprobe, nlist // GROUPS_SHARE)
        return Choice(most, enough, float(self._reaches[nprobe - 1]), least)

    def _enough_lists(self, queries: FloatArray, nprobe: int, share: float, accept: NDArray[np.bool_]) -> int:
        """How many lists hold the ``share`` of the accepted documents, for every query, if not ``nprobe``: a
        filter may accept only what is far from the query."""
        coded, nlist = self._coded, len(self._coarse.centroids)
        among = accept if coded.ordinals is None else accept[coded.ordinals]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(among)])
        counts = before[coded.starts[1:]] - before[coded.starts[:-1]]
        lists, _ = choose_lists(queries, self._coarse, nlist, nlist)
        reached = np.cumsum(counts[lists], axis=1) >= share * before[-1]
        return max(nprobe, int(reached.argmax(axis=1).max(initial=0)) + 1)

    def _probe(
        self,
        queries: FloatArray,
        coded: Lists,
        choice: Choice,
        depth: int,
        accept: NDArray[np.bool_] | None,
    ) -> list[Found]:
        """All steps in one call."""
        coarse, origin, whole = self._coarse, self._origin, self._coded.whole
        if whole is not None and self._grid is not None:
            several = min(WIDEN * depth, self._n_documents)
            sizes = choice.most, several, depth
            best, scanned = probe_whole(
                queries, coarse, coded, whole, *sizes, self._grid, origin, accept, *choice[1:]
            )
            return found_whole(best, scanned)
        tables = self._grid or cast(TableCodec, self._codec).tables(queries)
        which = coded, choice.most, depth, tables, origin, accept
        return _found(probe_lists(queries, coarse, *which, *choice[1:]))


def _found(probed: Probed) -> list[Found]:
    """An answer of `probe_lists` in parts, a query each."""
    estimates, ordinals, errors, found, scanned = probed
    has_errors = errors.shape[1] > 0
    return [
        Found(ordinals[q, :n], estimates[q, :n], errors[q, :n] if has_errors else None, seen)
        for q, (n, seen) in enumerate(zip(found.tolist(), scanned.tolist(), strict=True))
    ]
