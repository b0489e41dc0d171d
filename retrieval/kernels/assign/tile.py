"""A tile of vectors rounded to bytes, for both levels of the 8-bit kernel.

A tile is `TILE` vectors; centroids go in blocks of `BLOCK`. A level's scan writes ``top``
``(n_blocks, TILE)``, the largest 8-bit score of each block, so that blocks which cannot hold a
winner are never looked at again. 8-bit scores here are *raw*: the sum of ``codes * levels`` with the
codes' 128 left in (``shifts``), plus the bias.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

__all__ = [
    "BLOCK",
    "CHOICE",
    "FAST",
    "FOUND",
    "LOWEST",
    "MARGIN",
    "NOTHING",
    "TILE",
    "Problem",
    "Tile",
    "inner_product",
    "make_tile",
    "raw_unit",
    "round_tile",
    "squared_distance",
]

TILE = 32
BLOCK = 8
FOUND = 512
NOTHING, CHOICE, MARGIN = 0, 1, 2
LOWEST = -(2**31) + 1
FAST = {"reassoc", "contract", "nnan", "nsz"}  # sums in any order; inputs are checked to be finite


class Problem(NamedTuple):
    """Everything that is the same for all vectors; see `reference.QuantizedCentroids`.

    ``codes`` is ``(K rounded up to blocks, d rounded up to 64)``, the last centroid repeated; rows
    of a tile have that width too. ``packed`` is what the level's scan reads. ``exact`` is `NOTHING`,
    `CHOICE` or `MARGIN`: what must be as if scored in float.
    """

    values: Any
    centroids: Any
    codes: Any
    packed: Any
    center: Any
    biases: Any
    scale: Any
    room: Any
    largest_norm: float
    largest_error: float
    l2: bool
    exact: int


class Tile(NamedTuple):
    """Scratch for one tile, a row or a number for each vector.

    ``rows`` are the bytes; ``inverses`` one over their scale; ``norms`` the vector's length;
    ``lost`` the length of its rounding error; ``shifts`` what the codes' 128 adds to a raw score;
    ``constants`` what the true score has beside it; ``best`` the best two raw scores and the best
    two centroids; ``low`` the raw scores asked for; ``top`` ``(n_blocks, TILE)`` and
    ``second`` ``(TILE,)`` the scan's result: block maxima, and the second largest of them;
    ``found`` pairs of lane and centroid to score in float; ``seconds`` the second best of those.

    Kernels take its arrays out once, at their beginning: every access counts a reference.
    """

    rows: Any
    inverses: Any
    norms: Any
    lost: Any
    shifts: Any
    constants: Any
    best: Any
    low: Any
    top: Any
    second: Any
    found: Any
    seconds: Any


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def make_tile(n_blocks: int, width: int) -> Tile:
    """Fresh scratch."""
    return Tile(
        np.zeros((TILE, width), np.int8),
        np.zeros(TILE, np.float32),
        np.zeros(TILE, np.float64),
        np.zeros(TILE, np.float64),
        np.zeros(TILE, np.int32),
        np.zeros(TILE, np.float64),
        np.zeros((TILE, 4), np.int64),
        np.zeros(TILE, np.int32),
        np.empty((n_blocks, TILE), np.int32),
        np.zeros(TILE, np.int32),
        np.empty((FOUND, 2), np.int64),
        np.zeros(TILE, np.float32),
    )


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True, fastmath=FAST)
def inner_product(a: Any, i: int, b: Any, k: int) -> Any:
    """``a[i] . b[k]``, added in the order that suits the machine."""
    total = np.float32(0)
    for j in range(a.shape[1]):
        total += a[i, j] * b[k, j]
    return total


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True, fastmath=FAST)
def squared_distance(a: Any, i: int, b: Any, k: int) -> Any:
    """``|a[i] - b[k]|^2``."""
    total = np.float32(0)
    for j in range(a.shape[1]):
        total += (a[i, j] - b[k, j]) * (a[i, j] - b[k, j])
    return total


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _largest(bits: Any) -> Any:
    """Largest absolute value, as bits: those of non-negative floats are in the floats' order."""
    largest = np.int32(0)
    for j in range(bits.shape[1]):
        largest = max(largest, bits[0, j] & np.int32(0x7FFFFFFF))
    return largest


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _round(x: Any, inverse: Any, rows: Any, i: int) -> None:
    """To the nearest integer, halves to even, by adding and taking away 1.5 * 2**23."""
    magic = np.float32(12582912.0)
    for j in range(x.shape[1]):
        rows[i, j] = np.int8(np.int32((x[0, j] * inverse + magic) - magic))


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True, fastmath=FAST)
def _measure(x: Any, rows: Any, i: int, step: Any) -> Any:
    """Of ``error = x - row * step``: squared length, product with ``x``; and the sum of the row."""
    lost, known, total = np.float32(0), np.float32(0), np.float32(0)
    for j in range(x.shape[1]):
        level = np.float32(rows[i, j])
        error = x[0, j] - level * step
        lost += error * error
        known += error * x[0, j]
        total += level
    return np.float64(lost), np.float64(known), np.int32(total)


@njit(nogil=True, cache=True, error_model="numpy")
def round_tile(problem: Problem, start: int, count: int, tile: Tile) -> None:
    """Vectors ``start:start + count`` to bytes, as `reference.quantize_values` does; rest zeros."""
    values, center, room, l2 = problem.values, problem.center, problem.room, problem.l2
    rows, inverses, norms, lost = tile.rows, tile.inverses, tile.norms, tile.lost
    shifts, constants = tile.shifts, tile.constants
    centers = center.reshape(1, -1)
    x, largest = np.empty((1, values.shape[1]), np.float32), np.empty(1, np.int32)
    bits, floats = x.view(np.int32), largest.view(np.float32)
    rows[count:] = 0
    for i in range(count):
        for j in range(values.shape[1]):
            x[0, j] = values[start + i, j] - center[j]
        largest[0] = _largest(bits)
        inverse = min(np.float32(127) / max(floats[0], np.float32(1e-30)), room)
        _round(x, inverse, rows, i)
        squared, known, total = _measure(x, rows, i, np.float32(1) / inverse)
        inverses[i], lost[i], shifts[i] = inverse, np.sqrt(squared), 128 * total
        norms[i] = np.sqrt(np.float64(inner_product(values, start + i, values, start + i)))
        if l2:
            constants[i] = 2 * known - inner_product(x, 0, x, 0)
        else:
            constants[i] = known + inner_product(values, start + i, centers, 0)


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def raw_bias(bias: Any, inverse: Any) -> Any:
    """A centroid's bias in units of one vector."""
    return np.int32(np.rint(bias * inverse))


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def raw_unit(problem: Problem, tile: Tile, i: int) -> Any:
    """What one step of a raw score adds to the score."""
    unit = np.float64(problem.scale) / tile.inverses[i]
    return 2 * unit if problem.l2 else unit
