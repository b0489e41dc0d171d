"""Exact MaxSim with AVX-512: cheap products of everything, float64 for what may be the best.

The first pass is that of `retrieval.kernels.maxsim`, int8 or float32, but its products are kept. A
document token whose product is further below the best than rounding explains is out; hardly two a
query token are left. These are decoded and multiplied in float64, dimensions in a fixed order, so that
a token's product depends on nothing but the token.
"""
# Numba matches a choice with its function by the arguments' names, used or not.
# ruff: noqa: ARG001, PLW0108

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from retrieval.kernels.centroid_maxsim.tables import aligned
from retrieval.kernels.helpers import over_turns
from retrieval.kernels.maxsim.avx512 import _contiguous, _store8, _widen
from retrieval.kernels.maxsim.blocks import (
    AS_IS,
    BLOCK,
    FLOAT16,
    eight,
    inner,
    largest8,
    multiply_pair,
    multiply_single,
)
from retrieval.kernels.maxsim.lanes import largest, load_sums, lowest, store_sums, zero
from retrieval.kernels.maxsim.packing import LANES, from_line, pack
from retrieval.kernels.rescore.stop import add
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd.selection import mask_exceeds_f32
from retrieval.kernels.simd.types import F32x16
from retrieval.kernels.token_rescore import tiles
from retrieval.kernels.token_rescore.exact import STEP
from retrieval.kernels.token_rescore.narrowing import NARROWED, narrow, raise_exact, reach
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.token_rescore.query import bound_each, quantise_each, spread_floats
from retrieval.kernels.turns import finish, follow, take
from retrieval.types import FloatArray, IntArray

__all__ = ["maxsim_exactly", "narrows", "score_in_turns"]

AHEAD = 4 * BLOCK
"""How many document tokens ahead memory is asked for."""


def _mask(a: Any, b: Any) -> Any:
    """One bit a lane: where a > b, or where nobody knows."""
    raise NotImplementedError


@overload(_mask, strict=False)
def _choose_mask(a: Any, b: Any) -> Callable[..., Any]:
    if a == F32x16:
        return lambda a, b: mask_exceeds_f32(a, b)
    return lambda a, b: v.mask_greater_i32(a, b)


@inner
def _multiply(octets, start, length, following, group, shape, packed, widened, sums, best):  # type: ignore[no-untyped-def]
    """All products with one or two groups of query tokens to ``sums``, the largest to ``best``.

    A block of eight document tokens has 16 vectors of ``sums``; the last block steps back or, in a
    short document, repeats its last token.
    """
    stride, widening, groups, steps, pace = shape
    width = 2 * stride if widening else stride
    source = widened if widening else octets
    none, first = eight(zero(sums)), group * steps
    m0, m1 = lowest(sums), lowest(sums)
    for i in range(0, length, BLOCK):
        row = max(min(i, length - BLOCK), 0)
        soon = start + i + AHEAD if i + AHEAD < length else following + i + AHEAD - length
        at, last = (start + row) * stride, (min(length, BLOCK) - 1) * width
        if widening:
            _widen(octets, at, min(length, BLOCK) * stride, widening, widened, 0)
            at = 0
        rows = _contiguous(at, width)
        if length < BLOCK:
            last += at
            rows = (
                at,
                min(rows[1], last),
                min(rows[2], last),
                min(rows[3], last),
                min(rows[4], last),
                min(rows[5], last),
                min(rows[6], last),
                last,
            )
        ahead = soon * stride
        if group + 1 < groups:
            a, b = multiply_pair(
                none, none, source, rows, packed, first, steps, width - 4, octets, ahead, pace
            )
            m1 = largest(m1, largest8(b))
            _store8(sums, 2 * i + BLOCK, b)
        else:
            a = multiply_single(none, source, rows, packed, first, steps, width - 4, octets, ahead, pace)
        m0 = largest(m0, largest8(a))
        _store8(sums, 2 * i, a)
    store_sums(best, 0, m0)
    store_sums(best, 1, m1)


