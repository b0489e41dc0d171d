"""Centroid gather: late interaction searched by the centroids of tokens, and by codes of what they leave.

A document is first what its tokens' centroids are: each query token looks at the nearest centroids, whose
postings name documents; those are scored by all their centroids, through a table of the query's products
with every centroid; the best by codes of the residuals, where there are any (PLAID, Santhanam et al., CIKM
2022, section 3; the order of the stages is that of TACHIOM, SIGIR 2026). A document names a centroid once
however many of its tokens have it: a maximum does not change by repetition.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.index.base import Arrays
from retrieval.index.checking import check_keys, check_starts, take, under
from retrieval.index.pieces import Pieces
from retrieval.index.token_search import TokenArrays, TokenSearch
from retrieval.kernels.centroid_scores.coded import score_coded
from retrieval.kernels.centroid_scores.cpu import prepare_centroids, score_centroids
from retrieval.kernels.centroid_scores.reference import CentroidScores
from retrieval.kernels.coded_maxsim.tables import RowTables
from retrieval.kernels.postings.cpu import distinct, invert
from retrieval.quantize.residual import ResidualCodec, TokenCodes
from retrieval.quantize.residual.tokens import id_type
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["Seen", "TokensIndex"]

STRAIN = "strain"
"""Name of the array ``(1,)`` that says what share of its tokens' squared lengths a segment's centroids leave:
where it grows, the documents are no longer those that were trained on."""
EVERY = 8
"""It is measured by one token in so many, whatever blocks they come in."""
CENTROID_COST = 0.35
"""Nanoseconds to multiply a query token with a centroid and look at it, for every 8 dimensions."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one query makes of the centroids, whatever the segment: its ``scores`` with all of them, and
    ``tables`` to score codes by, where they were asked for."""

    scores: CentroidScores
    tables: RowTables | None


class TokensIndex:
    """A codec of tokens, whose centroids are also what is looked up."""

    name: ClassVar[str] = "tokens"

    def __init__(self, codec: ResidualCodec) -> None:
        self.codec = codec
        self.prepared = prepare_centroids(codec.centroids)
        self._last = threading.local()

    @property
    def ncentroids(self) -> int:
        """How many centroids there are to probe."""
        return self.codec.ncentroids

    @classmethod
    def fit(
        cls, sample: FloatArray, n_tokens: int, options: Mapping[str, Any], seed: int = 0, threads: int = 1
    ) -> Self:
        """Train on tokens ``(n_sample, d)`` for an index of about ``n_tokens``; ``options`` are a recipe's.

        Raises:
            ConfigError: options that cannot be met.
        """
        return cls(ResidualCodec.fit(sample, n_tokens, options, seed, threads))

    def arrange(self, blocks: Iterable[Ragged], n: int, threads: int = 1) -> Pieces:
        """Codes of tokens, piece by piece; then which centroids each document has, both ways.

        Raises:
            ValueError: the blocks do not hold ``n`` documents of the right dimension.
        """
        codec = self.codec
        coded = (
            (codec.encode_tokens(np.ascontiguousarray(block.values), threads), block.offsets, block.values)
            for block in blocks
        )
        return self._arrange(coded, n, keeps_codes=codec.nbytes > 0)

    def arrange_coded(self, blocks: Iterable[tuple[TokenCodes, IntArray]], n: int) -> Pieces:
        """As `arrange`, of tokens that are coded and stored so, with the offsets of their documents."""
        decoded = ((codes, offsets, self.codec.decode_tokens(codes)) for codes, offsets in blocks)
        return self._arrange(decoded, n, keeps_codes=False)

    def _arrange(
        self, blocks: Iterable[tuple[TokenCodes, IntArray, FloatArray]], n: int, *, keeps_codes: bool
    ) -> Pieces:
        named: list[NDArray[Any]] = []
        counts: list[IntArray] = []
        lengths, seen = [], 0
        codec = self.codec
        empty = np.empty((0, codec.dim), np.float32)
        none = codec.encode_tokens(empty), np.zeros(1, np.int64), empty
        for codes, offsets, values in chain([none], blocks):  # who has no documents has all arrays too
            some = slice(-seen % EVERY, None, EVERY)
            lengths.append(_squares(values[some], codec.centroids[codes.centroids[some]]))
            seen += len(values)
            if keeps_codes:
                yield "centroids", codes.centroids
                yield "codes", codes.codes
                yield "inv_norms", codes.inv_norms
            centroids, own = distinct(codes.centroids, offsets, self.ncentroids)
            named.append(centroids)
            counts.append(own)
            yield "named", centroids
        starts = np.zeros(n + 1, np.int64)
        if sum(map(len, counts)) != n:
            raise ValueError(f"there are {sum(map(len, counts))} documents instead of {n}")
        np.cumsum(np.concatenate(counts), out=starts[1:])
        yield "named_starts", starts
        posting_starts, postings = invert(np.concatenate(named), starts, self.ncentroids)
        yield "posting_starts", posting_starts
        yield "postings", postings
        left, whole = np.concatenate(lengths, axis=1).sum(axis=1)
        yield STRAIN, np.array([left / whole if whole else 0.0])

    def attach(self, arrays: Arrays, offsets: IntArray, rows: NDArray[Any] | None = None) -> TokenSearch:
        """The inverse of `arrange`, for documents that own tokens ``offsets[i]:offsets[i + 1]``; of
        `arrange_coded`, where the codes lie in stored ``rows``.

        Raises:
            IndexDamagedError: the arrays do not fit each other, or the documents.
        """
        n, n_tokens, codec = len(offsets) - 1, int(offsets[-1]), self.codec
        starts = take(arrays, "named_starts", np.int64, (n + 1,))
        named = take(arrays, "named", id_type(codec.ncentroids), (int(starts[-1]) if n else 0,))
        check_starts(starts, "named_starts", len(named))
        posting_starts = take(arrays, "posting_starts", np.int64, (codec.ncentroids + 1,))
        postings = take(arrays, "postings", np.uint32, (len(named),))
        check_starts(posting_starts, "posting_starts", len(postings))
        if len(named) and (int(named.max()) >= codec.ncentroids or int(postings.max()) >= n):
            raise IndexDamagedError("the postings name centroids or documents that there are not; run verify")
        coded = None
        if rows is not None:
            tokens = codec.split(rows)
            coded = tokens.centroids, tokens.codes, tokens.inv_norms
            if n_tokens and int(tokens.centroids.max()) >= codec.ncentroids:
                raise IndexDamagedError("a stored token has a centroid that there is not; run verify")
            if not np.isfinite(tokens.inv_norms).all():
                raise IndexDamagedError("a stored token's length is not a number; run verify")
        elif codec.nbytes:
            coded = (
                take(arrays, "centroids", id_type(codec.ncentroids), (n_tokens,)),
                take(arrays, "codes", np.uint8, (n_tokens, codec.nbytes)),
                take(arrays, "inv_norms", np.float16, (n_tokens,)),
            )
            if n_tokens and int(coded[0].max()) >= codec.ncentroids:
                raise IndexDamagedError("tokens name centroids that there are not; run verify")
        return TokenSearch(self, TokenArrays(offsets, named, starts, postings, posting_starts, coded))

    def score(self, query: FloatArray, nprobe: int, *, rows: bool, table: bool = True) -> Seen:
        """Products of a query ``(n_q, d)`` with the centroids as a ``table``, the ``nprobe`` best of each
        token, and ``rows`` for codes (which come with the table). The segments of a snapshot share the last
        one's, which a thread remembers with a copy of the query: who asks may write other numbers into the
        same memory."""
        asked = nprobe, rows, table
        last = getattr(self._last, "seen", None)
        if last is not None and last[1] == asked and np.array_equal(last[0], query):
            seen: Seen = last[2]
            return seen
        query = np.array(query, order="C")
        if rows:
            residual = self.codec.residual_table(query)
            seen = Seen(*score_coded(query, self.prepared, residual, nprobe, table=True))
        else:
            seen = Seen(score_centroids(query, self.prepared, nprobe, table), None)
        self._last.seen = query, asked, seen
        return seen

    def table_cost(self, n_q: int) -> float:
        """Nanoseconds that `score` takes, by the model of the recall curve."""
        return CENTROID_COST * n_q * self.ncentroids * self.codec.dim / 8

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and trained arrays."""
        config, arrays = self.codec.state()
        return {"codec": config}, {f"codec/{name}": array for name, array in arrays.items()}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a part that this version does not know.
            IndexDamagedError: arrays that do not fit.
        """
        check_keys(config, {"codec"}, "index of tokens")
        return cls(ResidualCodec.from_state(config["codec"], under(arrays, "codec")))


def _squares(values: FloatArray, centroids: FloatArray) -> NDArray[np.float64]:
    """Squared lengths ``(2, n)`` of what centroids leave of ``n`` tokens, and of the tokens."""
    both = (values - centroids).astype(np.float64), values.astype(np.float64)
    return np.stack([np.einsum("nd,nd->n", each, each) for each in both])
