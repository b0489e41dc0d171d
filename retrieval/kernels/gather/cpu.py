"""Gathering of candidates: one pass over the postings, into an accumulator that suits their number.

The probes of a query token come best first. Many postings for the documents (`gather_in_turns`): a token's
scores are written into a cell per document, the worst probe first, so that the maximum stays; what is there
is then added to the documents' sums, many at a time, and the cells are cleared. A posting costs one store
that way. Few (`_bucketed`): they are thrown into buckets of neighbouring documents, whose cells fit in the
cache; the first touch of a document by a token is its maximum, and a stamp says which token touched it last.
Every document's score is added in the same order either way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.helpers import over_turns
from retrieval.kernels.turns import finish, follow, take
from retrieval.types import FloatArray, IntArray

__all__ = ["DENSE_DOCUMENTS", "gather", "gather_in_turns"]

BUCKET_BITS = 14
BUCKET = 1 << BUCKET_BITS
BLOCK = 1 << 15  # documents whose cells, sums and maxima are filled at a time
SHARED = 1 << 17  # postings that are worth a thread of their own
BLOCKS = 4  # for each thread: to find where a block begins takes as long as some thousand postings
DENSE_DOCUMENTS = 1 << 17  # up to here adding up all documents takes little time anyway
DENSE_SHARE = 2  # and with one posting for this many documents it is worth it
NOTHING, NOTHING_BITS = np.float32(-0.0), np.int32(-(2**31))
"""Of all numbers it alone adds nothing to itself, and is what is left where nothing else was added."""


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _touch(cells: Any, marks: Any, at: Any, stamp: Any, gain: Any) -> None:
    """Add to a cell unless this token did already. No branch: which it is cannot be predicted."""
    fresh = np.float32(cells[at, 1] != stamp)
    cells[at, 0] += gain * fresh
    cells[at, 1] = stamp
    marks[at >> 3] |= np.uint8(1 << (at & 7))


@njit(nogil=True, cache=True, error_model="numpy")
def _collect(cells: Any, marks: Any, base: int, start: Any, ordinals: Any, scores: Any, n: Any) -> Any:
    """Append the touched cells in ascending order, and clear them; the new count.

    All eight cells of a group are written, each over the last one that did not count, so the
    outputs need eight places more than there are touched cells.
    """
    for group in range(len(marks)):
        mark = np.int64(marks[group])
        if mark == 0:
            continue
        marks[group] = 0
        for bit in range(8):
            at = 8 * group + bit
            ordinals[n] = base + at
            scores[n] = start + cells[at, 0]
            cells[at, 0] = cells[at, 1] = 0
            n += (mark >> bit) & 1
    return n


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _write(cursors: Any, ends: Any, gains: Any, postings: Any, base: Any, cells: Any) -> Any:
    """One token's scores of the documents from ``base`` on; the first posting that goes back, or -1."""
    stop = base + len(cells)
    for p in range(len(gains) - 1, -1, -1):
        gain, j = gains[p] + np.float32(0), cursors[p]  # no negative zero
        while j < ends[p]:
            document = np.int64(postings[j])
            if document >= stop:
                break
            if document < base:
                return j
            cells[document - base] = gain
            j += 1
        cursors[p] = j
    return -1


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _add(cells: Any, sums: Any) -> None:
    """Add one token's scores, and forget them."""
    for i in range(len(cells)):
        sums[i] += cells[i]
        cells[i] = NOTHING


@njit(nogil=True, cache=True, error_model="numpy")
def _seek(cursors: Any, begins: Any, ends: Any, postings: Any, base: Any) -> None:
    """Each cursor to the first posting of its run that is document ``base`` or a later one."""
    for q in range(len(cursors)):
        for p in range(cursors.shape[1]):
            low, high = begins[q, p], ends[q, p]
            while low < high:
                middle = (low + high) >> 1
                if np.int64(postings[middle]) < base:
                    low = middle + 1
                else:
                    high = middle
            cursors[q, p] = low


