"""Residual codes decoded to bytes, eight tokens at a time, and multiplied by a query of int8.

A nibble picks its bytes from a 16-byte codebook, one for each dimension that it holds. All first
dimensions of the codes' bytes make a plane, all second ones another: a vector of codes then takes one
shuffle a plane, and the query's dimensions are in that order too. The eight tokens lie in the
first-level cache while `retrieval.kernels.maxsim.blocks` multiplies them, plane by plane.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.coded_maxsim.norms import NOT_FINITE, as_floats
from retrieval.kernels.maxsim.blocks import eight, inner, multiply_pair, multiply_single
from retrieval.kernels.runs import is_damaged
from retrieval.kernels.simd.arithmetic import (
    add,
    as_i8,
    as_i16,
    bit_and,
    fma,
    maximum_f32,
    multiply,
    shift_right,
    shuffle_bytes,
    splat_f32,
    splat_i8,
    sum_f32,
    to_f32,
    zero_f32,
)
from retrieval.kernels.simd.memory import (
    broadcast16,
    load_f32,
    load_i8,
    load_i32,
    prefetch,
    store_f32,
    store_i8,
)
from retrieval.kernels.simd.partial import element, load_part_f32, load_part_i8

__all__ = ["decoded_bytes", "score_bytes"]

BLOCK, LANES, LINE = 8, 16, 64
LOWEST = np.float32(-np.inf)


def decoded_bytes(n_bytes: int, planes: int) -> int:
    """Size of the scratch that `score_bytes` needs for codes of ``n_bytes`` a token."""
    return planes * _plane_bytes(n_bytes)


@inner
def _plane_bytes(n_bytes):  # type: ignore[no-untyped-def]
    """Whole vectors, and room for the last step of the last token."""
    return -(-BLOCK * n_bytes // LINE) * LINE + LINE


@inner
def _decode(codes, at, n_bytes, codebooks, decoded, size):  # type: ignore[no-untyped-def]
    """``n_bytes`` of codes from byte ``at`` on, into planes ``size`` apart; up to 63 bytes too many."""
    low = splat_i8(15)
    first, second = broadcast16(codebooks, 0), broadcast16(codebooks, 16 * (codebooks.shape[0] - 1))
    for i in range(0, n_bytes, LINE):
        if at + i + LINE <= len(codes):
            pairs = load_i8(codes, at + i)
        else:
            pairs = load_part_i8(codes, at + i, len(codes) - at - i)
        a, b = bit_and(pairs, low), bit_and(as_i8(shift_right(as_i16(pairs), 4)), low)
        store_i8(decoded, i, shuffle_bytes(first, a))
        if codebooks.shape[0] == 1:
            store_i8(decoded, size + i, shuffle_bytes(first, b))
        else:
            store_i8(decoded, size + i, shuffle_bytes(second, a))
            store_i8(decoded, 2 * size + i, shuffle_bytes(first, b))
            store_i8(decoded, 3 * size + i, shuffle_bytes(second, b))


@inner
def _scores(sums, units, scores, row, group, n_q, norm):  # type: ignore[no-untyped-def]
    """A token's scores for 16 query tokens."""
    at, rest = n_q * row + LANES * group, n_q - LANES * group
    centroid = load_f32(scores, at) if rest >= LANES else load_part_f32(scores, at, rest)
    return multiply(fma(to_f32(sums), units, centroid), splat_f32(norm))


@inner
def _keep_largest(v, best, units, scores, group, n_q, rows, floats):  # type: ignore[no-untyped-def]
    """Eight tokens' sums to scores, and the largest of each query token into ``best``."""
    u = load_f32(units, LANES * group)
    a, b = load_f32(best, LANES * group), _scores(v[0], u, scores, rows[0], group, n_q, floats[0])
    a = maximum_f32(_scores(v[1], u, scores, rows[1], group, n_q, floats[1]), a)
    b = maximum_f32(_scores(v[2], u, scores, rows[2], group, n_q, floats[2]), b)
    a = maximum_f32(_scores(v[3], u, scores, rows[3], group, n_q, floats[3]), a)
    b = maximum_f32(_scores(v[4], u, scores, rows[4], group, n_q, floats[4]), b)
    a = maximum_f32(_scores(v[5], u, scores, rows[5], group, n_q, floats[5]), a)
    b = maximum_f32(_scores(v[6], u, scores, rows[6], group, n_q, floats[6]), b)
    a = maximum_f32(_scores(v[7], u, scores, rows[7], group, n_q, floats[7]), a)
    store_f32(best, LANES * group, maximum_f32(a, b))


@inner
def _first8(length, stride):  # type: ignore[no-untyped-def]
    """Where the tokens of a block begin; those that a short document lacks are its last one."""
    last = stride * (length - 1)
    return (
        0,
        min(stride, last),
        min(2 * stride, last),
        min(3 * stride, last),
        min(4 * stride, last),
        min(5 * stride, last),
        min(6 * stride, last),
        min(7 * stride, last),
    )


