"""MaxSim of one query with 512-bit vectors, for every number type.

The query is packed (`retrieval.kernels.maxsim.packing`): query tokens lie in the lanes, and one step
takes four bytes of a document token, in every lane, times one vector of the query. A block is eight
document tokens against 32 query tokens: sixteen vectors of sums stay in registers, and a step loads
two vectors and eight broadcasts for sixteen multiply-adds. A maximum needs no order and may see a
token twice, so the last block of a document steps back and overlaps. Documents shorter than a block
share one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels import host
from retrieval.kernels.helpers import over_turns
from retrieval.kernels.maxsim import tiles
from retrieval.kernels.maxsim.blocks import (
    AS_IS,
    BFLOAT16,
    BLOCK,
    FLOAT16,
    add8,
    eight,
    inner,
    largest8,
    multiply_pair,
    multiply_single,
    prefetch_document,
)
from retrieval.kernels.maxsim.lanes import (
    largest,
    load_sums,
    lowest,
    store_sums,
    total,
    undefined,
    zero,
)
from retrieval.kernels.maxsim.packing import LANES, LINE, pack, pack_single, to_bf16
from retrieval.kernels.maxsim.single import score_single
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.memory import load_bf16, load_f16, store_f32
from retrieval.kernels.turns import finish, take
from retrieval.types import FloatArray, IntArray

__all__ = ["maxsim", "maxsim_bf16", "maxsim_i8"]
FAR = 2048
"""Bytes to prefetch ahead where documents follow each other."""


@inner
def _widen(values, at, n_bytes, widening, wide, start):  # type: ignore[no-untyped-def]
    """``n_bytes`` of 16-bit floats (32 at least) to float32; the last vector steps back."""
    for k in range(0, n_bytes, 32):
        i = min(k, n_bytes - 32)
        if widening == FLOAT16:
            store_f32(wide, start + 2 * i, load_f16(values, at + i))
        else:
            store_f32(wide, start + 2 * i, load_bf16(values, at + i))


@inner
def _contiguous(start, stride):  # type: ignore[no-untyped-def]
    """Where eight rows begin."""
    return (
        start,
        start + stride,
        start + 2 * stride,
        start + 3 * stride,
        start + 4 * stride,
        start + 5 * stride,
        start + 6 * stride,
        start + 7 * stride,
    )


@inner
def _score_long(values, start, length, following, shape, packed, wide, sums):  # type: ignore[no-untyped-def]
    """A document of at least eight tokens; ``following`` is the row where the next one begins."""
    stride, widening, groups, steps, pace = shape
    source = wide if widening else values
    width = 2 * stride if widening else stride
    best, none = zero(sums), eight(zero(sums))
    for group in range(0, groups, 2):
        m0, m1 = lowest(sums), lowest(sums)
        for i in range(0, length, BLOCK):
            row = min(i, length - BLOCK)
            soon = start + i + 2 * BLOCK if i + 2 * BLOCK < length else following + i + 2 * BLOCK - length
            at = (start + row) * stride
            if widening:
                _widen(values, at, BLOCK * stride, widening, wide, 0)
                at = 0
            rows = _contiguous(at, width)
            if group + 1 < groups:
                a, b = multiply_pair(
                    none,
                    none,
                    source,
                    rows,
                    packed,
                    group * steps,
                    steps,
                    width - 4,
                    values,
                    soon * stride,
                    pace,
                )
                m1 = largest(m1, largest8(b))
            else:
                a = multiply_single(
                    none, source, rows, packed, group * steps, steps, width - 4, values, soon * stride, pace
                )
            m0 = largest(m0, largest8(a))
            best = add(best, undefined(add8(a)))
        best = add(best, m0)
        if group + 1 < groups:
            best = add(best, m1)
    return total(best)


@inner
def _store8(sums, first, v):  # type: ignore[no-untyped-def]
    store_sums(sums, first, v[0])
    store_sums(sums, first + 1, v[1])
    store_sums(sums, first + 2, v[2])
    store_sums(sums, first + 3, v[3])
    store_sums(sums, first + 4, v[4])
    store_sums(sums, first + 5, v[5])
    store_sums(sums, first + 6, v[6])
    store_sums(sums, first + 7, v[7])


@inner
def _multiply_rows(values, rows, ahead, shape, packed, wide, sums):  # type: ignore[no-untyped-def]
    """Eight tokens wherever they are (``rows``: at which byte): all products to ``sums``.

    Vector ``8 * group + row`` of ``sums`` belongs to a row and 16 query tokens.
    """
    stride, widening, groups, steps, pace = shape
    source, none = wide if widening else values, eight(zero(sums))
    last = (2 * stride if widening else stride) - 4
    where = (rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7])
    for group in range(0, groups, 2):
        first = group * steps
        if group + 1 < groups:
            a, b = multiply_pair(none, none, source, where, packed, first, steps, last, values, ahead, pace)
            _store8(sums, BLOCK * (group + 1), b)
        else:
            a = multiply_single(none, source, where, packed, first, steps, last, values, ahead, pace)
        _store8(sums, BLOCK * group, a)


@inner
def _score_short(row, length, groups, sums):  # type: ignore[no-untyped-def]
    """One document of a shared block: ``length`` rows of ``sums`` from ``row`` on."""
    best = zero(sums)
    for group in range(groups):
        m = lowest(sums)
        for r in range(row, row + length):
            a = load_sums(sums, BLOCK * group + r)
            m = largest(m, a)
            best = add(best, undefined(a))
        best = add(best, m)
    return total(best)


@inner
def _score_shared(values, ahead, shape, packed, constant, rows, spans, n_spans, wide, sums, scores):  # type: ignore[no-untyped-def]
    """The short documents that share a block; ``spans`` has (position in scores, row, length) each."""
    for r in range(spans[n_spans - 1, 1] + spans[n_spans - 1, 2], BLOCK):
        rows[r] = rows[0]  # whatever: nobody's
    _multiply_rows(values, rows, ahead, shape, packed, wide, sums)
    for i in range(n_spans):
        scores[spans[i, 0]] = _score_short(spans[i, 1], spans[i, 2], shape[2], sums) - constant


@inner
def _share(values, start, length, shape, used, rows, wide):  # type: ignore[no-untyped-def]
    """Put a short document's tokens into the shared block, from row ``used`` on."""
    stride, widening = shape[0], shape[1]
    for r in range(length):
        rows[used + r] = 2 * stride * (used + r) if widening else stride * (start + r)
    if widening:
        _widen(values, stride * start, stride * length, widening, wide, 2 * stride * used)


