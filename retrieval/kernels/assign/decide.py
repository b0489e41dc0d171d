"""From 8-bit scores to the choice.

A level first offers the centroids at least as good as the second best block maximum (`begin`,
`take_raw`). Where the answer must be exact, the best of them is scored in float (`widen`), and the
level names all that the error bound leaves in the race with it, or for exact margins with the
second best, to be scored too (`settle`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.assign.tile import (
    LOWEST,
    MARGIN,
    TILE,
    Problem,
    Tile,
    inner_product,
    raw_unit,
    squared_distance,
)

__all__ = ["answer_raw", "begin", "settle", "take_raw", "true_score", "widen"]

HIGHEST = 2**31 - 1


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def true_score(values: Any, at: int, centroids: Any, k: int, l2: bool) -> Any:
    """Score of one vector and one centroid in float."""
    if l2:
        return -squared_distance(values, at, centroids, k)
    return inner_product(values, at, centroids, k)


@njit(nogil=True, cache=True, error_model="numpy")
def begin(count: int, tile: Tile) -> None:
    """Ask for raw scores from ``tile.second`` on, the second best block maximum."""
    low, best, second = tile.low, tile.best, tile.second
    for i in range(TILE):
        # A lane without a vector must never open a block.
        low[i] = second[i] if i < count else HIGHEST
        best[i, 0] = best[i, 1] = LOWEST


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def take_raw(best: Any, i: int, k: int, raw: Any) -> None:
    """Take in the raw score of centroid ``k`` for lane ``i``; offered in ascending order."""
    if raw > best[i, 0]:
        best[i, 1], best[i, 3] = best[i, 0], best[i, 2]
        best[i, 0], best[i, 2] = raw, k
    elif raw > best[i, 1]:
        best[i, 1], best[i, 3] = raw, k


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _least_raw(problem: Problem, tile: Tile, i: int, score: Any) -> Any:
    """No centroid with a lower raw score truly reaches ``score``: see `reference.doubtful`."""
    away = -np.float64(score)
    if not problem.l2:
        away = tile.norms[i] ** 2 + problem.largest_norm**2 - 2 * np.float64(score)
    lost, off = tile.lost[i], problem.largest_error
    reach = tile.norms[i] + problem.largest_norm
    bound = (lost + off) * np.sqrt(max(away, 0.0)) + lost * off + off * off / 2
    bound += 2e-7 * (problem.values.shape[1] + 8) * reach * reach
    steps = (score - tile.constants[i]) / raw_unit(problem, tile, i)
    least = np.floor(steps - bound * tile.inverses[i] / problem.scale - 1) + tile.shifts[i]
    return np.int32(max(min(least, np.float64(HIGHEST)), np.float64(LOWEST)))


@njit(nogil=True, cache=True, error_model="numpy")
def answer_raw(problem: Problem, start: int, count: int, tile: Tile, out: Any) -> None:
    """Choice, score and margin by 8 bits."""
    ordinals, scores, margins = out
    best, shifts, constants = tile.best, tile.shifts, tile.constants
    for i in range(count):
        unit, lead = raw_unit(problem, tile, i), np.float64(best[i, 0] - best[i, 1])
        ordinals[start + i] = best[i, 2]
        scores[start + i] = unit * np.float64(best[i, 0] - shifts[i]) + constants[i]
        margins[start + i] = unit * lead if best[i, 1] > LOWEST else np.inf


@njit(nogil=True, cache=True, error_model="numpy")
def widen(problem: Problem, start: int, count: int, tile: Tile, out: Any) -> int:
    """Score the choices in float, and ask for all that may truly beat them; how many may be beaten.

    For exact margins score the second ones too, and ask for all that may beat those.
    """
    ordinals, scores, margins = out
    values, centroids, l2 = problem.values, problem.centroids, problem.l2
    low, best, seconds, both = tile.low, tile.best, tile.seconds, problem.exact == MARGIN
    doubtful = 0
    for i in range(count):
        at = start + i
        scores[at] = true_score(values, at, centroids, ordinals[at], l2)
        least = _least_raw(problem, tile, i, scores[at])
        low[i], seconds[i] = HIGHEST, -np.inf
        if best[i, 1] >= least:
            doubtful += 1
            low[i] = least
        if both and best[i, 1] > LOWEST:
            _keep(i, at, best[i, 3], true_score(values, at, centroids, best[i, 3], l2), seconds, out)
            low[i] = _least_raw(problem, tile, i, seconds[i])
            margins[at] = scores[at] - seconds[i]
    return doubtful


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _keep(i: int, at: int, k: int, score: Any, seconds: Any, out: Any) -> None:
    ordinals, scores, _ = out
    if score > scores[at] or (score == scores[at] and k < ordinals[at]):
        seconds[i] = scores[at]
        scores[at], ordinals[at] = score, k
    elif score > seconds[i]:
        seconds[i] = score


@njit(nogil=True, cache=True, error_model="numpy")
def settle(problem: Problem, start: int, n_found: int, tile: Tile, out: Any) -> None:
    """Score ``tile.found``, pairs of lane and centroid, in float, and keep the best."""
    _, scores, margins = out
    values, centroids, l2 = problem.values, problem.centroids, problem.l2
    found, best, seconds, both = tile.found, tile.best, tile.seconds, problem.exact == MARGIN
    for j in range(n_found):
        i, k = found[j, 0], found[j, 1]
        at = start + i
        if k == best[i, 2] or (both and k == best[i, 3]):
            continue
        _keep(i, at, k, true_score(values, at, centroids, k, l2), seconds, out)
        margins[at] = scores[at] - seconds[i]
