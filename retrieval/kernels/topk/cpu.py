"""Selection of the best scores in one scan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.types import FloatArray, IntArray

__all__ = ["merge", "select", "topk", "topk_rows"]

MAX_SCORES = 2**31 - 64
"""An ordinal is the lower half of a 64-bit key, and is computed in signed 32-bit lanes."""
SMALL = 1024
"""Up to here sorting, or NumPy's partition, takes less time than a call of a kernel."""
SHORT = 2**16
"""Up to so many scores a call takes less time than another thread needs to take the GIL and give it back."""
_ALL = np.empty(0, np.uint8)


@cache
def _kernels() -> Any:
    """The module of this machine's kernels."""
    return import_module(f"retrieval.kernels.topk.{simd_level()}")


def _check(scores: NDArray[Any], k: int, dimensions: int) -> FloatArray:
    """The scores as ``(n_rows, n)``, contiguous."""
    if scores.dtype != np.float32 or scores.ndim != dimensions or scores.shape[-1] > MAX_SCORES:
        raise ValueError(
            f"scores are {scores.dtype} {scores.shape}: they must be float32 with {dimensions} dimension(s), "
            f"the last at most {MAX_SCORES}"
        )
    if k < 0:
        raise ValueError(f"k is {k}: it must not be negative")
    rows = np.ascontiguousarray(scores)
    return rows[None] if dimensions == 1 else rows


def _refuse_nan(rows: FloatArray) -> None:
    row, position = np.argwhere(np.isnan(rows))[0]
    raise ValueError(f"the score at position {position} of row {row} is NaN")


def _sorted(rows: FloatArray, k: int, accept: NDArray[np.uint8]) -> tuple[FloatArray, IntArray]:
    """The best ``k`` of each row, in order."""
    (n_rows, n), kernels = rows.shape, _kernels()
    best, ordinals = np.empty((n_rows, min(k, n)), np.float32), np.empty((n_rows, min(k, n)), np.int64)
    count = min(k, n)
    if n_rows:
        scan = kernels.sorted_rows if rows.size <= SHORT else kernels.sorted_rows_free
        count = scan(rows, k, accept, best, ordinals)
    if count < 0:
        _refuse_nan(rows)
    return (best, ordinals) if count == best.shape[1] else (best[:, :count], ordinals[:, :count])


def topk(scores: FloatArray, k: int, accept: NDArray[np.bool_] | None = None) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.topk.reference.topk`; the same."""
    rows, mask = _check(scores, k, 1), _ALL
    if accept is not None:
        if accept.dtype != np.bool_ or accept.shape != scores.shape:
            raise ValueError(f"accept is {accept.dtype} {accept.shape}: it must be bool {scores.shape}")
        mask = np.ascontiguousarray(accept).view(np.uint8)
    best, ordinals = _sorted(rows, k, mask)
    return best[0], ordinals[0]


def topk_rows(scores: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.topk.reference.topk_rows`; the same."""
    return _sorted(_check(scores, k, 2), k, _ALL)


def select(scores: NDArray[Any], k: int, slack: float) -> IntArray:
    """See `retrieval.kernels.topk.reference.select`; the same."""
    n = len(scores)
    if n <= k:
        return np.arange(n)
    if scores.dtype == np.float32 and n > SMALL and k > 0:
        return _near_best(_check(scores, k, 1), k, slack)
    kth_best = np.partition(scores, n - k)[n - k]
    return np.flatnonzero(scores >= kth_best - slack)


def _near_best(rows: FloatArray, k: int, slack: Any) -> IntArray:
    kernels, room = _kernels(), 2 * k + 256
    if not isinstance(slack, np.generic):
        slack = np.float32(slack)  # as in NumPy, where a number of Python's takes the array's type
    near_best = kernels.near_best if rows.size <= SHORT else kernels.near_best_free
    while True:
        out = np.empty(room, np.int64)
        count = near_best(rows[0], k, slack, _ALL, out)
        if count < 0:
            _refuse_nan(rows)
        if count <= room - kernels.PADDING:
            return out[:count]
        room = count + kernels.PADDING


def merge(
    scores: Sequence[FloatArray] | FloatArray, ids: Sequence[IntArray] | IntArray, k: int
) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.topk.reference.merge`; the same."""
    if k < 0:
        raise ValueError(f"k is {k}: it must not be negative")
    all_scores, all_ids = _join(scores, np.float32), _join(ids, np.int64)
    if all_scores.shape != all_ids.shape:
        raise ValueError(f"there are {len(all_scores)} scores and {len(all_ids)} ids: they must be as many")
    if len(all_scores) and np.isnan(all_scores.max()):
        raise ValueError(f"the score at position {np.argmax(np.isnan(all_scores))} of all lists is NaN")
    if len(all_scores) <= SMALL:
        best = np.lexsort((all_ids, -all_scores))[:k]
        return all_scores[best], all_ids[best]
    kept = select(all_scores, k, 0) if k else np.empty(0, np.int64)
    kept = kept[np.argsort(all_ids[kept])]  # by id, so that ties by ordinal are ties by id
    best_scores, best = topk(all_scores[kept], k)
    return best_scores, all_ids[kept[best]]


def _join(lists: Sequence[NDArray[Any]] | NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """All lists as one array; they must have the type ``dtype``."""
    if isinstance(lists, np.ndarray) and lists.ndim == 2:
        lists = [lists.reshape(-1)]
    for row in lists:
        if row.dtype != dtype or row.ndim != 1:
            raise ValueError(f"a list is {row.dtype} {row.shape}: it must be 1-dimensional {np.dtype(dtype)}")
    return np.concatenate([np.empty(0, dtype), *lists]) if len(lists) != 1 else lists[0]