@njit(nogil=True, cache=True, error_model="numpy")
def gather_in_turns(
    begins: Any,
    ends: Any,
    gains: Any,
    postings: Any,
    n_documents: int,
    accept: Any,
    start: Any,
    block: int,
    turns: Any,
    ordinals: Any,
    scores: Any,
    told: Any,
) -> None:
    """Blocks of ``block`` documents in turns. Block ``b`` has ``told[b, 0]`` documents (-1: its postings go
    back) from ``told[b, 1]`` postings, and begins at ``told[b, 2]`` of the outputs: where the one before it
    ends, if the same thread took that, too."""
    cells, sums = np.full(min(n_documents, block), NOTHING), np.empty(min(n_documents, block), np.float32)
    cursors, everywhere, place, count, found = begins.copy(), len(accept) == 0, 0, 0, 0
    b, stop = take(turns, len(told))
    while b < len(told):
        base, wrong = b * block, -1
        n = min(block, n_documents - base)
        if base != place:
            _seek(cursors, begins, ends, postings, base)
            found = base + b  # every block before it has room for what it has, and for one more
        told[b, 1] -= cursors.sum()
        sums[:] = NOTHING
        for q in range(len(gains)):
            wrong = max(wrong, _write(cursors[q], ends[q], gains[q], postings, base, cells[:n]))
            _add(cells[:n], sums[:n])
        told[b, 1] += cursors.sum()
        bits, told[b, 2] = sums.view(np.int32), found
        for i in range(n):  # each is written over the last one that did not count
            ordinals[found], scores[found] = base + i, start + sums[i]
            found += int((bits[i] != NOTHING_BITS) & (everywhere or accept[base + i]))
        told[b, 0] = found - told[b, 2] if wrong < 0 else -1
        place, count = base + n, count + 1
        b, stop = follow(turns, b, stop, len(told))
    finish(turns, count)


@njit(nogil=True, cache=True, error_model="numpy")
def _throw(begins: Any, ends: Any, postings: Any, n_documents: int, accept: Any) -> Any:
    """Accepted postings ``(document, probe)`` by bucket, in the order of the probes in each."""
    n_buckets = (n_documents + BUCKET - 1) >> BUCKET_BITS
    places = np.zeros(n_buckets + 1, np.int64)
    everywhere, begins, ends = len(accept) == 0, begins.reshape(-1), ends.reshape(-1)
    for p in range(len(begins)):
        for j in range(begins[p], ends[p]):
            document = np.int64(postings[j])
            if document < 0 or document >= n_documents:
                return np.empty((0, 2), np.uint32), places, j
            places[(document >> BUCKET_BITS) + 1] += np.int64(everywhere or accept[document])
    for b in range(n_buckets):
        places[b + 1] += places[b]
    # Now places[b] is where bucket b begins; filling it moves it to where the bucket ends.
    thrown = np.empty((places[n_buckets], 2), np.uint32)
    for p in range(len(begins)):
        for j in range(begins[p], ends[p]):
            document = np.int64(postings[j])
            if everywhere or accept[document]:
                at = places[document >> BUCKET_BITS]
                thrown[at, 0], thrown[at, 1] = document, p
                places[document >> BUCKET_BITS] = at + 1
    return thrown, places, -1


