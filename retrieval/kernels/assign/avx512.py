"""8-bit assignment with vpdpbusd: 32 vectors in lanes against eight centroids at a time.

The vectors are signed bytes, ``[d / 4][32][4]``, so that one register holds four dimensions of
sixteen of them; the centroids are unsigned bytes, ``[block][d / 4][8][4]``, broadcast four at a
time. Sixteen accumulators live in registers; a block leaves two vectors of maxima.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.assign.decide import answer_raw, begin, settle, take_raw, widen
from retrieval.kernels.assign.tile import (
    BLOCK,
    FOUND,
    LOWEST,
    MARGIN,
    NOTHING,
    TILE,
    Problem,
    Tile,
    make_tile,
    raw_bias,
    round_tile,
)
from retrieval.kernels.simd.arithmetic import (
    as_f32,
    dot_u8i8,
    mask_greater_i32,
    maximum_i32,
    minimum_i32,
    multiply,
    splat_i32,
    sub,
    sum_i32,
    zero_i32,
)
from retrieval.kernels.simd.integers import round_i32
from retrieval.kernels.simd.memory import broadcast4, load_f32, load_i8, load_i32, prefetch, store_i32

__all__ = ["assign_tiles", "pack"]


def pack(codes: NDArray[np.uint8], d: int) -> NDArray[np.uint8]:
    """``(n_blocks * 8, at least d)`` to ``[n_blocks][d / 4 rounded up][8][4]``, flat."""
    blocks = codes.reshape(len(codes) // BLOCK, BLOCK, -1, 4)[:, :, : -(-d // 4)]
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(-1)


@njit(nogil=True, cache=True, error_model="numpy")
def _pack_rows(rows: Any, packed: Any) -> None:
    """``(32, width)`` to ``[d / 4][32][4]``, moving four bytes as one number."""
    wide = rows.view(np.int32)
    for j in range(len(packed) // TILE):
        for i in range(TILE):
            packed[j * TILE + i] = wide[i, j]


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _start(biases: Any, k: int, inverses: Any) -> Any:
    return round_i32(multiply(as_f32(broadcast4(biases, k)), inverses))


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _largest(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    left = maximum_i32(maximum_i32(a, b), maximum_i32(c, d))
    return maximum_i32(left, maximum_i32(maximum_i32(e, f), maximum_i32(g, h)))


@njit(nogil=True, cache=True, error_model="numpy")
def _scan(packed: Any, vectors: Any, biases: Any, tile: Tile) -> None:
    """Block maxima of all centroids to ``tile.top``, the second largest of them to ``tile.second``."""
    top = tile.top.reshape(-1)
    steps = len(vectors) // (4 * TILE)
    inverses_a, inverses_b = load_f32(tile.inverses, 0), load_f32(tile.inverses, 16)
    best_a = best_b = second_a = second_b = splat_i32(LOWEST)
    p = 0
    for b in range(len(tile.top)):
        k = b * BLOCK
        a0, c0 = _start(biases, k, inverses_a), _start(biases, k, inverses_b)
        a1, c1 = _start(biases, k + 1, inverses_a), _start(biases, k + 1, inverses_b)
        a2, c2 = _start(biases, k + 2, inverses_a), _start(biases, k + 2, inverses_b)
        a3, c3 = _start(biases, k + 3, inverses_a), _start(biases, k + 3, inverses_b)
        a4, c4 = _start(biases, k + 4, inverses_a), _start(biases, k + 4, inverses_b)
        a5, c5 = _start(biases, k + 5, inverses_a), _start(biases, k + 5, inverses_b)
        a6, c6 = _start(biases, k + 6, inverses_a), _start(biases, k + 6, inverses_b)
        a7, c7 = _start(biases, k + 7, inverses_a), _start(biases, k + 7, inverses_b)
        for j in range(steps):
            va, vc = load_i8(vectors, 128 * j), load_i8(vectors, 128 * j + 64)
            code = broadcast4(packed, p)
            a0, c0 = dot_u8i8(a0, code, va), dot_u8i8(c0, code, vc)
            code = broadcast4(packed, p + 4)
            a1, c1 = dot_u8i8(a1, code, va), dot_u8i8(c1, code, vc)
            code = broadcast4(packed, p + 8)
            a2, c2 = dot_u8i8(a2, code, va), dot_u8i8(c2, code, vc)
            code = broadcast4(packed, p + 12)
            a3, c3 = dot_u8i8(a3, code, va), dot_u8i8(c3, code, vc)
            code = broadcast4(packed, p + 16)
            a4, c4 = dot_u8i8(a4, code, va), dot_u8i8(c4, code, vc)
            code = broadcast4(packed, p + 20)
            a5, c5 = dot_u8i8(a5, code, va), dot_u8i8(c5, code, vc)
            code = broadcast4(packed, p + 24)
            a6, c6 = dot_u8i8(a6, code, va), dot_u8i8(c6, code, vc)
            code = broadcast4(packed, p + 28)
            a7, c7 = dot_u8i8(a7, code, va), dot_u8i8(c7, code, vc)
            p += 4 * BLOCK
        a0 = _largest(a0, a1, a2, a3, a4, a5, a6, a7)
        c0 = _largest(c0, c1, c2, c3, c4, c5, c6, c7)
        store_i32(top, b * TILE, a0)
        store_i32(top, b * TILE + 16, c0)
        second_a = maximum_i32(second_a, minimum_i32(best_a, a0))
        second_b = maximum_i32(second_b, minimum_i32(best_b, c0))
        best_a, best_b = maximum_i32(best_a, a0), maximum_i32(best_b, c0)
    store_i32(tile.second, 0, second_a)
    store_i32(tile.second, 16, second_b)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _product(codes: Any, at: int, rows: Any, begin: int, width: int) -> Any:
    total = zero_i32()
    for j in range(0, width, 64):
        total = dot_u8i8(total, load_i8(codes, at + j), load_i8(rows, begin + j))
    return sum_i32(total)


@njit(nogil=True, cache=True, error_model="numpy")
def _visit(problem: Problem, start: int, tile: Tile, doubtful: bool, out: Any) -> None:
    """Open the blocks whose maximum reaches ``tile.low``, for the lanes that it reaches.

    What reaches it is taken in by its raw score, or in doubt scored in float.
    """
    n_centroids, biases = len(problem.centroids), problem.biases
    codes, width = problem.codes.reshape(-1), problem.codes.shape[1]
    rows, inverses, low = tile.rows.reshape(-1), tile.inverses, tile.low
    best, found, n_found = tile.best, tile.found, 0
    centroids, d = problem.centroids.reshape(-1), problem.centroids.shape[1]
    top, one = tile.top.reshape(-1), splat_i32(1)
    low_a, low_b = sub(load_i32(low, 0), one), sub(load_i32(low, 16), one)
    for b in range(len(tile.top)):
        hits = np.int64(mask_greater_i32(load_i32(top, b * TILE), low_a))
        hits |= np.int64(mask_greater_i32(load_i32(top, b * TILE + 16), low_b)) << 16
        i = -1
        while hits:
            i += 1
            if hits & 1:
                for k in range(b * BLOCK, min(b * BLOCK + BLOCK, n_centroids)):
                    raw = _product(codes, k * width, rows, i * width, width)
                    raw += raw_bias(biases[k], inverses[i])
                    if raw < low[i]:
                        continue
                    if not doubtful:
                        take_raw(best, i, k, raw)
                        continue
                    for line in range(0, d, 16):
                        prefetch(centroids, k * d + line)
                    found[n_found, 0], found[n_found, 1] = i, k
                    n_found += 1
                    if n_found == FOUND:
                        settle(problem, start, n_found, tile, out)
                        n_found = 0
            hits >>= 1
    settle(problem, start, n_found, tile, out)


@njit(nogil=True, cache=True, error_model="numpy")
def assign_tiles(problem: Problem, out: Any) -> int:
    """Fill ``out`` (ordinals, scores, margins) for all vectors; how many were in doubt."""
    n = len(problem.values)
    d = problem.values.shape[1]
    tile = make_tile(len(problem.codes) // BLOCK, problem.codes.shape[1])
    # Aligned to a cache line: loads across two lines cost a tenth of the speed.
    size = TILE * -(-d // 4)
    room = np.empty(size + 16, np.int32)
    skip = (-room.ctypes.data // 4) % 16
    vectors = room[skip : skip + size]
    doubtful = 0
    for at in range(0, n, TILE):
        count = min(TILE, n - at)
        round_tile(problem, at, count, tile)
        _pack_rows(tile.rows, vectors)
        _scan(problem.packed, vectors.view(np.int8), problem.biases, tile)
        begin(count, tile)
        _visit(problem, at, tile, False, out)
        answer_raw(problem, at, count, tile, out)
        if problem.exact != NOTHING:
            in_doubt = widen(problem, at, count, tile, out)
            if in_doubt or problem.exact == MARGIN:
                _visit(problem, at, tile, True, out)
            doubtful += in_doubt
    return doubtful
