"""One segment searched by its tokens' centroids: probe, gather, score by centroids, score by codes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Effort, Found
from retrieval.index.best import best_of, nothing
from retrieval.kernels.arrays import plain
from retrieval.kernels.centroid_maxsim.cpu import centroid_maxsim
from retrieval.kernels.centroid_scores.reference import CentroidScores
from retrieval.kernels.coded_maxsim.cpu import score_rows
from retrieval.kernels.gather.cpu import gather
from retrieval.kernels.helpers import over_parts
from retrieval.kernels.token_best.cpu import MANY, Best, TokenDepth, TokenSegment, token_best
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.topk import select
from retrieval.types import FloatArray, IntArray, Ragged

if TYPE_CHECKING:
    from retrieval.index.tokens import TokensIndex

__all__ = ["TokenArrays", "TokenSearch", "is_gathered"]

FEW = 4096
"""Accepted documents that are all scored by their centroids: gathering would hardly cost less."""
GATHERED = 4
"""Times as many documents are gathered as are scored by their codes, at least `LEAST`."""
LEAST = 256
TRUSTED = 2
"""Postings decide alone where one document in so many is accepted, as when that was measured."""
POSTING_COST, CELL_COST, NAMED_COST, CODE_COST = 1.5, 0.1, 1.2, 1.0
"""Nanoseconds to follow one posting, to add a query token's score to one document's, to add one centroid's
row, and to add one byte's row of a code."""


def is_gathered(n: int, scored: int) -> bool:
    """Whether postings say which of ``n`` accepted documents are looked at; else all are."""
    return n > max(FEW, GATHERED * scored)


class TokenArrays(NamedTuple):
    """What a segment keeps: document ``i`` has the centroids ``named[starts[i]:starts[i + 1]]``, centroid
    ``c`` the documents ``postings[posting_starts[c]:posting_starts[c + 1]]``; ``coded`` are the centroids,
    codes and inverse norms of all tokens, of which document ``i`` owns ``offsets[i]:offsets[i + 1]``."""

    offsets: IntArray
    named: NDArray[Any]
    starts: IntArray
    postings: NDArray[np.uint32]
    posting_starts: IntArray
    coded: tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.float16]] | None


