"""A sample of an index's living documents, drawn by a seed."""

from __future__ import annotations

import numpy as np

from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["held_out_split", "living", "sample_documents"]

HELD_OUT = 2048
SMALL = 4096
"""Vectors below which none are held out of training."""


def sample_documents(snapshot: Snapshot, size: int, seed: int, tokens: int | None = None) -> Ragged:
    """Up to ``size`` stored documents that are not deleted, decoded to float32: without repetition, in the
    order in which they are stored. With ``tokens``, only as many as have about so many vectors together."""
    ordinals = [living(view) for view in snapshot.segments]
    ends = np.cumsum([len(each) for each in ordinals], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if tokens is not None:
        size = min(size, int(np.ceil(total * tokens / max(_tokens(snapshot), 1))))
    chosen = np.arange(total)
    if total > size:
        chosen = np.sort(np.random.default_rng(seed).choice(total, size=size, replace=False))
    parts = [np.empty((0, snapshot.record.dim), dtype=np.float32)]
    doclens = [np.empty(0, np.int64)]
    first = 0
    for view, each, end in zip(snapshot.segments, ordinals, ends, strict=True):
        mine = each[chosen[(chosen >= first) & (chosen < end)] - first]
        doclens.append(np.asarray(view.offsets[mine + 1] - view.offsets[mine]))
        rows = mine
        if snapshot.record.kind == "late":
            starts = np.asarray(view.offsets[mine])
            before = np.cumsum(doclens[-1]) - doclens[-1]
            rows = np.repeat(starts - before, doclens[-1]) + np.arange(int(doclens[-1].sum()))
        parts.append(snapshot.codec.decode(view.codes[rows]))
        first = int(end)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(doclens))])
    return Ragged(np.concatenate(parts), offsets)


def _tokens(snapshot: Snapshot) -> int:
    """Vectors of all documents, deleted ones too."""
    return sum(int(view.offsets[-1]) for view in snapshot.segments)


def held_out_split(sample: FloatArray, *, is_needed: bool) -> tuple[FloatArray, FloatArray]:
    """A sample ``(n, d)`` without every 16th vector, and those, about `HELD_OUT` at most. A small sample is
    all kept to train on, and measured on itself."""
    if not is_needed:
        return sample, sample[:0]
    if len(sample) < SMALL:
        return sample, sample[:HELD_OUT]
    chosen = np.zeros(len(sample), dtype=np.bool_)
    chosen[:: max(16, len(sample) // HELD_OUT)] = True
    return sample[~chosen], sample[chosen]


def living(view: SegmentView) -> IntArray:
    """Ordinals of a segment's documents that are not deleted."""
    return np.arange(view.n_documents) if view.live is None else np.flatnonzero(view.live)
