"""Inverted lists in 256-bit vectors where there are any, else in plain loops; also runs as plain Python.

The same integers and the same float operations as in `retrieval.kernels.lists.scan`, so the same answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.host import picks_bytes
from retrieval.kernels.lists.door import BAD_DOCUMENT, BAD_ENTRY, BAD_LIST, DOUBLE_LIST
from retrieval.kernels.lists.prepared import GROUP, Coarse, Lists
from retrieval.kernels.lists.steps import n_within
from retrieval.kernels.pq_scan.cpu import quantize_tables
from retrieval.kernels.pq_scan.halves import _eight
from retrieval.kernels.simd.halves import load_32i8, store_8i32
from retrieval.types import FloatArray, IntArray

__all__ = ["choose", "scan"]

BLOCK, ROW, TABLE = 32, 128, 16
_SIGN, _PLACE = 0x7FFFFFFF, 0xFFFFFFFF

_inner = njit(nogil=True, error_model="numpy", _nrt=False)
_kernel = njit(nogil=True, cache=True, error_model="numpy")


@_inner
def _totals_of_vectors(tables, blocks, block, groups, masks, totals):  # type: ignore[no-untyped-def]
    """Totals of the 32 vectors of a block, eight at a time."""
    others = load_32i8(masks, 0), load_32i8(masks, 32), load_32i8(masks, 64), load_32i8(masks, 96)
    for i in range(0, BLOCK, 8):
        first = block * groups * ROW + i * 4
        store_8i32(totals, i, _eight(blocks, first, tables, 0, groups, others))


@_inner
def _totals_of_bytes(tables, blocks, block, groups, masks, totals):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """`_totals_of_vectors` without vectors."""
    totals[:] = 0
    for row in range(2 * groups):
        at, table = (block * groups * 2 + row) * 64, row // 2 * ROW
        for i in range(16):
            total = np.int32(0)
            for j in range(4):
                code = np.int64(blocks[at + 4 * i + j])
                total += np.int32(tables[table + j * TABLE + (code & 15)])
                total += np.int32(tables[table + (4 + j) * TABLE + (code >> 4)])
            totals[row % 2 * 16 + i] += total


_totals = _totals_of_vectors if picks_bytes() else _totals_of_bytes


@_kernel
def _by_document(keys, ordinals):  # type: ignore[no-untyped-def]
    """Keys of one estimate in the order of their documents."""
    documents = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        place = keys[i] & _PLACE
        documents[i] = (np.int64(ordinals[place]) if len(ordinals) else place) << 32 | place
    documents.sort()
    return (keys >> 32 << 32) | (documents & _PLACE)


@_inner
def _reached(upper, depth):  # type: ignore[no-untyped-def]
    """The ``depth``-th smallest of int32, by halving: LLVM's vectors count quickly."""
    low, high = np.int64(-(2**31)), np.int64(2**31 - 1)
    while low < high:
        middle = (low + high) >> 1
        bound, count = np.int32(middle), np.int32(0)
        for x in upper:
            count += np.int32(x <= bound)
        if count >= depth:
            high = middle
        else:
            low = middle + 1
    return low


@_kernel
def _cut(keys, count, depth, ordinals):  # type: ignore[no-untyped-def]
    """Bring the best ``depth`` of more keys to the front; the upper half of the last of them."""
    upper = (keys[:count] >> 32).astype(np.int32)
    last = _reached(upper, depth)
    better, ties = keys[:count][upper < last], keys[:count][upper == last]
    keys[: len(better)] = better
    keys[len(better) : depth] = _by_document(ties, ordinals)[: depth - len(better)]
    return last


@_kernel
def _finish(keys, ordinals, estimates, positions):  # type: ignore[no-untyped-def]
    """The keys, at most as many as there are positions, in order."""
    keys, first = np.sort(keys), 0
    while first < len(keys):
        last = first + 1
        while last < len(keys) and keys[last] >> 32 == keys[first] >> 32:
            last += 1
        if last > first + 1:
            keys[first:last] = _by_document(keys[first:last], ordinals)
        first = last
    order = (~(keys >> 32)).astype(np.int32)
    estimates[: len(keys)] = (order ^ ((order >> np.int32(31)) & np.int32(_SIGN))).view(np.float32)
    positions[: len(keys)] = keys & _PLACE


@_inner
def _estimate(totals, t, scales, biases, scale, shift, base, found):  # type: ignore[no-untyped-def]
    """Estimates of the block's positions, the first of them ``t``."""
    n = min(BLOCK, (len(scales) or len(biases) or t + BLOCK) - t)
    for i in range(n):
        x = scale * np.float32(totals[i]) + shift
        if len(scales):
            x = scales[t + i] * x
        if len(biases):
            x = biases[t + i] + x
        found[i] = base + x


@_inner
def _offer(found, bits, first, last, t, bound, ordinals, accept, keys, count):  # type: ignore[no-untyped-def]
    """Keys of the positions in ``first:last`` that reach the bound; the new count, -1: no such document."""
    for i in range(max(first - t, 0), min(last - t, BLOCK)):
        if found[i] >= bound:
            document = np.int64(ordinals[t + i]) if len(ordinals) else t + i
            if len(accept):
                if document >= len(accept):
                    return -1
                if not accept[document]:
                    continue
            word = bits[i] if found[i] != 0 else np.int32(0)
            order = np.int64(word ^ ((word >> np.int32(31)) & np.int32(_SIGN)))
            keys[count] = (~order << 32) | (t + i)
            count += 1
    return count


