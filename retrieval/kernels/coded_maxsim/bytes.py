"""Residual codes decoded to bytes, eight tokens at a time, and multiplied by a query of int8.

A nibble picks its bytes from a 16-byte codebook, one for each dimension that it holds; the eight
tokens lie in the first-level cache while `retrieval.kernels.maxsim.blocks` multiplies them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.coded_maxsim.norms import NOT_FINITE, as_floats
from retrieval.kernels.maxsim.blocks import multiply_pair, multiply_single
from retrieval.kernels.runs import is_damaged
from retrieval.kernels.simd.arithmetic import (
    add,
    as_i8,
    bit_and,
    bit_or,
    fma,
    maximum_f32,
    multiply,
    shuffle_bytes,
    splat_f32,
    splat_i8,
    sub,
    sum_f32,
    to_f32,
    zero_f32,
)
from retrieval.kernels.simd.integers import shift_left
from retrieval.kernels.simd.memory import (
    broadcast16,
    load_f32,
    load_i32,
    load_u8_as_i16,
    prefetch,
    store_f32,
    store_i8,
)
from retrieval.kernels.simd.partial import element, load_part_f32, load_part_u8_as_i16

__all__ = ["score_bytes"]

BLOCK, LANES, CHUNK, LINE = 8, 16, 32, 64
LOWEST = np.float32(-np.inf)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _decode(codes, at, n_bytes, codebook, decoded, row):  # type: ignore[no-untyped-def]
    """``2 * n_bytes`` nibbles from byte ``at`` on, through a codebook; up to 63 bytes too many."""
    for i in range(0, n_bytes, CHUNK):
        if at + i + CHUNK <= len(codes):
            pairs = load_u8_as_i16(codes, at + i)
        else:
            pairs = load_part_u8_as_i16(codes, at + i, len(codes) - at - i)
        nibbles = bit_and(as_i8(bit_or(pairs, shift_left(pairs, 4))), splat_i8(15))
        store_i8(decoded, row + 2 * i, shuffle_bytes(codebook, nibbles))


@njit(nogil=True, error_model="numpy", _nrt=False)
def _scores(sums, correction, units, scores, row, group, n_q, norm):  # type: ignore[no-untyped-def]
    """A token's scores for 16 query tokens."""
    centroid = load_part_f32(scores, n_q * row + LANES * group, n_q - LANES * group)
    return multiply(fma(to_f32(sub(sums, correction)), units, centroid), splat_f32(norm))


@njit(nogil=True, error_model="numpy", _nrt=False)
def _keep_largest(v, best, correction, units, scores, group, n_q, rows, floats):  # type: ignore[no-untyped-def]
    """Eight tokens' sums to scores, and the largest of each query token into ``best``."""
    c, u = load_i32(correction, LANES * group), load_f32(units, LANES * group)
    a, b = load_f32(best, LANES * group), _scores(v[0], c, u, scores, rows[0], group, n_q, floats[0])
    a = maximum_f32(_scores(v[1], c, u, scores, rows[1], group, n_q, floats[1]), a)
    b = maximum_f32(_scores(v[2], c, u, scores, rows[2], group, n_q, floats[2]), b)
    a = maximum_f32(_scores(v[3], c, u, scores, rows[3], group, n_q, floats[3]), a)
    b = maximum_f32(_scores(v[4], c, u, scores, rows[4], group, n_q, floats[4]), b)
    a = maximum_f32(_scores(v[5], c, u, scores, rows[5], group, n_q, floats[5]), a)
    b = maximum_f32(_scores(v[6], c, u, scores, rows[6], group, n_q, floats[6]), b)
    a = maximum_f32(_scores(v[7], c, u, scores, rows[7], group, n_q, floats[7]), a)
    store_f32(best, LANES * group, maximum_f32(a, b))


@njit(nogil=True, error_model="numpy", _nrt=False)
def _add8(a, b):  # type: ignore[no-untyped-def]
    return (
        add(a[0], b[0]),
        add(a[1], b[1]),
        add(a[2], b[2]),
        add(a[3], b[3]),
        add(a[4], b[4]),
        add(a[5], b[5]),
        add(a[6], b[6]),
        add(a[7], b[7]),
    )


