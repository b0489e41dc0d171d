"""Exact MaxSim of calibrated bytes by AMX: `retrieval.kernels.token_rescore.avx512` with other products.

All products of a document are made by `retrieval.kernels.maxsim.tiles`, a row of 32 query tokens for each of
its tokens; those that may be the best are multiplied in float64, as there. To note them for all candidates,
and to multiply only those of the documents that come out best, took longer than to multiply these again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.maxsim.lanes import largest, load_sums, lowest, store_sums
from retrieval.kernels.maxsim.packing import LANES, pack
from retrieval.kernels.maxsim.tiles import AHEAD, BLOCK, fits, products, shape_of
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd.tiles import ROWS, configure, end_tiles, start_tiles
from retrieval.kernels.token_rescore.exact import STEP
from retrieval.kernels.token_rescore.narrowing import narrow, raise_exact
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.token_rescore.query import quantise_each
from retrieval.types import FloatArray, IntArray

__all__ = ["fits", "maxsim_exactly"]


@inner
def _multiply(octets, start, length, last, following, group, shape, packed, sums, best):  # type: ignore[no-untyped-def]
    """Products of a document's tokens with two groups of query tokens to rows of 32 of ``sums``, the largest
    to ``best``; the row where they begin, as a short document's neighbours come before it."""
    first = 0
    if length < ROWS:
        at = min(start, last)
        first = start - at
        products(octets, at, 0, 0, following, shape, group, packed, sums, 0, 0)
    else:
        for i in range(0, length, BLOCK):
            row, other = min(i, length - ROWS), min(i + ROWS, length - ROWS)
            soon = start + i + AHEAD if i + AHEAD < length else following + i + AHEAD - length
            products(octets, start, row, other, soon, shape, group, packed, sums, row, other)
    m0, m1 = lowest(sums), lowest(sums)
    for row in range(first, first + length):
        m0, m1 = largest(m0, load_sums(sums, 2 * row)), largest(m1, load_sums(sums, 2 * row + 1))
    store_sums(best, 0, m0)
    store_sums(best, 1, m1)
    return first


@inner
def _above(sums, row, limit0, limit1):  # type: ignore[no-untyped-def]
    """With which query tokens the product of a document token is above their limits, as bits."""
    low = np.int64(v.mask_greater_i32(load_sums(sums, 2 * row), limit0))
    return low | np.int64(v.mask_greater_i32(load_sums(sums, 2 * row + 1), limit1)) << LANES


@inner
def _pick(first, length, valid, sums, limits, picked):  # type: ignore[no-untyped-def]
    """Rows with a product above its limit: how many; which, and with which query tokens, to ``picked``."""
    rows, masks = picked
    limit0, limit1, count = load_sums(limits, 0), load_sums(limits, 1), np.int64(0)
    for row in range(first, first + length):
        mask = _above(sums, row, limit0, limit1) & valid
        rows[count], masks[count] = row, mask
        count += np.int64(mask != 0)
    return count


@inner
def _sift(count, sums, limits, picked, sifted):  # type: ignore[no-untyped-def]
    """Move what is above other limits from ``picked`` to ``sifted``: how many rows that are."""
    rows, masks = picked
    limit0, limit1, n = load_sums(limits, 0), load_sums(limits, 1), np.int64(0)
    for i in range(count):
        mask = masks[i] & _above(sums, rows[i], limit0, limit1)
        masks[i] ^= mask
        sifted[0][n], sifted[1][n] = rows[i], mask
        n += np.int64(mask != 0)
    return n


@inner
def _score_group(octets, start, length, last, following, group, query, dims, calibration, scratch, exact):  # type: ignore[no-untyped-def]
    """Two groups of query tokens with a document of a token at least: their largest products to ``exact``."""
    shape, packed, spreads, lines, asked = query
    (span, low), (sums, best, limits, picked, sifted, wide) = calibration, scratch
    first = _multiply(octets, start, length, last, following, group, shape, packed, sums, best)
    n_asked, origin = len(exact) - LANES * group, start - first
    for i in range(len(best)):
        limits[i] = best[i] - spreads[LANES * group + i]
    valid = (np.int64(1) << min(n_asked, 2 * LANES)) - 1
    count = _pick(first, length, valid, sums, limits, picked)
    # First the best by the products: what they are exactly leaves few of the others.
    for i in range(len(best)):
        limits[i] = best[i] - 1
    some = _sift(count, sums, limits, picked, sifted)
    raise_exact(octets, origin, some, group, dims, span, low, asked, sifted[0], sifted[1], wide, exact)
    narrow(LANES * group, n_asked, lines, best, exact, limits)
    some = _sift(count, sums, limits, picked, sifted)
    raise_exact(octets, origin, some, group, dims, span, low, asked, sifted[0], sifted[1], wide, exact)


@njit(nogil=True, cache=True, error_model="numpy")
def _score(octets, offsets, ordinals, query, config, dims, calibration, exact, scores):  # type: ignore[no-untyped-def]
    """`retrieval.kernels.token_rescore.reference.maxsim_exactly` into ``scores``; ordinals are the caller's
    to check. ``query`` is its shape (`shape_of`), packed bytes, spreads and lines (`quantise_each`), and
    float64; ``calibration`` span and low."""
    longest = ROWS
    for ordinal in ordinals:
        longest = max(longest, offsets[ordinal + 1] - offsets[ordinal])
    picked = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    sifted = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    best, limits = np.empty(2 * LANES, np.int32), np.empty(2 * LANES, np.int32)
    sums, wide = np.empty(2 * LANES * longest, np.int32), np.zeros(dims[1], np.float64)
    scratch, last = (sums, best, limits, picked, sifted, wide), len(octets) // dims[0] - ROWS
    start_tiles(config)
    for at in range(len(ordinals)):
        start, stop = offsets[ordinals[at]], offsets[ordinals[at] + 1]
        following = offsets[ordinals[at + 1]] if at + 1 < len(ordinals) else stop
        length = stop - start
        exact[:] = -np.inf if length else 0.0
        for group in range(0, query[0][2] if length else 0, 2):
            rest = group, query, dims, calibration, scratch, exact
            _score_group(octets, start, length, last, following, *rest)
        total = 0.0
        for q in range(len(exact)):
            total += exact[q]
        scores[at] = np.float32(total)
    end_tiles()


def maxsim_exactly(query: FloatArray, tokens: Tokens, ordinals: IntArray, scores: FloatArray) -> None:
    """See `retrieval.kernels.token_rescore.cpu.maxsim_exactly`; arguments are checked, tokens are bytes and
    `fits` them."""
    n_q, dim = query.shape
    shape = shape_of(n_q, dim)
    room = -(-n_q // (2 * LANES)) * 2 * LANES
    spreads, levels, lines = np.zeros(room, np.int32), np.empty((n_q, dim), np.int8), np.empty((n_q, 2))
    known = tokens.steps, tokens.middles, tokens.doubts, tokens.norm
    quantise_each(query, *known, levels, spreads, lines)
    spreads += 1  # what equals a limit is not above it
    width = -(-dim // STEP) * STEP
    asked = np.zeros((n_q, width))
    asked[:, :dim] = query
    octets = tokens.codes.reshape(-1)
    octets.flags.writeable = False
    told = shape, pack(levels), spreads, lines, asked.reshape(-1)
    calibration, config = (tokens.span, tokens.low), configure(shape[1])
    _score(octets, tokens.offsets, ordinals, told, config, (dim, width), calibration, np.empty(n_q), scores)