@inner
def _score_all(values, offsets, ordinals, shape, packed, constant, sums, wide, pool, rows, spans, scores):  # type: ignore[no-untyped-def]
    """See `score`; the rest is scratch."""
    stride, n_spans, used, ahead, n = shape[0], 0, 0, 0, len(scores)
    for i in range(n):
        at = ordinals[i] if len(ordinals) else i
        start, length = offsets[at], offsets[at + 1] - offsets[at]
        if length == 0:
            scores[i] = 0
        elif length >= BLOCK:
            following = offsets[ordinals[i + 1]] if i + 1 < len(ordinals) else start + length
            scores[i] = _score_long(values, start, length, following, shape, packed, wide, sums) - constant
        else:
            prefetch_document(values, offsets, ordinals, i + BLOCK, stride)
            ahead = (start + BLOCK) * stride
            if used + length > BLOCK:
                _score_shared(
                    values, ahead, shape, packed, constant, rows, spans, n_spans, pool, sums, scores
                )
                n_spans, used = 0, 0
            _share(values, start, length, shape, used, rows, pool)
            spans[n_spans, 0], spans[n_spans, 1], spans[n_spans, 2] = i, used, length
            n_spans, used = n_spans + 1, used + length
    if n_spans:
        _score_shared(values, ahead, shape, packed, constant, rows, spans, n_spans, pool, sums, scores)


