"""What all searches of one snapshot share, made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from retrieval.config import SearchConfig
from retrieval.index import (
    Arranged,
    ArrangedCodes,
    ArrangedTokens,
    FlatIndex,
    decoded_tokens,
    stored_rows,
    stored_tokens,
)
from retrieval.kernels.backend import Backend
from retrieval.kernels.rescore.cpu import Rows
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.quantize import ResidualCodec
from retrieval.search.accept import Accept, KnownFilters
from retrieval.search.curve import Choice, RecallCurve
from retrieval.storage import Snapshot
from retrieval.types import IntArray

if TYPE_CHECKING:
    from retrieval.search.plan import Plan

__all__ = ["Prepared"]

SegmentCandidates = Arranged | ArrangedCodes | ArrangedTokens
CHOICES = 256
"""Answers of the recall curve that are remembered, and plans."""


class Prepared:
    """A snapshot to be searched with one backend. Safe to share between threads: what two of them
    make at once is the same. ``plans`` are those of searches without a filter,
    by ``k`` and how hard they look; ``filters`` says what is accepted.
    """

    def __init__(self, snapshot: Snapshot, backend: Backend = "cpu", threads: int = 1) -> None:
        self.snapshot, self._backend, self.threads = snapshot, backend, threads
        self._arranged: dict[int, SegmentCandidates] = {}
        self._flat: dict[int, FlatIndex] = {}
        self._rows: dict[int, Rows] = {}
        self._tokens: dict[int, Tokens] = {}
        self.plans: dict[tuple[int, SearchConfig], Plan] = {}
        self.filters = KnownFilters(snapshot)

    @cached_property
    def _curve(self) -> RecallCurve | None:
        quality = self.snapshot.record.quality
        return RecallCurve.from_json(quality["curve"]) if quality and quality.get("curve") else None

    @cached_property
    def choose(self) -> Callable[[int, float, float, int, float | None], Choice] | None:
        """`RecallCurve.choose` of the trained search, None if nothing was measured.

        Raises:
            IndexDamagedError: the stored curve cannot be read.
        """
        curve = self._curve
        return lru_cache(CHOICES)(curve.choose) if curve is not None and curve.points else None

    @cached_property
    def growth(self) -> float:
        """How many times more documents there are than the curve was measured on, 1 for hardly more."""
        return 1.0 if self._curve is None else self._curve.grown(self.documents)

    def counts(self, accept: Accept) -> tuple[int, ...]:
        """Accepted documents of each segment."""
        return tuple(
            view.n_documents if mask is None else living if mask is view.live else int(np.count_nonzero(mask))
            for view, living, mask in zip(self.snapshot.segments, self._living, accept, strict=True)
        )

    @cached_property
    def documents(self) -> int:
        """Documents that are not deleted, of all segments."""
        return sum(self._living)

    @cached_property
    def _living(self) -> tuple[int, ...]:
        return tuple(len(view) for view in self.snapshot.segments)

    def flat(self, position: int) -> FlatIndex:
        """Exact search of a segment."""
        if position not in self._flat:
            snapshot, view = self.snapshot, self.snapshot.segments[position]
            given = view.codes, view.offsets, snapshot.codec, snapshot.record.metric, view.max_norm
            threads = self.threads if snapshot.record.kind == "late" else 1
            self._flat[position] = FlatIndex(*given, position, self._backend, threads)
        return self._flat[position]

    def arranged(self, position: int) -> SegmentCandidates:
        """The trained search of a segment that has one."""
        if position not in self._arranged:
            self._arranged[position] = self._arrange(position)
        return self._arranged[position]

    def _arrange(self, position: int) -> SegmentCandidates:
        snapshot, view = self.snapshot, self.snapshot.segments[position]
        assert view.search is not None and snapshot.trained.pipeline is not None  # the plan says so
        if self.is_coded:
            return ArrangedCodes(view.search, position)
        if snapshot.record.kind == "late":
            return ArrangedTokens(view.search, self.tokens(position), position, self._backend, self.threads)
        return Arranged(
            view.search,
            view.codes,
            snapshot.codec,
            snapshot.record.metric,
            view.max_norm,
            position,
            is_bounded=snapshot.trained.pipeline.is_bounded,
            backend=self._backend,
        )

    @property
    def is_coded(self) -> bool:
        """Whether stored vectors have to be decoded before anything can be computed of them."""
        return isinstance(self.snapshot.codec, ResidualCodec)

    def decoded(self, position: int, ordinals: IntArray) -> Tokens:
        """Documents of a segment that `is_coded`, in their order."""
        view, codec = self.snapshot.segments[position], self.snapshot.codec
        return decoded_tokens(view.codes, view.offsets, codec, ordinals, view.max_norm)

    def tokens(self, position: int) -> Tokens:
        """The stored vectors of a segment of many vectors a document, to be scored exactly."""
        if position not in self._tokens:
            view = self.snapshot.segments[position]
            self._tokens[position] = stored_tokens(
                view.codes, view.offsets, self.snapshot.codec, view.max_norm
            )
        return self._tokens[position]

    def rows(self, position: int) -> Rows:
        """The stored vectors of a segment of one vector a document, to be scored exactly."""
        if position not in self._rows:
            self._rows[position] = stored_rows(self.snapshot.segments[position].codes, self.snapshot.codec)
        return self._rows[position]
