"""Which segments to merge next: a pure function of their sizes.

Tiers, as in log-structured stores (O'Neil et al., The Log-Structured Merge-Tree, 1996): a segment's
tier is the logarithm of its size, and `FACTOR` segments of one tier become one of the next. So there
are at most ``FACTOR - 1`` segments a tier, and a document is rewritten once a tier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FACTOR", "FLOOR_BYTES", "LARGEST_BYTES", "SegmentSize", "choose_merge"]

FACTOR = 8
FLOOR_BYTES = 1 << 20
"""Segments up to this size are of the lowest tier."""
LARGEST_BYTES = 16 << 30
"""No merge makes a segment larger than this."""
DELETED_SHARE = 1 / 3
"""A segment with more deleted documents than this is rewritten alone."""


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """A segment's number, its documents, how many of them are deleted, and its bytes."""

    number: int
    documents: int
    deleted: int
    bytes: int

    @property
    def live_bytes(self) -> float:
        """What would be left of it after a merge."""
        return self.bytes * (1 - self.deleted / self.documents) if self.documents else 0.0


def choose_merge(segments: Sequence[SegmentSize]) -> tuple[int, ...]:
    """Numbers of the segments to merge into one; empty when all is well."""
    tiers: dict[int, list[SegmentSize]] = {}
    for segment in segments:
        tiers.setdefault(_tier(segment), []).append(segment)
    for _, members in sorted(tiers.items()):
        chosen = _fitting(sorted(members, key=lambda one: (one.live_bytes, one.number)))
        if len(chosen) >= FACTOR:
            return tuple(segment.number for segment in chosen)
    wasteful = (segment for segment in segments if segment.deleted > DELETED_SHARE * segment.documents)
    return next(((segment.number,) for segment in wasteful), ())


def _tier(segment: SegmentSize) -> int:
    return math.ceil(math.log(max(segment.live_bytes, FLOOR_BYTES) / FLOOR_BYTES, FACTOR))


def _fitting(members: Sequence[SegmentSize]) -> list[SegmentSize]:
    """The smallest that fit together under the largest allowed size, at most `FACTOR`."""
    chosen, total = [], 0.0
    for segment in members[:FACTOR]:
        total += segment.live_bytes
        if total > LARGEST_BYTES:
            break
        chosen.append(segment)
    return chosen