@njit(nogil=True, cache=True, error_model="numpy")
def _score(values, offsets, ordinals, shape, packed, constant, turns, scores):  # type: ignore[no-untyped-def]
    """MaxSim of a packed query with the documents of ``ordinals`` (none: all, in one turn), into ``scores``.

    ``values`` are the bytes of all tokens; ``shape`` is (bytes of a token, widening, groups of 16
    query tokens, steps, bytes to prefetch a step); ``constant`` is subtracted from every sum.
    Ranges are the caller's to check.
    """
    sums = np.empty(16 * BLOCK * shape[2], scores.dtype)
    wide = np.empty(2 * BLOCK * shape[0] if shape[1] else 0, np.uint8)
    rows, spans = np.empty(BLOCK, np.int64), np.empty((BLOCK, 3), np.int64)
    pool, count = np.empty_like(wide), 0
    first, stop = take(turns, len(scores))
    while first < stop:
        some, out = ordinals[first:stop], scores[first:stop]
        _score_all(values, offsets, some, shape, packed, constant, sums, wide, pool, rows, spans, out)
        count += stop - first
        first, stop = take(turns, len(scores))
    finish(turns, count)


def _run(
    query: NDArray[Any],
    values: NDArray[Any],
    widening: int,
    offsets: IntArray,
    ordinals: IntArray,
    constant: Any,
    scores: NDArray[Any],
    threads: int = 1,
) -> None:
    """Pack the query and score; values go as bytes, so that few functions are compiled."""
    octets = values.view(np.ndarray).reshape(-1).view(np.uint8)
    octets.flags.writeable = False
    stride = values.shape[1] * values.itemsize
    if len(query) == 1 and query.nbytes >= LINE:
        width = LINE // 2 if widening else LINE
        shape = (stride, widening, width, -(-stride // width), 0 if len(ordinals) else FAR)
        score_single(octets, offsets, ordinals, shape, pack_single(query[0]), constant, scores)
        return
    steps = -(-(2 * stride if widening else stride) // 4)
    groups = -(-len(query) // LANES)
    shape = (stride, widening, groups, steps, BLOCK * stride // steps)
    given = octets, offsets, ordinals, shape, pack(query), constant
    threads = threads if len(ordinals) else 1
    over_turns(lambda turns: _score(*given, turns, scores), len(scores), threads)


def maxsim(
    query: FloatArray, values: NDArray[Any], offsets: IntArray, ordinals: IntArray, scores: FloatArray
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim`; arguments are checked, no ordinals mean all."""
    widening = FLOAT16 if values.dtype == np.float16 else AS_IS
    _run(query, values, widening, offsets, ordinals, np.float32(0), scores)


def maxsim_bf16(
    query: FloatArray,
    values_bits: NDArray[np.uint16],
    offsets: IntArray,
    ordinals: IntArray,
    scores: FloatArray,
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim_bf16`; ``query`` is rounded to bfloat16 already."""
    if host.multiplies_bf16():
        _run(to_bf16(query), values_bits, AS_IS, offsets, ordinals, np.float32(0), scores)
    else:
        _run(query, values_bits, BFLOAT16, offsets, ordinals, np.float32(0), scores)


def maxsim_i8(
    query_i8: NDArray[np.int8],
    values_u8: NDArray[np.uint8],
    offsets: IntArray,
    ordinals: IntArray,
    scores: NDArray[np.int32],
    threads: int = 1,
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim_i8`."""
    if len(query_i8) > 1 and tiles.fits(values_u8, offsets):
        tiles.maxsim_i8(query_i8, values_u8, offsets, ordinals, scores, threads)
        return
    # Sums wrap around in 32 bits, and back when what the 128 added to values brought is taken off.
    constant = np.int64(128 * int(query_i8.sum(dtype=np.int64)))
    _run(query_i8, values_u8, AS_IS, offsets, ordinals, constant, scores, threads)