@_kernel
def _scan_one(tables, numbers, stored, masks, lists, bases, accept, estimates, positions):  # type: ignore[no-untyped-def]
    """One query: how many were found, -1 for a document that ``accept`` does not have; codes looked at."""
    blocks, groups, starts, scales, biases, ordinals = stored
    depth = len(positions)
    keys = np.empty(max(4 * depth, 1024) + BLOCK, np.int64)
    totals, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.float32)
    bits, best = found.view(np.int32), np.full(1, -np.inf, np.float32)
    bound, count, scanned = best.view(np.int32), 0, 0
    for place in range(len(lists)):
        if lists[place] < 0:
            continue
        first, last = starts[lists[place]], starts[lists[place] + 1]
        scanned += last - first
        for block in range(first // BLOCK, (last + BLOCK - 1) // BLOCK if last > first else 0):
            _totals(tables, blocks, block, groups, masks, totals)
            t = block * BLOCK
            _estimate(totals, t, scales, biases, numbers[0], numbers[1], bases[place], found)
            count = _offer(found, bits, first, last, t, best[0], ordinals, accept, keys, count)
            if count < 0:
                return count, scanned
            if count > len(keys) - BLOCK:
                order, count = _cut(keys, count, depth, ordinals), depth
                bound[0] = np.int32(~order ^ ((~order >> 31) & _SIGN))
    if count > depth:
        _cut(keys, count, depth, ordinals)
        count = depth
    _finish(keys[:count], ordinals, estimates, positions)
    return count, scanned


def _wrong_lists(lists: IntArray, coded: Lists) -> int:
    """0, or what is wrong with the lists of a query."""
    given, starts = lists[lists != -1], coded.starts
    if len(given) and (given.min() < 0 or given.max() >= len(starts) - 1):
        return BAD_LIST
    n = min(int(starts[-1]), len(coded.blocks) * BLOCK)
    if (
        (starts[given] < 0).any()
        or (starts[given + 1] < starts[given]).any()
        or (starts[given + 1] > n).any()
    ):
        return BAD_LIST
    return DOUBLE_LIST if len(np.unique(given)) < len(given) else 0


def scan(
    tables: FloatArray,
    coded: Lists,
    lists: IntArray,
    bases: FloatArray,
    accept: NDArray[np.uint8],
    estimates: FloatArray,
    positions: IntArray,
    counts: IntArray,
) -> int:
    """See `retrieval.kernels.lists.scan.scan`, with a `Lists` for its places; the same."""
    if not np.isfinite(tables).all():
        return BAD_ENTRY
    entries, scales, shifts = quantize_tables(tables)
    n_queries, m, _ = tables.shape
    groups = coded.blocks.shape[1]
    padded = np.zeros((n_queries, groups * 8, TABLE), np.uint8)
    padded[:, :m] = entries
    masks = np.where(np.arange(BLOCK) % 4 == np.arange(4)[:, None], 0, 128).astype(np.uint8).reshape(-1)
    stored = coded.blocks.reshape(-1), groups, coded.starts, coded.scales, coded.biases, coded.ordinals
    estimates[:], positions[:] = -np.inf, -1
    for q in range(n_queries):
        wrong = _wrong_lists(lists[q], coded)
        if wrong:
            return wrong
        numbers = np.float32(scales[q]), np.float32(shifts[q])
        counts[:, q] = _scan_one(
            padded[q].reshape(-1),
            numbers,
            stored,
            masks,
            lists[q],
            bases[q],
            accept,
            estimates[q],
            positions[q],
        )
        if counts[0, q] < 0:
            return BAD_DOCUMENT
    return 0


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _products(query, rows, biases, which, out):  # type: ignore[no-untyped-def]
    """Inner products of the query with some rows, and their biases."""
    for i in range(len(which)):
        total = np.float32(0)
        for j in range(len(query)):
            total += query[j] * rows[which[i], j]
        out[i] = total + biases[which[i]]


def _scores(query: FloatArray, rows: FloatArray, biases: FloatArray, which: IntArray) -> FloatArray:
    out = np.empty(len(which), np.float32)
    _products(query, rows, biases, which, out)
    return out


def _members(query: FloatArray, coarse: Coarse, enough: int) -> IntArray:
    """The lists to look at."""
    if not len(coarse.supers):
        return coarse.members[coarse.members >= 0]
    scores = _scores(query, coarse.supers, coarse.super_biases, np.arange(len(coarse.supers)))
    order = np.argsort(-scores, kind="stable")
    before = np.cumsum(coarse.sizes[order]) - coarse.sizes[order]
    parts: list[Any] = [
        coarse.members[GROUP * coarse.runs[r] : GROUP * coarse.runs[r + 1]] for r in order[before < enough]
    ]
    seen = np.concatenate(parts)
    return np.sort(seen[seen >= 0])


def choose(
    queries: FloatArray,
    coarse: Coarse,
    enough: int,
    reach: float,
    least: int,
    lists: IntArray,
    bases: FloatArray,
) -> bool:
    """See `retrieval.kernels.lists.choose.choose`, with a `Coarse` for its places; all is in float."""
    if not np.isfinite(queries).all():
        return False
    lists[:], bases[:] = -1, -np.inf
    for q, query in enumerate(queries):
        seen = _members(query, coarse, enough)
        length = np.float32(np.sqrt(query @ query))
        scores = _scores(query, coarse.centroids, coarse.biases, seen) + length * coarse.spreads[seen]
        if len(seen) > 4 * lists.shape[1]:
            kept = scores >= np.partition(scores, -lists.shape[1])[-lists.shape[1]]
            seen, scores = seen[kept], scores[kept]
        best = np.argsort(-scores, kind="stable")[: lists.shape[1]]
        best = best[: n_within(scores[best], length, reach, least)]
        lists[q, : len(best)] = seen[best]
        bases[q, : len(best)] = scores[best] - length * coarse.spreads[seen[best]]
    return True
