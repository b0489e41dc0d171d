"""8-bit assignment in plain loops, for processors without AVX-512."""

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

__all__ = ["FAST_SCAN", "assign_tiles", "pack"]

FAST_SCAN = False  # a matrix product in float is faster


def pack(codes: NDArray[np.uint8], d: int) -> NDArray[np.uint8]:  # noqa: ARG001 (the level's signature)
    """Rows are read as they are."""
    return codes


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _product(codes: Any, k: int, rows: Any, i: int) -> Any:
    total = np.int32(0)
    for j in range(codes.shape[1]):
        total = np.int32(total + np.int32(codes[k, j]) * np.int32(rows[i, j]))
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _scan(problem: Problem, count: int, tile: Tile) -> None:
    """Block maxima of all centroids to ``tile.top``, the second largest of them to ``tile.second``."""
    codes, biases = problem.codes, problem.biases
    rows, inverses, top, second = tile.rows, tile.inverses, tile.top, tile.second
    for i in range(count):
        best_one, best_two = np.int32(LOWEST), np.int32(LOWEST)
        for b in range(len(top)):
            largest = np.int32(LOWEST)
            for k in range(b * BLOCK, b * BLOCK + BLOCK):
                raw = np.int32(_product(codes, k, rows, i) + raw_bias(biases[k], inverses[i]))
                largest = max(largest, raw)
            top[b, i] = largest
            best_two = max(best_two, min(best_one, largest))
            best_one = max(best_one, largest)
        second[i] = best_two


@njit(nogil=True, cache=True, error_model="numpy")
def _visit(problem: Problem, start: int, count: int, tile: Tile, doubtful: bool, out: Any) -> None:
    """Open the blocks whose maximum reaches ``tile.low``, for the lanes that it reaches.

    What reaches it is taken in by its raw score, or in doubt scored in float.
    """
    n_centroids, codes, biases = len(problem.centroids), problem.codes, problem.biases
    rows, inverses, low, top = tile.rows, tile.inverses, tile.low, tile.top
    best, found, n_found = tile.best, tile.found, 0
    for i in range(count):
        for b in range(len(top)):
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
        begin(count, tile)
        _visit(problem, at, count, tile, False, out)
        answer_raw(problem, at, count, tile, out)
        if problem.exact != NOTHING:
            in_doubt = widen(problem, at, count, tile, out)
            if in_doubt or problem.exact == MARGIN:
                _visit(problem, at, count, tile, True, out)
            doubtful += in_doubt
    return doubtful
