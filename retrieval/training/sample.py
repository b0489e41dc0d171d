"""A sample of an index's living vectors, drawn by a seed."""

from __future__ import annotations

import numpy as np

from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray

__all__ = ["held_out_split", "living", "sample_vectors"]

HELD_OUT = 2048
SMALL = 4096
"""Vectors below which none are held out of training."""


def sample_vectors(snapshot: Snapshot, size: int, seed: int) -> FloatArray:
    """Up to ``size`` stored vectors ``(n, d)`` float32, decoded, of documents that are not deleted: without
    repetition, in the order in which they are stored."""
    ordinals = [living(view) for view in snapshot.segments]
    ends = np.cumsum([len(each) for each in ordinals], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    chosen = np.arange(total)
    if total > size:
        chosen = np.sort(np.random.default_rng(seed).choice(total, size=size, replace=False))
    parts = [np.empty((0, snapshot.record.dim), dtype=np.float32)]
    first = 0
    for view, each, end in zip(snapshot.segments, ordinals, ends, strict=True):
        mine = chosen[(chosen >= first) & (chosen < end)] - first
        # One vector a document: the ordinal is the row.
        parts.append(snapshot.codec.decode(view.codes[each[mine]]))
        first = int(end)
    return np.concatenate(parts)


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
