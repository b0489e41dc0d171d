"""MaxSim of bytes by AMX: 32 document tokens against 32 query tokens at a time.

Products come out of the tiles through memory. They take half the time of those of
`retrieval.kernels.maxsim.blocks` where documents come from far away, and a third where they are near.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels import host
from retrieval.kernels.helpers import over_turns
from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.maxsim.lanes import largest, load_sums, lowest, total, zero
from retrieval.kernels.maxsim.packing import LANES, LINE, from_line, pack
from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.memory import prefetch
from retrieval.kernels.simd.tiles import (
    ROWS,
    clear_tiles,
    configure,
    end_tiles,
    multiply_tiles,
    start_tiles,
    store_tiles,
    tile_width,
)
from retrieval.kernels.turns import finish, follow, take
from retrieval.types import IntArray

__all__ = ["BLOCK", "Shape", "fits", "maxsim_i8", "products", "shape_of"]

BLOCK = 2 * ROWS
"""Document tokens, and query tokens, of which all products are made at once."""
AHEAD = 2 * BLOCK
"""How many document tokens ahead memory is asked for."""
Shape = tuple[int, int, int, int]
"""Bytes of a token, how many of them a tile takes, groups of 16 query tokens, and steps of four bytes."""


def fits(values: NDArray[Any], offsets: IntArray) -> bool:
    """Whether tiles suit documents of these tokens: less than one is filled by short ones, and several of
    them share a vector in `retrieval.kernels.maxsim.avx512`."""
    n, count = len(offsets) - 1, int(offsets[-1] - offsets[0])
    has_enough = len(values) >= ROWS and count >= ROWS * n
    return has_enough and tile_width(values.shape[1]) > 0 and host.has_tiles()


def shape_of(n_q: int, stride: int) -> Shape:
    """What `products` is told of ``n_q`` query tokens and of document tokens of ``stride`` bytes."""
    return stride, tile_width(stride), -(-n_q // LANES), stride // 4


@inner
def products(octets, start, row, other, ahead, shape, group, packed, sums, first, second):  # type: ignore[no-untyped-def]
    """Sums of the 16 tokens from ``start + row`` and the 16 from ``start + other`` on with two groups of
    query tokens (or the last one, twice) to rows of 32 of ``sums``, from rows ``first`` and ``second`` on.
    From token ``ahead`` on memory is asked for."""
    stride, width, groups, steps = shape
    paired = group + 1 < groups
    q, across = LINE * group * steps, LINE * (1 + paired)
    clear_tiles()
    for k in range(0, stride, width):
        for line in range(BLOCK * k, BLOCK * (k + width), LINE):
            prefetch(octets, ahead * stride + line)
        at = q + k // 4 * across
        a, b = (start + row) * stride + k, (start + other) * stride + k
        multiply_tiles(octets, a, b, stride, packed, at, at + LINE * paired, across)
    store_tiles(sums, 2 * LANES * first, 2 * LANES * second, LANES, 2 * LANES)


@inner
def _raise(sums, first, n, m0, m1):  # type: ignore[no-untyped-def]
    """The largest of each lane, of ``n`` rows more."""
    for row in range(first, first + n):
        m0, m1 = largest(m0, load_sums(sums, 2 * row)), largest(m1, load_sums(sums, 2 * row + 1))
    return m0, m1


@inner
def _score_document(octets, start, length, last, following, shape, packed, sums):  # type: ignore[no-untyped-def]
    """The sum of maxima of one document of a token at least; ``last`` is where the last 16 tokens of all
    begin. A short document has its neighbours' tokens in its tile, which are not looked at."""
    best = zero(sums)
    for group in range(0, shape[2], 2):
        m0, m1 = lowest(sums), lowest(sums)
        if length < ROWS:
            at = min(start, last)
            products(octets, at, 0, 0, following, shape, group, packed, sums, 0, 0)
            m0, m1 = _raise(sums, start - at, length, m0, m1)
        else:
            # Sums are looked at while the next block's are made: what was just stored is not there yet.
            waiting = 0
            for i in range(0, length, BLOCK):
                row, other = min(i, length - ROWS), min(i + ROWS, length - ROWS)
                soon = start + i + AHEAD if i + AHEAD < length else following + i + AHEAD - length
                half = i & BLOCK
                products(octets, start, row, other, soon, shape, group, packed, sums, half, half + ROWS)
                m0, m1 = _raise(sums, BLOCK - half, waiting, m0, m1)
                waiting = BLOCK
            m0, m1 = _raise(sums, (length - 1) & BLOCK, BLOCK, m0, m1)
        best = add(best, m0)
        if group + 1 < shape[2]:
            best = add(best, m1)
    return total(best)


@njit(nogil=True, cache=True, error_model="numpy")
def _score(octets, offsets, ordinals, shape, config, packed, constant, turns, scores):  # type: ignore[no-untyped-def]
    """As `retrieval.kernels.maxsim.avx512._score`."""
    sums, last = from_line(np.empty(4 * BLOCK * LANES + LANES, np.int32)), len(octets) // shape[0] - ROWS
    start_tiles(config)
    n, count = len(scores), 0
    i, stop = take(turns, n)
    while i < n:
        after, end = follow(turns, i, stop, n)
        at = ordinals[i] if len(ordinals) else i
        start, length = offsets[at], offsets[at + 1] - offsets[at]
        following = start + length
        if after < len(ordinals):
            following = offsets[ordinals[after]]
        scores[i] = 0
        if length:
            scores[i] = (
                _score_document(octets, start, length, last, following, shape, packed, sums) - constant
            )
        count, i, stop = count + 1, after, end
    finish(turns, count)
    end_tiles()


def maxsim_i8(
    query_i8: NDArray[np.int8],
    values_u8: NDArray[np.uint8],
    offsets: IntArray,
    ordinals: IntArray,
    scores: NDArray[np.int32],
    threads: int = 1,
) -> None:
    """See `retrieval.kernels.maxsim.cpu.maxsim_i8`; arguments are checked and `fits`."""
    octets = values_u8.view(np.ndarray).reshape(-1)
    octets.flags.writeable = False
    shape = shape_of(len(query_i8), values_u8.shape[1])
    constant = np.int64(128 * int(query_i8.sum(dtype=np.int64)))
    given = octets, offsets, ordinals, shape, configure(shape[1]), pack(query_i8), constant
    over_turns(lambda turns: _score(*given, turns, scores), len(scores), threads)