class TokenSearch:
    """A `Probe` of one segment."""

    def __init__(self, index: TokensIndex, arrays: TokenArrays) -> None:
        self._index, self._arrays = index, TokenArrays(*(_plain(array) for array in arrays))
        self._n = len(arrays.offsets) - 1
        self._wordless = np.flatnonzero(np.diff(self._arrays.starts) == 0)

    def search(self, probes: Ragged, effort: Effort, accept: NDArray[np.bool_] | None = None) -> list[Found]:
        """See `Probe.search`. ``effort.scored`` documents are scored by all their codes, where there are
        codes; estimates are of MaxSim itself. Where there are none and ``effort.scored`` is 0, postings that
        are followed decide alone. That is not only less work: where words have little to do with each other,
        what a document's far centroids say of it is noise, and the worst centroid probed says as much."""
        accepted = None if accept is None or accept.all() else np.flatnonzero(accept)
        n = self._n if accepted is None else len(accepted)
        if n == 0:
            return [nothing()] * len(probes)
        mask = None if accepted is None else accept
        return [
            self._best(probes[i], effort, n, accepted, mask) if len(probes[i]) else nothing()
            for i in range(len(probes))
        ]

    def _best(
        self,
        query: FloatArray,
        effort: Effort,
        n: int,
        accepted: IntArray | None,
        accept: NDArray[np.bool_] | None,
    ) -> Found:
        arrays = self._arrays
        coded = arrays.coded is not None
        kept = max(effort.scored, effort.depth)
        if not coded and not effort.scored and is_gathered(n, 0):
            if TRUSTED * n >= self._n:
                return self._by_postings(query, effort, accept)
            kept *= TRUSTED  # the best of few lie farther away, where few of their centroids are probed
            effort = replace(effort, depth=kept)
        gathers = is_gathered(n, kept)
        seen = self._index.score(query, effort.nprobe if gathers else 0, rows=coded)
        cost = self._index.table_cost(len(query))
        ordinals, touched = accepted, 0
        if gathers:
            wanted = max(GATHERED * kept, LEAST)
            ordinals, _, touched = self._gather(seen.scores, wanted, accept, effort.threads)
            cost += POSTING_COST * touched + CELL_COST * len(query) * self._n
        sums = over_parts(
            lambda some: centroid_maxsim(seen.scores.table, arrays.named, arrays.starts, some),
            np.arange(self._n) if ordinals is None else ordinals,
            effort.threads,
            MANY,
        )
        named = self._counted(arrays.starts, ordinals)
        cost += NAMED_COST * named
        ordinals = np.arange(self._n) if ordinals is None else ordinals
        estimates = seen.scores.score_table().restore(sums)
        if len(self._wordless):  # who has no tokens scores 0, not the least that there is
            estimates[np.isin(ordinals, self._wordless, assume_unique=True)] = 0
        if not coded:
            return _with_cost(best_of(estimates, ordinals, effort.depth, touched + named), cost)
        best = _best_positions(estimates, kept)
        ordinals = ordinals[best]
        assert arrays.coded is not None and seen.tables is not None  # the same question as above
        tables, coded_tokens = seen.tables, arrays.coded
        estimates = over_parts(
            lambda some: score_rows(tables, *coded_tokens, arrays.offsets, some), ordinals, effort.threads
        )
        codes = self._counted(arrays.offsets, ordinals)
        cost += CODE_COST * codes * self._index.codec.nbytes
        found = best_of(estimates, ordinals, effort.depth, touched + named + codes)
        return _with_cost(found, cost, seen.tables.error)

    def with_tokens(self, tokens: Tokens) -> TokenSegment | None:
        """This segment with its stored tokens, for `in_one_call`; None where codes decide, or a document has
        no tokens."""
        arrays = self._arrays
        if arrays.coded is not None or len(self._wordless) or not self._n:
            return None
        own = arrays.named, arrays.starts, arrays.posting_starts, arrays.postings
        return TokenSegment(self._index.prepared, *own, tokens)

    def in_one_call(
        self,
        segment: TokenSegment,
        probe: FloatArray,
        query: FloatArray,
        k: int,
        slack: float,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
    ) -> Best:
        """The best ``k`` of one query: `search`, and their exact scores."""
        n = self._n if accept is None else int(np.count_nonzero(accept))
        accept = None if n == self._n else accept
        depth, kept = effort.depth, max(effort.scored, effort.depth)
        by_postings = not effort.scored and is_gathered(n, 0)
        if by_postings and TRUSTED * n < self._n:  # as in `_best`
            by_postings, depth = False, TRUSTED * kept
            kept = depth
        gathered, n_probe = 0, 0
        if by_postings or is_gathered(n, kept):
            gathered = depth if by_postings else max(GATHERED * kept, LEAST)
            n_probe = min(effort.nprobe, self._index.ncentroids)
        how = TokenDepth(n_probe, gathered, depth, not by_postings)
        return token_best(probe, query, segment, how, k, slack, effort.threads, accept)

    def _by_postings(self, query: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None) -> Found:
        """The best by what the probed centroids' postings say. Who has no tokens has none, and scores 0."""
        seen = self._index.score(query, effort.nprobe, rows=False, table=False)
        ordinals, sums, touched = self._gather(seen.scores, effort.depth, accept, effort.threads)
        wordless = self._wordless if accept is None else self._wordless[accept[self._wordless]]
        ordinals = np.concatenate([ordinals, wordless])
        sums = np.concatenate([sums, np.zeros(len(wordless), sums.dtype)])
        cost = self._index.table_cost(len(query)) + POSTING_COST * touched + CELL_COST * len(query) * self._n
        return _with_cost(best_of(sums, ordinals, effort.depth, touched), cost)

    def _gather(
        self, scores: CentroidScores, wanted: int, accept: NDArray[np.bool_] | None, threads: int
    ) -> tuple[IntArray, FloatArray, int]:
        """The best documents by the probed centroids alone, their sums, and how many postings were followed.
        What a document lacks counts as the worst centroid probed: it may just have missed."""
        arrays, probes = self._arrays, scores.probes
        ordinals, sums = gather(
            probes,
            scores.scores,
            arrays.posting_starts,
            arrays.postings,
            self._n,
            accept,
            np.ascontiguousarray(scores.scores[:, -1]),
            threads,
        )
        touched = int((arrays.posting_starts[probes + 1] - arrays.posting_starts[probes]).sum())
        best = select(sums, wanted, 0.0)
        return ordinals[best], sums[best], touched

    def _counted(self, starts: IntArray, ordinals: IntArray | None) -> int:
        """How many tokens, or names, documents have."""
        return int(starts[-1] if ordinals is None else (starts[ordinals + 1] - starts[ordinals]).sum())


def _best_positions(estimates: FloatArray, k: int) -> IntArray:
    """Positions of the best ``k``, ascending; of those that tie with the last, the first: sums of bytes tie
    often, and all that tie may be many."""
    best = select(estimates, k, 0.0)
    if len(best) > k:
        best = np.sort(best[np.argsort(-estimates[best], kind="stable")[:k]])
    return best


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(plain(array) for array in value)
    return None if value is None else plain(value)


def _with_cost(found: Found, cost: float, rounding: float = 0.0) -> Found:
    return Found(found.ordinals, found.estimates, None, found.scanned, None, cost, rounding)
