"""Late candidates of one segment by its trained search, scored again from the stored tokens."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from retrieval.index.arranged import PAGE, Work
from retrieval.index.base import Effort, Found, Probe
from retrieval.index.pool import Pool
from retrieval.index.token_search import TokenSearch
from retrieval.kernels.backend import Backend, kernel
from retrieval.kernels.lengths import UNIT_ROUNDOFF
from retrieval.kernels.token_best.prepared import TokenSegment
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.topk import select
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["ArrangedCodes", "ArrangedTokens"]

CERTAIN = 8
"""The bound of what rounding does to a sum of maxima is at least so many times what it ever does: it adds up
the bounds of all query tokens, each of which is twenty standard deviations."""


class ArrangedTokens:
    """One segment of many vectors a document; ``segment`` is its position in the snapshot."""

    def __init__(
        self, search: Probe, tokens: Tokens, segment: int, backend: Backend = "cpu", threads: int = 1
    ) -> None:
        self._search, self._tokens, self._segment, self._threads = search, tokens, segment, threads
        self._best = kernel("best_exactly", backend)
        here = search if backend == "cpu" and isinstance(search, TokenSearch) else None
        both = None if here is None else here.with_tokens(tokens)
        self._both = None if here is None or both is None else (here, both)

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
        if self._both is not None and not work.is_detailed and (accept is None or accept.any()):
            return [
                self._in_one_call(*self._both, probes[i], queries[i], k, effort, accept, work)
                if len(queries[i])
                else Pool.empty()
                for i in range(len(queries))
            ]
        found = self._search.search(probes, effort, accept)
        return [self._refined(queries[i], each, k, work) for i, each in enumerate(found)]

    def _in_one_call(
        self,
        search: TokenSearch,
        both: TokenSegment,
        probe: FloatArray,
        query: FloatArray,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
        work: Work,
    ) -> Pool:
        """The candidates of one query, found and scored together."""
        best = search.in_one_call(both, probe, query, k, self._slack(query), effort, accept)
        work.codes += best.scanned
        work.vectors += best.visited
        return self._pool(best.ordinals, best.scores)

    def _pool(self, kept: IntArray, scores: FloatArray) -> Pool:
        segments = np.empty(len(kept), np.int64)
        segments.fill(self._segment)
        return Pool(segments, kept, scores, 0.0, final=scores)

    def _refined(self, query: FloatArray, found: Found, k: int, work: Work) -> Pool:
        query, tokens, ordinals = np.ascontiguousarray(query), self._tokens, found.ordinals
        kept, scores = self._best(query, tokens, ordinals, k, self._slack(query), self._threads)
        work.codes += found.scanned
        work.vectors += int((tokens.offsets[ordinals + 1] - tokens.offsets[ordinals]).sum())
        if work.is_detailed:
            work.pages += self._pages(ordinals)
        return self._pool(kept, scores)

    def _slack(self, query: FloatArray) -> float:
        """How far two fast scores may lie apart with the true ones in the other order, by what float32
        rounds; see `FlatIndex`."""
        norms = sqrt(len(query) * float(np.vdot(query, query)))  # no less than the norms' sum
        return float(2 * (query.shape[1] + len(query) + 4) * UNIT_ROUNDOFF * norms * self._tokens.norm)

    def _pages(self, ordinals: IntArray) -> int:
        """Pages that the tokens of documents lie on, one of two documents counted once."""
        offsets = self._tokens.offsets
        width = self._tokens.codes.shape[1] * self._tokens.codes.itemsize
        read = np.sort(ordinals)
        first, last = offsets[read] * width // PAGE, (offsets[read + 1] * width - 1) // PAGE
        before = np.concatenate([[-1], last[:-1]])
        return int(np.maximum(last - np.maximum(first, before + 1) + 1, 0).sum())


class ArrangedCodes:
    """One segment whose codes are all that is stored: what the search estimates by all of them is the score,
    but for rounding."""

    def __init__(self, search: Probe, segment: int) -> None:
        self._search, self._segment = search, segment

    def candidates(
        self,
        queries: Ragged,  # noqa: ARG002
        probes: Ragged,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
        work: Work,
    ) -> list[Pool]:
        """See `ArrangedTokens.candidates`."""
        pools = []
        for found in self._search.search(probes, effort, accept):
            work.codes += found.scanned
            slack = found.rounding / CERTAIN
            kept = select(found.estimates, k, slack)
            segments = np.full(len(kept), self._segment, np.int64)
            pools.append(Pool(segments, found.ordinals[kept], found.estimates[kept], slack))
        return pools