@inner
def _gather8(values, first, at):  # type: ignore[no-untyped-def]
    return (
        element(values, first),
        element(values, first + at[1]),
        element(values, first + at[2]),
        element(values, first + at[3]),
        element(values, first + at[4]),
        element(values, first + at[5]),
        element(values, first + at[6]),
        element(values, first + at[7]),
    )


@inner
def _prefetch_rows(scores, n_q, rows):  # type: ignore[no-untyped-def]
    for q in range(0, n_q, LANES):
        prefetch(scores, n_q * rows[0] + q)
        prefetch(scores, n_q * rows[1] + q)
        prefetch(scores, n_q * rows[2] + q)
        prefetch(scores, n_q * rows[3] + q)
        prefetch(scores, n_q * rows[4] + q)
        prefetch(scores, n_q * rows[5] + q)
        prefetch(scores, n_q * rows[6] + q)
        prefetch(scores, n_q * rows[7] + q)


@inner
def _score_block(tables, decoded, r, shape, scores, n_q, rows, norms, best, codes, ahead):  # type: ignore[no-untyped-def]
    """Eight decoded tokens, which begin at ``r`` in every plane: their scores into ``best``."""
    query, _, start, units = tables
    groups, planes, size, steps, pace = shape
    for group in range(0, groups, 2):
        at, soon = group * planes * steps, ahead
        a = eight(load_i32(start, LANES * group))
        if group + 1 < groups:
            b = eight(load_i32(start, LANES * group + LANES))
            for plane in range(planes):
                source = decoded[plane * size :]
                a, b = multiply_pair(a, b, source, r, query, at, steps, 4 * steps - 4, codes, soon, pace)
                at, soon = at + 2 * steps, soon + steps * pace
            _keep_largest(b, best, units, scores, group + 1, n_q, rows, norms)
        else:
            for plane in range(planes):
                source = decoded[plane * size :]
                a = multiply_single(a, source, r, query, at, steps, 4 * steps - 4, codes, soon, pace)
                at, soon = at + steps, soon + steps * pace
        _keep_largest(a, best, units, scores, group, n_q, rows, norms)


@inner
def _score(tables, scores, n_q, centroids, codes, n_bytes, floats, start, length, following, decoded, best):  # type: ignore[no-untyped-def]
    """One document of a token at least; ``following`` is the token where the next one begins."""
    codebooks, units = tables[1], tables[3]
    groups, planes, size = len(units) // LANES, 2 * codebooks.shape[0], _plane_bytes(n_bytes)
    steps = -(-n_bytes // 4)
    shape = groups, planes, size, steps, -(-BLOCK * n_bytes // (steps * planes))
    block = min(length, BLOCK)
    r, t = _first8(block, n_bytes), _first8(block, 1)
    for group in range(groups):
        store_f32(best, LANES * group, splat_f32(LOWEST))
    for i in range(0, length, BLOCK):
        first = max(min(i, length - BLOCK), 0)
        rows, norms = _gather8(centroids, start + first, t), _gather8(floats, first, t)
        _prefetch_rows(scores, n_q, rows)
        _decode(codes, (start + first) * n_bytes, block * n_bytes, codebooks, decoded, size)
        ahead = start + i + 2 * BLOCK if i + 2 * BLOCK < length else following + i + 2 * BLOCK - length
        _score_block(tables, decoded, r, shape, scores, n_q, rows, norms, best, codes, ahead * n_bytes)
    total = zero_f32()
    for group in range(groups):
        total = add(total, load_f32(best, LANES * group))
    return sum_f32(total)


@njit(nogil=True, cache=True, error_model="numpy")
def score_bytes(  # type: ignore[no-untyped-def]
    tables, scores, centroids, codes, n_bytes, inv_norms, offsets, ordinals, listed, decoded, out
):
    """Fill ``out``; the position of the first damaged document, or -1.

    ``tables`` is a `ByteTables`' arrays, ``scores`` those of the centroids, ``(K, n_q)``; ``codes`` is
    flat, ``n_bytes`` a token; ``decoded`` is scratch of `decoded_bytes`.
    """
    n_centroids, n_q = scores.shape
    flat = scores.reshape(-1)
    floats, best = np.empty(0, np.float32), np.empty(len(tables[3]), np.float32)
    for i in range(len(out)):
        at = ordinals[i] if listed else i
        start, stop = offsets[at], offsets[at + 1]
        following = offsets[ordinals[i + 1]] if listed and i + 1 < len(ordinals) else stop
        if is_damaged(centroids, start, stop, n_centroids):
            return i
        out[i] = 0
        if stop == start:
            continue
        if len(floats) < stop - start + LANES - 1:
            floats = np.empty(2 * (stop - start) + LANES - 1, np.float32)
        if as_floats(inv_norms, start, stop, floats) >= NOT_FINITE:
            return i
        out[i] = _score(
            tables,
            flat,
            n_q,
            centroids,
            codes,
            n_bytes,
            floats,
            start,
            stop - start,
            following,
            decoded,
            best,
        )
    return -1
