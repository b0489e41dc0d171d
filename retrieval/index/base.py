"""What a vector index is: trained once (it lives in the codec), arranged anew for every segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.probe_best.steps import Best
from retrieval.kernels.rescore.prepared import Rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.quantize.base import Codec
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["Arrays", "Block", "Effort", "Found", "OneCall", "Probe", "SegmentSearch", "VectorIndex"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to look. ``depth`` candidates of a segment go on to refine; ``nprobe`` lists are visited
    (IVF; without a filter fewer by queries that are near few of them, and up to eight times as many by those
    that lie between), or centroids by each query token (tokens); ``ef_search`` is the width of the walk
    (graphs); ``scored`` documents are scored by all their codes (tokens), by so many ``threads``. Under a
    filter, lists are added until they hold the share ``accepted`` of all accepted documents: these may lie
    far from the query."""

    depth: int = 100
    nprobe: int = 32
    ef_search: int = 64
    accepted: float = 0.0
    scored: int = 400
    threads: int = 1


class Block(NamedTuple):
    """Consecutive documents of a segment: reduced ``values`` ``(n, d)``, and what to add to their inner
    products, ``biases`` ``(n,)`` or None (for l2: minus half the squared length)."""

    values: FloatArray
    biases: FloatArray | None


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates of one query in one segment, best estimate first, ties by ordinal.

    ``estimates`` are of inner product plus bias; ``errors`` their standard deviations for a query of
    length 1, None where unknown. ``scanned`` counts the codes that were looked at (graphs: how wide the walk
    was, which is less). Where fewer bits of the codes were scanned than there are, ``ranks`` are the places
    among the candidates that these gave. ``cost`` is what finding them took, in nanoseconds by the model of
    `retrieval.search.curve`, where that is not the same for every code; ``rounding`` how far an estimate may
    lie from what the codes say exactly, where those are all that is stored.
    """

    ordinals: IntArray
    estimates: FloatArray
    errors: FloatArray | None
    scanned: int
    ranks: IntArray | None = None
    cost: float | None = None
    rounding: float = 0.0


class SegmentSearch(Protocol):
    """The index of one segment's vectors, ready to be asked. Safe to share between threads."""

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """Candidates for reduced queries ``(n_q, d)``; ``accept`` is a mask over ordinals."""


class OneCall(Protocol):
    """A `SegmentSearch` that finds and scores what is stored of one query in one call."""

    def with_rows(self, stored: Rows, metric: RescoreMetric, largest: float, deviations: float | None) -> Any:
        """The segment and its stored vectors, as `best` takes them; None where that takes several calls. As
        they are scored they are no longer than ``largest``; estimates may be wrong by ``deviations`` times
        their errors (None: by anything)."""

    def best(
        self,
        segment: Any,
        probe: FloatArray,
        query: FloatArray,
        k: int,
        effort: Effort,
        accept: NDArray[np.bool_] | None,
    ) -> Best:
        """What may be among the best ``k`` of ``query`` ``(1, d)``; ``probe`` is its reduced form."""


class Probe(Protocol):
    """The trained search of one segment, whatever it is made of. Safe to share between threads."""

    def search(self, probes: Ragged, effort: Effort, accept: NDArray[np.bool_] | None = None) -> list[Found]:
        """Candidates for queries as `Searcher.reduce_queries` gives them; ``accept`` is a mask over
        ordinals."""


class VectorIndex(Protocol):
    """Where to look among many vectors. ``name`` is its word in the registry and in recipes."""

    name: ClassVar[str]

    @classmethod
    def fit(
        cls, sample: FloatArray, n: int, options: Mapping[str, Any], seed: int = 0, threads: int = 1
    ) -> Self:
        """Train on reduced vectors ``(n_sample, d)`` for an index of about ``n``; ``options`` are those of
        a recipe."""

    def arrange(self, blocks: Iterator[Block], n: int, threads: int = 1) -> dict[str, NDArray[Any]]:
        """What a segment of ``n`` documents stores: a function of the vectors and this alone, not of how
        they are cut into blocks, nor of ``threads``.

        Raises:
            ValueError: the blocks do not hold ``n`` documents of the right dimension.
        """

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], stored: Codec) -> SegmentSearch:
        """The inverse of `arrange`, checked so that no kernel can leave the arrays. ``rows`` ``(n, d)`` are
        the segment's stored vectors as codes of ``stored`` (not reduced; the funnel reads them).

        Raises:
            IndexDamagedError: the arrays do not fit each other, or ``n`` documents.
        """

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays, codec included: all that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a part that this version does not know.
        """
