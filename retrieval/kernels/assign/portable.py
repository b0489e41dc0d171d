"""8-bit assignment for processors without AVX-512: int16 products in pairs, 32 vectors in lanes.

Plain Python, where nothing is compiled, takes the products one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit
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
from retrieval.kernels.maxsim.pairs import GROUP, inner, multiply_four, pack_rows
from retrieval.kernels.simd.halves import load_8i32, maximum_8i32, store_8i32

__all__ = ["assign_tiles", "pack"]


def pack(codes: NDArray[np.uint8], d: int) -> NDArray[np.int16]:
    """``(K, at least d)`` to ``(K, d rounded up to an even number)``."""
    return np.ascontiguousarray(codes[:, : d + d % 2], dtype=np.int16)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _product(codes: Any, k: int, rows: Any, i: int) -> Any:
    total = np.int32(0)
    for j in range(codes.shape[1]):
        total = np.int32(total + np.int32(codes[k, j]) * np.int32(rows[i, j]))
    return total


@inner
def _start_biases(biases: Any, first: int, inverses: Any, starts: Any) -> None:
    """What a block of centroids adds to each vector's products, ``(BLOCK, TILE)``."""
    for k in range(BLOCK):
        for i in range(TILE):
            starts[k, i] = raw_bias(biases[first + k], inverses[i])


@inner
def _load_four(flat: Any, at: int) -> Any:
    """The same lanes of four centroids' biases."""
    return (
        load_8i32(flat, at),
        load_8i32(flat, at + TILE),
        load_8i32(flat, at + 2 * TILE),
        load_8i32(flat, at + 3 * TILE),
    )


@inner
def _largest(a: Any, b: Any) -> Any:
    """Of two times four centroids."""
    c, d = maximum_8i32(a[0], b[0]), maximum_8i32(a[1], b[1])
    e, f = maximum_8i32(a[2], b[2]), maximum_8i32(a[3], b[3])
    return maximum_8i32(maximum_8i32(c, d), maximum_8i32(e, f))


@inner
def _scan_block(rows: Any, first: int, width: int, packed: Any, starts: Any, top: Any, at: int) -> None:
    """The largest raw score of eight centroids for each vector, to ``top`` from ``at`` on."""
    w, k = width, first * width
    low, high = (k, k + w, k + 2 * w, k + 3 * w), (k + 4 * w, k + 5 * w, k + 6 * w, k + 7 * w)
    for group in range(TILE // GROUP):
        i = group * GROUP
        a, b = _load_four(starts, i), _load_four(starts, i + 8)
        a, b = multiply_four(a, b, rows, low, width, packed, group)
        c, d = _load_four(starts, i + 4 * TILE), _load_four(starts, i + 4 * TILE + 8)
        c, d = multiply_four(c, d, rows, high, width, packed, group)
        store_8i32(top, at + i, _largest(a, c))
        store_8i32(top, at + i + 8, _largest(b, d))


@njit(nogil=True, cache=True, error_model="numpy")
def _scan_pairs(problem: Problem, count: int, tile: Tile) -> None:
    """Block maxima of all centroids to ``tile.top``."""
    rows, width = problem.packed.reshape(-1), problem.packed.shape[1]
    biases, inverses, top = problem.biases, tile.inverses, tile.top.reshape(-1)
    packed, starts = np.empty(TILE * width, np.int16), np.empty((BLOCK, TILE), np.int32)
    pack_rows(tile.rows, count, width, packed)
    flat = starts.reshape(-1)
    for b in range(len(top) // TILE):
        _start_biases(biases, b * BLOCK, inverses, starts)
        _scan_block(rows, b * BLOCK, width, packed, flat, top, b * TILE)


@njit(nogil=True, cache=True, error_model="numpy")
def _scan_plain(problem: Problem, count: int, tile: Tile) -> None:
    """`_scan_pairs` without vectors."""
    codes, biases, rows, inverses, top = problem.codes, problem.biases, tile.rows, tile.inverses, tile.top
    for i in range(count):
        for b in range(len(top)):
            largest = np.int32(LOWEST)
            for k in range(b * BLOCK, b * BLOCK + BLOCK):
                raw = np.int32(_product(codes, k, rows, i) + raw_bias(biases[k], inverses[i]))
                largest = max(largest, raw)
            top[b, i] = largest


_scan = _scan_plain if config.DISABLE_JIT else _scan_pairs


@njit(nogil=True, cache=True, error_model="numpy")
def _keep_second(tile: Tile) -> None:
    """The second largest block maximum to ``tile.second``."""
    top, second, best = tile.top, tile.second, np.full(TILE, LOWEST, np.int32)
    second[:] = LOWEST
    for b in range(len(top)):
        for i in range(TILE):
            second[i] = max(second[i], min(best[i], top[b, i]))
            best[i] = max(best[i], top[b, i])


@njit(nogil=True, cache=True, error_model="numpy")
def _visit(problem: Problem, start: int, count: int, tile: Tile, doubtful: bool, out: Any) -> None:
    """Open the blocks whose maximum reaches ``tile.low``, for the lanes that it reaches.

    What reaches it is taken in by its raw score, or in doubt scored in float.
    """
    n_centroids, codes, biases = len(problem.centroids), problem.codes, problem.biases
    rows, inverses, low, top = tile.rows, tile.inverses, tile.low, tile.top
    best, found, n_found = tile.best, tile.found, 0
    for b in range(len(top)):
        hit = np.int32(0)
        for i in range(TILE):
            hit |= np.int32(top[b, i] >= low[i])
        for i in range(count if hit else 0):
            if top[b, i] < low[i]:
                continue
            for k in range(b * BLOCK, min(b * BLOCK + BLOCK, n_centroids)):
                raw = _product(codes, k, rows, i) + raw_bias(biases[k], inverses[i])
                if raw < low[i]:
                    continue
                if not doubtful:
                    take_raw(best, i, k, raw)
                    continue
                found[n_found, 0], found[n_found, 1] = i, k
                n_found += 1
                if n_found == FOUND:
                    settle(problem, start, n_found, tile, out)
                    n_found = 0
    settle(problem, start, n_found, tile, out)


@njit(nogil=True, cache=True, error_model="numpy")
def assign_tiles(problem: Problem, out: Any) -> int:
    """Fill ``out`` (ordinals, scores, margins) for all vectors; how many were in doubt."""
    n = len(problem.values)
    tile = make_tile(len(problem.codes) // BLOCK, problem.codes.shape[1])
    doubtful = 0
    for at in range(0, n, TILE):
        count = min(TILE, n - at)
        round_tile(problem, at, count, tile)
        _scan(problem, count, tile)
        _keep_second(tile)
        begin(count, tile)
        _visit(problem, at, count, tile, False, out)
        answer_raw(problem, at, count, tile, out)
        if problem.exact != NOTHING:
            in_doubt = widen(problem, at, count, tile, out)
            if in_doubt or problem.exact == MARGIN:
                _visit(problem, at, count, tile, True, out)
            doubtful += in_doubt
    return doubtful