@njit(nogil=True, cache=True, error_model="numpy")
def _bucketed(
    begins: Any, ends: Any, gains: Any, postings: Any, n_documents: int, accept: Any, start: Any
) -> Any:
    thrown, places, wrong = _throw(begins, ends, postings, n_documents, accept)
    ordinals, scores = np.empty(len(thrown) + 8, np.int64), np.empty(len(thrown) + 8, np.float32)
    cells, marks = np.zeros((BUCKET, 2), np.float32), np.zeros(BUCKET // 8, np.uint8)
    flat, found, i = gains.reshape(-1), 0, 0
    for b in range(len(places) - 1 if wrong < 0 else 0):
        if i == places[b]:
            continue
        while i < places[b]:
            p = np.int64(thrown[i, 1])
            stamp = np.float32(p // gains.shape[1] + 1)
            _touch(cells, marks, np.int64(thrown[i, 0]) & (BUCKET - 1), stamp, flat[p])
            i += 1
        found = _collect(cells, marks, b << BUCKET_BITS, start, ordinals, scores, found)
    return ordinals[:found], scores[:found], wrong


def gather(
    probes: NDArray[Any],
    probe_scores: FloatArray,
    posting_offsets: NDArray[Any],
    postings: NDArray[Any],
    n_documents: int,
    accept: NDArray[np.bool_] | None = None,
    missing: FloatArray | None = None,
    threads: int = 1,
) -> tuple[IntArray, FloatArray]:
    """See `retrieval.kernels.gather.reference.gather`; the same up to rounding. So many ``threads`` may share
    it.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, a centroid or document that is
            not there.
    """
    begins, ends, scores = _as_runs(probes, probe_scores, posting_offsets, postings)
    accept = _as_accept(accept, n_documents)
    start = np.float32(0)
    if missing is not None:
        if missing.shape != (len(scores),) or not np.isfinite(missing).all():
            raise ValueError(f"missing must be one finite score per query token, got {missing.shape}")
        scores = scores - missing[:, None].astype(np.float32)
        start = np.float32(missing.sum(dtype=np.float64))
    count = int((ends - begins).sum())
    given = begins, ends, scores, plain(postings), n_documents, accept, start
    if n_documents > DENSE_DOCUMENTS and count * DENSE_SHARE < n_documents:
        ordinals, found, wrong = _bucketed(*given)
        if wrong >= 0:
            _refuse(postings, wrong, n_documents)
        return ordinals, found
    return _in_blocks(given, count, min(threads, count // SHARED))


def _in_blocks(given: tuple[Any, ...], count: int, threads: int) -> tuple[IntArray, FloatArray]:
    """`gather_in_turns` of ``count`` postings."""
    begins, ends, _, postings, n_documents, *_ = given
    block = BLOCK if threads < 2 else min(BLOCK, -(-n_documents // (BLOCKS * threads)))
    told = np.zeros((-(-n_documents // block), 3), np.int64)
    room = n_documents + len(told)
    ordinals, scores = np.empty(room, np.int64), np.empty(room, np.float32)
    over_turns(
        lambda turns: gather_in_turns(*given, block, turns, ordinals, scores, told), len(told), threads, 1
    )
    if (told[:, 0] < 0).any() or told[:, 1].sum() != count:
        for first, last in zip(begins.reshape(-1), ends.reshape(-1), strict=True):
            run = postings[first:last].astype(np.int64)
            wrong = (run < np.maximum.accumulate(run)) | (run < 0) | (run >= n_documents)
            if wrong.any():
                _refuse(postings, first + int(wrong.argmax()), n_documents)
    parts = [slice(begin, begin + n) for n, _, begin in told.tolist()]
    if all(one.stop == following.start for one, following in pairwise(parts)):
        whole = slice(0, parts[-1].stop if parts else 0)
        return ordinals[whole], scores[whole]
    return np.concatenate([ordinals[one] for one in parts]), np.concatenate([scores[one] for one in parts])


def _refuse(postings: NDArray[Any], wrong: int, n_documents: int) -> NoReturn:
    raise ValueError(f"posting {wrong} is document {postings[wrong]}: there are {n_documents} documents")


def _as_runs(
    probes: NDArray[Any], scores: FloatArray, offsets: NDArray[Any], postings: NDArray[Any]
) -> tuple[IntArray, IntArray, FloatArray]:
    """Where each probe's postings begin and end, and its score; each token's best first."""
    if probes.ndim != 2 or probes.dtype.kind not in "iu" or scores.shape != probes.shape:
        raise ValueError(
            f"probes must be (n_q, n_probe) integers with as many scores, got {probes.dtype} {probes.shape} "
            f"and {scores.shape}"
        )
    if scores.dtype != np.float32 or not np.isfinite(scores).all():
        raise ValueError(f"probe_scores must be finite float32, got {scores.dtype}")
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        raise ValueError(f"posting_offsets must be (K + 1,) integers, got {offsets.dtype} {offsets.shape}")
    if postings.ndim != 1 or postings.dtype.kind not in "iu":
        raise ValueError(f"postings must be one row of integers, got {postings.dtype} {postings.shape}")
    n_centroids = len(offsets) - 1
    if probes.size and not (probes.min() >= 0 and probes.max() < n_centroids):
        raise ValueError(
            f"probes go from {probes.min()} to {probes.max()}: there are {n_centroids} centroids"
        )
    probes = probes.astype(np.int64)
    if (scores[:, 1:] > scores[:, :-1]).any():
        order = np.argsort(-scores, axis=1, kind="stable")
        probes, scores = np.take_along_axis(probes, order, 1), np.take_along_axis(scores, order, 1)
    begins, ends = offsets[probes].astype(np.int64), offsets[probes + 1].astype(np.int64)
    if probes.size and (begins.min() < 0 or (ends < begins).any() or ends.max() > len(postings)):
        raise ValueError(f"posting_offsets leave the {len(postings)} postings, or go back")
    return begins, ends, np.array(scores, order="C")


def _as_accept(accept: NDArray[np.bool_] | None, n_documents: int) -> NDArray[np.bool_]:
    """The mask, or an empty one that stands for all."""
    if n_documents < 0:
        raise ValueError(f"n_documents={n_documents} must not be negative")
    if accept is None or n_documents == 0:
        return plain(np.empty(0, np.bool_))
    if accept.shape != (n_documents,) or accept.dtype != np.bool_:
        raise ValueError(f"accept must be ({n_documents},) bool, got {accept.dtype} {accept.shape}")
    return plain(accept)
