"""Selection of the best scores in one scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
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
_ALL = np.empty(0, np.uint8)


@cache
def _best_rows() -> Callable[..., int]:
    if simd_level() == "avx512":
        from retrieval.kernels.topk import avx512

        return avx512.best_rows
    from retrieval.kernels.topk import portable

    return portable.best_rows


def _check(scores: NDArray[Any], k: int, dimensions: int) -> FloatArray:
    if scores.dtype != np.float32 or scores.ndim != dimensions or scores.shape[-1] > MAX_SCORES:
        raise ValueError(
            f"scores are {scores.dtype} {scores.shape}: they must be float32 with {dimensions} dimension(s), "
            f"the last at most {MAX_SCORES}"
        )
    if k < 0:
        raise ValueError(f"k is {k}: it must not be negative")
    return np.ascontiguousarray(scores)


def _keys(scores: FloatArray, k: int, accept: NDArray[np.uint8]) -> IntArray:
    """Keys of the best ``k`` of each row, unsorted; their lower halves are the ordinals."""
    n_rows, n = scores.shape
    keys = np.empty((n_rows, min(k, n)), np.int64)
    if not n_rows:
        return keys
    count = _best_rows()(scores, k, accept, keys)
    if count < 0:
        row, position = np.argwhere(np.isnan(scores))[0]
        raise ValueError(f"the score at position {position} of row {row} is NaN")
    return keys[:, :count]


def topk(scores: FloatArray, k: int, accept: NDArray[np.bool_] | None = None) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.topk.reference.topk`; the same."""
    scores = _check(scores, k, 1)
    mask = _ALL
    if accept is not None:
        if accept.dtype != np.bool_ or accept.shape != scores.shape:
            raise ValueError(f"accept is {accept.dtype} {accept.shape}: it must be bool {scores.shape}")
        mask = np.ascontiguousarray(accept).view(np.uint8)
    keys = _keys(scores[None], k, mask)[0]
    keys.sort()
    ordinals = keys & 0xFFFFFFFF
    return scores[ordinals], ordinals


def topk_rows(scores: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.topk.reference.topk_rows`; the same."""
    scores = _check(scores, k, 2)
    ordinals = np.sort(_keys(scores, k, _ALL), axis=1) & 0xFFFFFFFF
    return np.take_along_axis(scores, ordinals, axis=1), ordinals


def select(scores: NDArray[Any], k: int, slack: float) -> IntArray:
    """See `retrieval.kernels.topk.reference.select`; the same."""
    n = len(scores)
    if n <= k:
        return np.arange(n)
    if scores.dtype == np.float32 and n > SMALL:
        row = _check(scores, k, 1)[None]
        kth_best = row[0, _keys(row, k, _ALL).max() & 0xFFFFFFFF]
    else:
        kth_best = np.partition(scores, n - k)[n - k]
    return np.flatnonzero(scores >= kth_best - slack)


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
