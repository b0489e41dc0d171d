"""Exact MaxSim of calibrated bytes by AMX: `retrieval.kernels.token_rescore.avx512` with other products.

All products of a document are made by `retrieval.kernels.maxsim.tiles`, a row of 32 query tokens for each of
its tokens; those that may be the best are multiplied in float64, as there. To note them for all candidates,
and to multiply only those of the documents that come out best, took longer than to multiply these again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.centroid_maxsim.tables import aligned
from retrieval.kernels.helpers import over_turns
from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.maxsim.lanes import largest, load_sums, lowest, store_sums
from retrieval.kernels.maxsim.packing import LANES, from_line, pack
from retrieval.kernels.maxsim.tiles import AHEAD, BLOCK, fits, products, shape_of
from retrieval.kernels.rescore.stop import add
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd.tiles import ROWS, configure, end_tiles, start_tiles
from retrieval.kernels.token_rescore.exact import STEP
from retrieval.kernels.token_rescore.narrowing import NARROWED, narrow, raise_exact, reach
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.token_rescore.query import bound_each, quantise_each
from retrieval.kernels.turns import finish, follow, take
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
def _raise_group(octets, start, length, first, group, query, dims, calibration, scratch, exact):  # type: ignore[no-untyped-def]
    """The largest products of two groups of query tokens with a document to ``exact``, once `_multiply` has
    made all of them roughly, from row ``first`` on."""
    _, _, spreads, lines, asked = query
    (span, low), (sums, best, limits, picked, sifted, wide) = calibration, scratch
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
def _score(octets, offsets, ordinals, query, config, dims, calibration, bar, k, turns, scores):  # type: ignore[no-untyped-def]
    """`retrieval.kernels.token_rescore.reference.maxsim_exactly` into ``scores``; ordinals are the caller's
    to check. ``query`` is its shape (`shape_of`), packed bytes, spreads and lines (`quantise_each`), and
    float64; ``calibration`` span and low. ``bar`` is (units, what is to be added): a document that cannot
    reach the ``k``-th best that this thread has found scores -inf, unless ``k`` is 0, as it must be for more
    than two groups. So which documents are left out depends on the thread, which are the best does not."""
    longest = ROWS
    for ordinal in ordinals:
        longest = max(longest, offsets[ordinal + 1] - offsets[ordinal])
    picked = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    sifted = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    best, limits = np.empty(2 * LANES, np.int32), np.empty(2 * LANES, np.int32)
    sums = from_line(np.empty(2 * LANES * longest + LANES, np.int32))
    wide = from_line(np.zeros(dims[1] + LANES // 2, np.float64))
    scratch, last = (sums, best, limits, picked, sifted, wide), len(octets) // dims[0] - ROWS
    (shape, packed, _, _, _), (units, added), seen = query, bar, 0
    heap, exact, n, count = np.empty(k, np.float32), np.empty(len(query[3])), len(ordinals), 0
    start_tiles(config)
    at, end = take(turns, n)
    while at < n:
        after, its_end = follow(turns, at, end, n)
        start, stop = offsets[ordinals[at]], offsets[ordinals[at] + 1]
        following = offsets[ordinals[after]] if after < n else stop
        length, total = stop - start, 0.0
        exact[:] = -np.inf if length else 0.0
        for group in range(0, shape[2] if length else 0, 2):
            first = _multiply(octets, start, length, last, following, group, shape, packed, sums, best)
            if 0 < k <= seen and reach(best, units) + added < heap[0]:
                total = -np.inf
                break
            _raise_group(octets, start, length, first, group, query, dims, calibration, scratch, exact)
        if total > -np.inf:
            for q in range(len(exact)):
                total += exact[q]
            if k:
                add(heap, seen, np.float32(total))
                seen += 1
        scores[at] = np.float32(total)
        count, at, end = count + 1, after, its_end
    finish(turns, count)
    end_tiles()


def maxsim_exactly(
    query: FloatArray,
    tokens: Tokens,
    ordinals: IntArray,
    scores: FloatArray,
    threads: int = 1,
    k: int = 0,
) -> None:
    """See `retrieval.kernels.token_rescore.cpu.maxsim_exactly`; arguments are checked, tokens are bytes and
    `fits` them. With ``k``, who cannot be among the best ``k`` may score -inf."""
    n_q, dim = query.shape
    shape = shape_of(n_q, dim)
    room = -(-n_q // (2 * LANES)) * 2 * LANES
    spreads, levels, lines = np.zeros(room, np.int32), np.empty((n_q, dim), np.int8), np.empty((n_q, 3))
    quantise_each(query, tokens.steps, tokens.middles, tokens.doubts, tokens.norm, levels, spreads, lines)
    spreads += 1  # what equals a limit is not above it
    units = np.zeros(room, np.float32)
    added, k = bound_each(lines, levels, units), k if k < len(ordinals) and n_q <= NARROWED else 0
    width = -(-dim // STEP) * STEP
    asked = aligned((n_q, width), np.float64)
    asked[:, :dim], asked[:, dim:] = query, 0
    octets = tokens.codes.reshape(-1)
    octets.flags.writeable = False
    told = shape, pack(levels), spreads, lines, asked.reshape(-1)
    calibration, bar, config = (tokens.span, tokens.low), (units, added), configure(shape[1])
    given = octets, tokens.offsets, ordinals, told, config, (dim, width), calibration, bar, k
    over_turns(lambda turns: _score(*given, turns, scores), len(scores), threads)
