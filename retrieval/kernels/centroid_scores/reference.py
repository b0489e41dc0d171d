"""Scores of all centroids with a query's tokens through 8-bit integers, in plain NumPy: the definition.

Centroids lose their mean first (it adds the same to all scores of a query token, and models whose
vectors all point one way would waste most of a byte on it) and are rounded in one step for all; a query
token is rounded in a step of its own. Then

    score(q, c) ~ base[q] + steps[q] * sum_j levels[q, j] * (codes[c, j] - 128)

with an error of at most `CentroidScores.error`, by Cauchy and Schwarz. What PLAID (Santhanam et al., CIKM
2022, section 3) begins with: each query token's best centroids, and rows to score documents by.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.centroid_maxsim.tables import ScoreTable, aligned
from retrieval.kernels.centroid_scores.door import check, check_centroids
from retrieval.types import FloatArray, IntArray

__all__ = ["BLOCK", "COLUMNS", "CentroidScores", "Centroids", "prepare_centroids", "score_centroids"]

BLOCK = 8
"""Centroids that the fast kernel takes together."""
COLUMNS = 32
"""Query tokens in a block of columns; missing ones are zeros."""
SLICE = 4096
TINY = np.float32(1e-30)
TOP = 127
ROUNDING = 2.0**-22
"""Of a score, for the few roundings to float32 on its way."""


class Centroids(NamedTuple):
    """``(K, d)`` centroids as bytes: centroid c is about ``center + step * (codes[c] - 128)``.

    ``codes`` is ``(K rounded up to 8, d rounded up to 4)`` uint8, the last centroid repeated, 128 in
    dimensions that are not there. ``longest`` is the largest norm of ``step * (codes - 128)``, ``lost`` that
    of what rounding took off.
    """

    codes: NDArray[np.uint8]
    center: FloatArray
    step: float
    longest: float
    lost: float
    n: int

    @property
    def dim(self) -> int:
        """Dimensions of a centroid."""
        return len(self.center)


class CentroidScores(NamedTuple):
    """What `score_centroids` found; what was not asked for is empty.

    ``table`` is ``(K, width)`` uint8, ``width`` the query tokens rounded up to 32 (columns beyond them are
    0): a score is about ``lowest[q] + table[c, q] * unit``, off by ``unit / 2 + error[q]``, unless it lies
    below ``lowest[q]``, the mean of all centroids' scores: then the byte is 0, as only high scores decide.
    ``rows`` is ``(blocks, K, 32)`` int16 in the unit that was given. ``probes`` ``(n_q, nprobe)`` int64 are
    each token's best centroids, best first, ties by id, and ``scores`` theirs, float32, off by ``error``
    ``(n_q,)`` at most.
    """

    table: NDArray[np.uint8]
    lowest: FloatArray
    unit: float
    rows: NDArray[np.int16]
    probes: IntArray
    scores: FloatArray
    error: NDArray[np.float64]

    def score_table(self) -> ScoreTable:
        """The bytes as `kernels.centroid_maxsim` takes them and gives scores back."""
        return ScoreTable(self.table, self.unit, self.lowest)


def prepare_centroids(centroids: FloatArray) -> Centroids:
    """``(K, d)`` float32 to bytes, once for an index.

    Raises:
        ValueError: another shape or type, no centroid, or a number that is not finite.
    """
    check_centroids(centroids)
    n, dim = centroids.shape
    center = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    slices = [slice(i, i + SLICE) for i in range(0, n, SLICE)]
    largest = max(float(np.abs(centroids[part].astype(np.float64) - center).max()) for part in slices)
    step = largest / TOP if largest > TINY else 1.0
    codes = aligned((-(-n // BLOCK) * BLOCK, -(-dim // 4) * 4), np.uint8)
    codes[:] = 128
    longest = lost = 0.0
    for part in slices:
        exact = centroids[part].astype(np.float64) - center
        levels = np.rint(exact / step)
        codes[:n][part, :dim] = levels + 128
        longest = max(longest, float(np.linalg.norm(levels * step, axis=1).max()))
        lost = max(lost, float(np.linalg.norm(exact - levels * step, axis=1).max()))
    codes[n:] = codes[n - 1]
    return Centroids(plain(codes), plain(center), step, longest, lost, n)


def score_centroids(
    query: FloatArray,
    centroids: Centroids,
    nprobe: int = 0,
    table: bool = True,
    row_unit: float | None = None,
) -> CentroidScores:
    """Score the query tokens ``(n_q, d)`` float32 with all centroids.

    ``nprobe``: how many of the best centroids of each token to find (more than there are: all).
    ``table``: whether to make the rows of bytes. ``row_unit``: the unit of the rows of int16, none: no rows;
    numbers beyond 32,767 units saturate.

    Raises:
        ValueError: another shape or type, a number that is not finite, ``nprobe`` below 0, or a unit that is
            not above 0.
    """
    check(query, centroids, nprobe, row_unit)
    if not np.isfinite(query).all():
        raise ValueError("query has NaN or infinity")
    n_q, width = len(query), -(-len(query) // COLUMNS) * COLUMNS
    levels, steps = _round(query)
    codes = centroids.codes[: centroids.n, : centroids.dim].astype(np.float64) - 128
    sums = codes @ levels.T  # integers below 2**53, so exact
    steps = steps * centroids.step
    base = query.astype(np.float64) @ centroids.center.astype(np.float64)
    reach = steps * np.linalg.norm(levels, axis=1) * (centroids.longest / centroids.step)
    unit = float(reach.max(initial=0.0)) / 255 or 1.0
    values = np.zeros((centroids.n if table else 0, width), np.uint8)
    if table:
        scaled = sums.astype(np.float32) * (steps / unit).astype(np.float32)
        values[:, :n_q] = np.rint(scaled).clip(0, 255)
    lowest = np.zeros(width, np.float32)
    lowest[:n_q] = base
    probes = np.argsort(-sums, axis=0, kind="stable")[: min(nprobe, centroids.n)].T
    scores = np.take_along_axis(sums.T, probes, axis=1) * steps[:, None] + base[:, None]
    error = _error(query, levels, steps, base + np.copysign(reach, base), centroids)
    rows = _rows(sums, steps, base, row_unit)
    return CentroidScores(
        values, lowest, unit, rows, probes.astype(np.int64), scores.astype(np.float32), error
    )


def _round(query: FloatArray) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Query tokens as integers up to 127 (as float64), and each one's step; a tiny one is all zeros."""
    top = np.abs(query).max(axis=1, initial=0)
    known = top > TINY
    inverse = np.where(known, np.float32(TOP) / np.where(known, top, 1), 0).astype(np.float32)
    steps = np.where(known, top / np.float32(TOP), 0).astype(np.float64)
    return np.rint(query * inverse[:, None]).astype(np.float64), steps


def _error(query: FloatArray, levels: Any, steps: Any, largest: Any, centroids: Centroids) -> Any:
    """|q.c - q'.c'| <= |q| |c - c'| + |q - q'| |c'|, and what float32 takes off."""
    exact = query.astype(np.float64)
    rounded = levels * (steps / centroids.step)[:, None]
    norms, lost = np.linalg.norm(exact, axis=1), np.linalg.norm(exact - rounded, axis=1)
    return norms * centroids.lost + lost * centroids.longest + ROUNDING * np.abs(largest)


def _rows(sums: Any, steps: Any, base: Any, unit: float | None) -> NDArray[np.int16]:
    n, n_q = sums.shape
    blocks = -(-n_q // COLUMNS)
    if unit is None:
        return np.zeros((blocks, 0, COLUMNS), np.int16)
    rows = np.zeros((n, blocks * COLUMNS), np.int16)
    factor, bias = (steps / unit).astype(np.float32), (base / unit).astype(np.float32)
    rows[:, :n_q] = np.rint(sums.astype(np.float32) * factor + bias).clip(-(2**15), 2**15 - 1)
    return np.ascontiguousarray(rows.reshape(n, blocks, COLUMNS).transpose(1, 0, 2))