@njit(nogil=True, error_model="numpy", _nrt=False)
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


@njit(nogil=True, error_model="numpy", _nrt=False)
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


@njit(nogil=True, error_model="numpy", _nrt=False)
def _score(tables, scores, n_q, centroids, codes, n_bytes, floats, start, length, following, scratch):  # type: ignore[no-untyped-def]
    """One document of a token at least; ``following`` is the token where the next one begins."""
    query, codebooks, correction, units = tables
    decoded, best, types = scratch
    groups, planes, width = len(units) // LANES, codebooks.shape[0], 2 * n_bytes
    steps, size = -(-width // 4), BLOCK * width + 2 * CHUNK
    pace = -(-BLOCK * n_bytes // (steps * planes))
    r, t = _first8(min(length, BLOCK), width), _first8(min(length, BLOCK), 1)
    for group in range(groups):
        store_f32(best, LANES * group, splat_f32(LOWEST))
    for i in range(0, length, BLOCK):
        first = max(min(i, length - BLOCK), 0)
        rows, norms = _gather8(centroids, start + first, t), _gather8(floats, first, t)
        for k in range(BLOCK):
            for q in range(0, n_q, LANES):
                prefetch(scores, n_q * element(centroids, start + min(first + k, length - 1)) + q)
        for plane in range(planes):
            codebook = broadcast16(codebooks, 16 * plane)
            _decode(
                codes,
                (start + first) * n_bytes,
                min(length, BLOCK) * n_bytes,
                codebook,
                decoded,
                LINE + plane * size,
            )
        ahead = (
            start + i + 2 * BLOCK if i + 2 * BLOCK < length else following + i + 2 * BLOCK - length
        ) * n_bytes
        for group in range(0, groups, 2):
            at = group * steps
            if group + 1 < groups:
                a, b = multiply_pair(
                    decoded[LINE:], r, query, at, steps, width - 4, codes, ahead, pace, types
                )
                for plane in range(1, planes):
                    at += groups * steps
                    ahead += steps * pace
                    c, e = multiply_pair(
                        decoded[LINE + plane * size :],
                        r,
                        query,
                        at,
                        steps,
                        width - 4,
                        codes,
                        ahead,
                        pace,
                        types,
                    )
                    a, b = _add8(a, c), _add8(b, e)
                _keep_largest(b, best, correction, units, scores, group + 1, n_q, rows, norms)
            else:
                a = multiply_single(decoded[LINE:], r, query, at, steps, width - 4, codes, ahead, pace, types)
                for plane in range(1, planes):
                    at += groups * steps
                    c = multiply_single(
                        decoded[LINE + plane * size :],
                        r,
                        query,
                        at,
                        steps,
                        width - 4,
                        codes,
                        ahead,
                        pace,
                        types,
                    )
                    a = _add8(a, c)
            _keep_largest(a, best, correction, units, scores, group, n_q, rows, norms)
    total = zero_f32()
    for group in range(groups):
        total = add(total, load_f32(best, LANES * group))
    return sum_f32(total)


@njit(nogil=True, cache=True, error_model="numpy")
def score_bytes(tables, scores, centroids, codes, n_bytes, inv_norms, offsets, ordinals, listed, out):  # type: ignore[no-untyped-def]
    """Fill ``out``; the position of the first damaged document, or -1.

    ``tables`` is a `ByteTables`' arrays, ``scores`` those of the centroids, ``(K, n_q)``; ``codes`` is
    flat, ``n_bytes`` a token.
    """
    n_centroids, n_q = scores.shape
    flat = scores.reshape(-1)
    floats = np.empty(0, np.float32)
    decoded = np.empty(LINE + len(tables[1]) * (2 * BLOCK * n_bytes + 2 * CHUNK), np.uint8)
    scratch = (decoded, np.empty(len(tables[3]), np.float32), np.empty(0, np.int32))
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
            tables, flat, n_q, centroids, codes, n_bytes, floats, start, stop - start, following, scratch
        )
    return -1
