"""A sample of an index's living documents, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray, Ragged

__all__ = ["held_out_split", "living", "sample_documents"]

BLOCK = 16384
"""Vectors decoded at a time."""
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
    bounds = np.searchsorted(chosen, np.concatenate([[0], ends]))
    mine = [
        each[chosen[low:high] - (end - len(each))]
        for each, end, (low, high) in zip(ordinals, ends, pairwise(bounds), strict=True)
    ]
    return _decoded(snapshot, mine)


def _decoded(snapshot: Snapshot, chosen: Sequence[IntArray]) -> Ragged:
    """The documents of these ordinals of each segment; in blocks, because all codes with their vectors would
    be a third of the sample more."""
    pairs = list(zip(snapshot.segments, chosen, strict=True))
    doclens = [np.asarray(view.offsets[some + 1] - view.offsets[some]) for view, some in pairs]
    offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *doclens]))
    values = np.empty((int(offsets[-1]), snapshot.record.dim), dtype=np.float32)
    at = 0
    for (view, some), own in zip(pairs, doclens, strict=True):
        rows = np.repeat(view.offsets[some] - (np.cumsum(own) - own), own) + np.arange(int(own.sum()))
        for first in range(0, len(rows), BLOCK):
            part = snapshot.codec.decode(view.codes[rows[first : first + BLOCK]])
            values[at : at + len(part)] = part
            at += len(part)
    return Ragged(values, offsets)


def _tokens(snapshot: Snapshot) -> int:
    """Vectors of all documents, deleted ones too."""
    return sum(int(view.offsets[-1]) for view in snapshot.segments)


def held_out_split(sample: FloatArray, *, is_needed: bool) -> tuple[FloatArray, FloatArray]:
    """A sample ``(n, d)`` without every 16th vector, and those, about `HELD_OUT` at most. A small sample is
    all kept to train on, and measured on itself; what is held out is a copy, since `fit` overwrites."""
    if not is_needed:
        return sample, sample[:0]
    if len(sample) < SMALL:
        return sample, sample[:HELD_OUT].copy()
    chosen = np.zeros(len(sample), dtype=np.bool_)
    chosen[:: max(16, len(sample) // HELD_OUT)] = True
    return sample[~chosen], sample[chosen]


def living(view: SegmentView) -> IntArray:
    """Ordinals of a segment's documents that are not deleted."""
    return np.arange(view.n_documents) if view.live is None else np.flatnonzero(view.live)
