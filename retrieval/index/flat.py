"""Exact search: score every document, in blocks that fit the cache.

Scores are float32 sums, whose last bits may depend on where a document lies in a block.
The scan therefore keeps everything within the rounding error of the k-th best, and ``refine``
decides in float64: equal documents tie exactly, wherever they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index.pool import Pool, merge
from retrieval.index.stored import stored_rows, stored_tokens
from retrieval.kernels.backend import Backend, kernel
from retrieval.kernels.helpers import over_parts
from retrieval.kernels.lengths import UNIT_ROUNDOFF
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.topk import select
from retrieval.quantize import Codec, Int8Codec
from retrieval.types import FloatArray, IntArray, Metric, Ragged

__all__ = ["FlatIndex"]

BLOCK_TOKENS = 8192
FEW_QUERIES = 4
FEW_FOR_BYTES = 16
"""Queries up to which a pass over single vectors each beats decoding them: 200,000 x 384 take 6 ms each,
and decoded 160 with any number."""
KEPT = 4096
"""Candidates that may pile up before they are merged."""
SPARSE = 0.5
"""Share of accepted documents below which they are gathered instead of scanning all: see bench.filters."""


class FlatIndex:
    """Exhaustive scan of one segment's codes.

    ``codes`` is ``(n_tokens, ...)`` (memory-mapped), ``offsets`` ``(n + 1,)``, ``max_norm`` the
    largest norm of a stored vector, ``segment`` the segment's position in its snapshot, ``backend``
    the kernels to score with, ``threads`` how many share a query of many vectors.
    """

    def __init__(
        self,
        codes: NDArray[Any],
        offsets: IntArray,
        codec: Codec,
        metric: Metric,
        max_norm: float,
        segment: int,
        backend: Backend = "cpu",
        threads: int = 1,
    ) -> None:
        self._codes, self._offsets, self._codec = codes, offsets, codec
        self._metric, self._max_norm, self._segment = metric, max_norm, segment
        self._backend, self._threads = backend, threads

    @cached_property
    def _tokens(self) -> Tokens:
        """The codes as the kernel reads them that looks at one query."""
        return stored_tokens(self._codes, self._offsets, self._codec, self._max_norm)

    @cached_property
    def _rows(self) -> Rows:
        """The codes as the kernel reads them that looks at single vectors."""
        return stored_rows(self._codes, self._codec)

    @cached_property
    def _are_single_bytes(self) -> bool:
        """Whether documents are one vector of calibrated bytes each."""
        return isinstance(self._codec, Int8Codec) and bool((np.diff(self._offsets) == 1).all())

    def candidates(self, queries: Ragged, k: int, accept: NDArray[np.bool_] | None = None) -> list[Pool]:
        """For each query everything in this segment that may be among its best ``k``.

        ``queries`` are prepared (`prepare_queries`); ``accept`` is a mask over ordinals.
        """
        if accept is not None and (n_accepted := int(np.count_nonzero(accept))) < len(accept):
            if n_accepted < SPARSE * len(accept):
                chosen = np.flatnonzero(accept)
                return self._best(queries, k, self._score_chosen(queries, chosen), chosen)
        else:
            accept = None
        return self._best(queries, k, self._score_blocks(queries), None, accept)

    def _best(
        self,
        queries: Ragged,
        k: int,
        blocks: Iterator[tuple[int, int, FloatArray]],
        chosen: IntArray | None,
        accept: NDArray[np.bool_] | None = None,
    ) -> list[Pool]:
        """Pools from blocks of scores; ``chosen`` are the ordinals that the blocks count, if not all."""
        slacks = self._slacks(queries)
        if self._one_by_one(queries):
            slacks = [slack + self._error(queries[i]) for i, slack in enumerate(slacks)]
        found: list[list[Pool]] = [[Pool.empty(slack)] for slack in slacks]
        for query, first, scores in blocks:
            last = first + scores.shape[1]
            for i, row in enumerate(scores, query):
                if accept is None:
                    kept = select(row, k, slacks[i])
                else:
                    kept = select(np.where(accept[first:last], row, -np.inf), k, slacks[i])
                    kept = kept[accept[first:last][kept]]
                ordinals = first + kept if chosen is None else chosen[first + kept]
                found[i].append(Pool(np.full(len(kept), self._segment), ordinals, row[kept], slacks[i]))
                if sum(map(len, found[i])) > 4 * k + KEPT:  # memory does not grow with the segment
                    found[i] = [merge(found[i], k)]
        return [merge(pools, k) for pools in found]

    def _score_chosen(self, queries: Ragged, chosen: IntArray) -> Iterator[tuple[int, int, FloatArray]]:
        """As `_score_blocks`, of these documents alone: their codes are read and no others."""
        if self._one_by_one(queries):
            yield from ((i, 0, self._score_one(queries[i], chosen)[None]) for i in range(len(queries)))
            return
        doclens = self._offsets[chosen + 1] - self._offsets[chosen]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(doclens)])
        for first, last in _block_bounds(offsets):
            own = offsets[first : last + 1] - offsets[first]
            starts = self._offsets[chosen[first:last]] - own[:-1]
            rows_of = np.repeat(starts, doclens[first:last]) + np.arange(own[-1])
            yield 0, first, self._score(queries, self._codec.decode(self._codes[rows_of]), own)

    def _score_blocks(self, queries: Ragged) -> Iterator[tuple[int, int, FloatArray]]:
        """Blocks of whole documents: (first query, first ordinal, ``(some queries, n_block)`` scores). Of
        scores by single passes only one query's are held."""
        if self._one_by_one(queries):
            yield from ((i, 0, self._score_one(queries[i])[None]) for i in range(len(queries)))
            return
        for first, last in _block_bounds(self._offsets):
            start, stop = self._offsets[first], self._offsets[last]
            values = self._codec.decode(self._codes[start:stop])
            yield 0, first, self._score(queries, values, self._offsets[first : last + 1] - start)

    def _score_one(self, query: FloatArray, chosen: IntArray | None = None) -> FloatArray:
        """One query against the chosen documents, or all, as they are stored."""
        if self._are_single_bytes and len(query) == 1:
            return self._score_rows(query, chosen)
        if self._threads == 1 and chosen is None and self._codes.dtype.kind == "f":
            scores: FloatArray = kernel("maxsim", self._backend)(query, self._codes, self._offsets)
            return scores
        ordinals = np.arange(len(self._offsets) - 1) if chosen is None else chosen
        return over_parts(lambda some: self._score_some(query, some), ordinals, self._threads)

    def _score_rows(self, query: FloatArray, chosen: IntArray | None) -> FloatArray:
        """As `_score` gives them, of single vectors of bytes as they are stored."""
        wide, rows = query.astype(np.float64), self._rows
        ordinals, rescore = None if chosen is None else chosen[None], kernel("rescore", self._backend)
        if self._metric == "l2":
            moved = (wide - rows.offsets).astype(np.float32)
            scores, constant = rescore(moved, rows.rows, ordinals, "l2", steps=rows.steps)[0], wide @ wide.T
        else:
            scores, constant = rescore(query * rows.steps, rows.rows, ordinals)[0], wide @ rows.offsets
        found: FloatArray = scores[0] + np.float32(constant.item())
        return found

    def _score_some(self, query: FloatArray, chosen: IntArray) -> FloatArray:
        if self._codes.dtype.kind == "f":
            scores: FloatArray = kernel("maxsim", self._backend)(query, self._codes, self._offsets, chosen)
            return scores
        stored: FloatArray = kernel("maxsim_stored", self._backend)(query, self._tokens, chosen)[0]
        return stored

    def _error(self, query: FloatArray) -> float:
        """What a query rounded to bytes may change in the order of `_score_one`."""
        if self._codes.dtype.kind == "f" or (self._are_single_bytes and len(query) == 1):
            return 0.0
        none = np.empty(0, np.int64)
        return float(kernel("maxsim_stored", self._backend)(query, self._tokens, none)[1])

    def _score(self, queries: Ragged, values: FloatArray, offsets: IntArray) -> FloatArray:
        scores: FloatArray = kernel("maxsim_batch", self._backend)(
            queries.values, queries.offsets, values, offsets
        )
        if self._metric == "l2":
            # -|q - x|^2 without the constant |q|^2: the same order.
            scores = 2 * scores - np.einsum("nd,nd->n", values, values)
        return scores

    def _one_by_one(self, queries: Ragged) -> bool:
        """Whether a pass of the kernel per query beats decoding once and one matrix product.

        The kernel reads codes as they are stored; a single float32 vector gains nothing by it. Tokens of
        bytes are multiplied as integers: 6 ns each with a query of 24, where decoding and BLAS take 80
        (128 d, AMX; without AVX-512 59 and 91; 384 d 46 and 181).
        """
        if not len(self._codes):
            return False
        is_single = queries.doclens.max(initial=0) <= 1
        if is_single and self._are_single_bytes:
            return len(queries) <= FEW_FOR_BYTES
        if self._metric == "l2" or (is_single and self._codes.dtype != np.float16):
            return False
        if isinstance(self._codec, Int8Codec) and not is_single:
            return len(queries) <= FEW_QUERIES or self._backend == "cpu"
        return len(queries) <= FEW_QUERIES and self._codes.dtype.kind == "f"

    def _slacks(self, queries: Ragged) -> list[float]:
        """Twice the bound on a float32 score's error, per query.

        An inner product of length d errs by at most about d u |q||x| (Higham, Accuracy and
        Stability of Numerical Algorithms, section 3.1); summing n_q maxima adds n_q u. Single
        vectors of bytes are scored with their offsets taken to the query: terms are longer than the vector.
        """
        longest = self._max_norm
        if isinstance(self._codec, Int8Codec) and self._are_single_bytes:
            longest += 2 * float(np.linalg.norm(self._codec.low))
        norms = np.linalg.norm(queries.values, axis=1).astype(np.float64)
        slacks = []
        for i in range(len(queries)):
            own = norms[queries.offsets[i] : queries.offsets[i + 1]]
            size = float(own.sum()) * longest
            if self._metric == "l2":
                size = 2 * size + longest**2 + float(own @ own)
            slacks.append(2 * (queries.dim + len(own) + 8) * UNIT_ROUNDOFF * size)
        return slacks


def _block_bounds(offsets: IntArray) -> Iterator[tuple[int, int]]:
    """Split documents into runs of at most `BLOCK_TOKENS` tokens (one longer document: alone)."""
    first, n = 0, len(offsets) - 1
    while first < n:
        last = int(np.searchsorted(offsets, offsets[first] + BLOCK_TOKENS, side="right")) - 1
        last = min(max(last, first + 1), n)
        yield first, last
        first = last
