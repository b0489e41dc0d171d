"""A pool of candidates: what a segment offers for one query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.kernels.topk import select
from retrieval.types import FloatArray, IntArray

__all__ = ["Pool", "merge"]


@dataclass(slots=True)  # frozen, making one would take a microsecond of every query
class Pool:
    """Candidates of one query: segment position, ordinal in it, approximate score.

    ``slack`` bounds how far two approximate scores may lie apart while the true ones are in the
    other order; a pool keeps everything within ``slack`` of its k-th best. ``final`` are the scores that
    refining gives, None where they are not known yet.
    """

    segments: IntArray
    ordinals: IntArray
    scores: FloatArray
    slack: float
    final: FloatArray | None = None

    @classmethod
    def empty(cls, slack: float = 0.0) -> Pool:
        """A pool without candidates."""
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, np.empty(0, dtype=np.float32), slack)

    def __len__(self) -> int:
        return len(self.ordinals)

    def by_segment(self) -> Iterator[tuple[int, IntArray | slice]]:
        """Each segment that has candidates, and which they are of the pool's."""
        if len(self) and (self.segments == self.segments[0]).all():  # nearly always
            yield int(self.segments[0]), slice(None)
            return
        for position in np.unique(self.segments):
            yield int(position), np.flatnonzero(self.segments == position)


def merge(pools: Sequence[Pool], k: int) -> Pool:
    """One pool from those of several segments, cut to what may still be among the best ``k``."""
    scores = np.concatenate([pool.scores for pool in pools])
    slack = max(pool.slack for pool in pools)
    kept = select(scores, k, slack)
    segments = np.concatenate([pool.segments for pool in pools])[kept]
    ordinals = np.concatenate([pool.ordinals for pool in pools])[kept]
    known = [pool.final for pool in pools if pool.final is not None]
    final = np.concatenate(known)[kept] if len(known) == len(pools) else None
    return Pool(segments, ordinals, scores[kept], slack, final)
