"""A sample of an index's living vectors, drawn by a seed."""

from __future__ import annotations

import numpy as np

from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray

__all__ = ["living", "sample_vectors"]


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


def living(view: SegmentView) -> IntArray:
    """Ordinals of a segment's documents that are not deleted."""
    return np.arange(view.n_documents) if view.live is None else np.flatnonzero(view.live)