@inner
def _above(sums, place, limit0, limit1, paired):  # type: ignore[no-untyped-def]
    """With which query tokens the product of a document token is above their limits, as bits."""
    mask = np.int64(_mask(load_sums(sums, place), limit0))
    if paired:
        mask |= np.int64(_mask(load_sums(sums, place + BLOCK), limit1)) << LANES
    return mask


@inner
def _pick(length, n_asked, sums, limits, picked):  # type: ignore[no-untyped-def]
    """Document tokens with a product above its limit: how many; which, where their products are, and with
    which query tokens, to ``picked``."""
    tokens, places, masks = picked
    limit0, limit1 = load_sums(limits, 0), load_sums(limits, 1)
    valid, count = (1 << min(n_asked, 2 * LANES)) - 1, np.int64(0)
    for i in range(0, length, BLOCK):
        row = max(min(i, length - BLOCK), 0)
        for r in range(i - row, min(BLOCK, length)):  # what an earlier block has is not looked at again
            mask = _above(sums, 2 * i + r, limit0, limit1, n_asked > LANES) & valid
            tokens[count], places[count], masks[count] = row + r, 2 * i + r, mask
            count += np.int64(mask != 0)
    return count


@inner
def _sift(count, n_asked, sums, limits, picked, sifted):  # type: ignore[no-untyped-def]
    """Move what is above other limits from ``picked`` to ``sifted``: how many document tokens that are."""
    tokens, places, masks = picked
    limit0, limit1, n = load_sums(limits, 0), load_sums(limits, 1), np.int64(0)
    for i in range(count):
        mask = masks[i] & _above(sums, places[i], limit0, limit1, n_asked > LANES)
        masks[i] ^= mask
        sifted[0][n], sifted[1][n], sifted[2][n] = tokens[i], places[i], mask
        n += np.int64(mask != 0)
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def score_in_turns(  # type: ignore[no-untyped-def]
    octets,
    values,
    offsets,
    ordinals,
    shape,
    packed,
    spreads,
    lines,
    n_q,
    dims,
    span,
    low,
    asked,
    bar,
    k,
    turns,
    scores,
):
    """`reference.maxsim_exactly` into ``scores``; ordinals are the caller's to check.

    ``octets`` and ``values`` are the same tokens, flat, as bytes and as numbers (float16 as uint16);
    ``shape`` as in `retrieval.kernels.maxsim.avx512`; ``spreads``, whose type is that of products, has
    whole vectors for all groups; ``lines`` (see `quantise_each`) are empty for floats;
    ``dims`` are the dimensions and how many ``asked``, float64 and flat, has of each query token;
    ``bar`` and ``k`` are as in `retrieval.kernels.token_rescore.tiles`.
    """
    longest, groups = BLOCK, shape[2]
    for ordinal in ordinals:
        longest = max(longest, offsets[ordinal + 1] - offsets[ordinal])
    picked = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    sifted = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    sums = from_line(np.empty(2 * LANES * (longest + BLOCK) + LANES, spreads.dtype))
    best, limits = np.empty(2 * LANES, spreads.dtype), np.empty(2 * LANES, spreads.dtype)
    widened = np.empty(2 * BLOCK * shape[0] if shape[1] else 0, np.uint8)
    wide, exact = from_line(np.zeros(dims[1] + LANES // 2, np.float64)), np.empty(n_q, np.float64)
    heap, (units, added), seen = np.empty(k, np.float32), bar, 0
    n, done = len(ordinals), 0
    at, end = take(turns, n)
    while at < n:
        after, its_end = follow(turns, at, end, n)
        start, stop = offsets[ordinals[at]], offsets[ordinals[at] + 1]
        following = offsets[ordinals[after]] if after < n else stop
        length, total = stop - start, 0.0
        exact[:] = -np.inf if length else 0.0
        for group in range(0, groups if length else 0, 2):
            _multiply(octets, start, length, following, group, shape, packed, widened, sums, best)
            n_asked = n_q - LANES * group
            if 0 < k <= seen and reach(best, units) + added < heap[0]:
                total = -np.inf
                break
            for i in range(len(best)):
                limits[i] = best[i] - spreads[LANES * group + i]
            count = _pick(length, n_asked, sums, limits, picked)
            if len(lines):
                # First the best by the products: what they are exactly leaves few of the others.
                for i in range(len(best)):
                    limits[i] = best[i] - 1
                some = _sift(count, n_asked, sums, limits, picked, sifted)
                raise_exact(
                    values, start, some, group, dims, span, low, asked, sifted[0], sifted[2], wide, exact
                )
                narrow(LANES * group, n_asked, lines, best, exact, limits)
                some = _sift(count, n_asked, sums, limits, picked, sifted)
                raise_exact(
                    values, start, some, group, dims, span, low, asked, sifted[0], sifted[2], wide, exact
                )
            else:
                raise_exact(
                    values, start, count, group, dims, span, low, asked, picked[0], picked[2], wide, exact
                )
        if total > -np.inf:
            for q in range(n_q):
                total += exact[q]
            if k:
                add(heap, seen, np.float32(total))
                seen += 1
        scores[at] = np.float32(total)
        done, at, end = done + 1, after, its_end
    finish(turns, done)


def narrows(query: FloatArray, tokens: Tokens) -> bool:
    """Whether `maxsim_exactly` makes use of how many are wanted."""
    return tokens.is_bytes and 0 < len(query) <= NARROWED


def maxsim_exactly(
    query: FloatArray,
    tokens: Tokens,
    ordinals: IntArray,
    scores: FloatArray,
    threads: int = 1,
    k: int = 0,
) -> None:
    """See `retrieval.kernels.token_rescore.cpu.maxsim_exactly`; arguments are checked. With ``k``, where it
    `narrows`, who cannot be among the best ``k`` may score -inf."""
    if len(query) and tokens.is_bytes and tiles.fits(tokens.codes, tokens.offsets):
        tiles.maxsim_exactly(query, tokens, ordinals, scores, threads, k)
        return
    n_q, dim = query.shape
    codes, stride = tokens.codes, dim * tokens.codes.itemsize
    groups = -(-n_q // LANES)
    room = LANES * (groups + groups % 2)
    units, added = np.zeros(room, np.float32), 0.0
    if tokens.is_bytes:
        spreads, first = np.zeros(room, np.int32), np.empty((n_q, dim), np.int8)
        lines = np.empty((n_q, 3))
        known = tokens.steps, tokens.middles, tokens.doubts, tokens.norm
        quantise_each(query, *known, first, spreads, lines)
        spreads += 1  # what equals a limit is not above it
        packed, widening, added = pack(first), AS_IS, bound_each(lines, first, units)
    else:
        spreads, lines = np.zeros(room, np.float32), np.empty((0, 3))
        spread_floats(query, tokens.norm, spreads)
        packed, widening = pack(query), FLOAT16 if codes.itemsize == 2 else AS_IS
    steps = -(-(2 * stride if widening else stride) // 4)
    shape = stride, widening, groups, steps, BLOCK * stride // steps
    width = -(-dim // STEP) * STEP
    asked = aligned((n_q, width), np.float64)
    asked[:, :dim], asked[:, dim:] = query, 0
    flat = codes.view(np.uint16) if widening else codes
    octets = flat.reshape(-1).view(np.uint8)
    octets.flags.writeable = False
    flat = flat.reshape(-1)
    flat.flags.writeable = False
    given = (
        octets,
        flat,
        tokens.offsets,
        ordinals,
        shape,
        packed,
        spreads,
        lines,
        n_q,
        (dim, width),
        tokens.span,
        tokens.low,
        asked.reshape(-1),
        (units, added),
        k if k < len(ordinals) and narrows(query, tokens) else 0,
    )
    over_turns(lambda turns: score_in_turns(*given, turns, scores), len(scores), threads)
