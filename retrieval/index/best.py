"""The best of scored documents, for indexes whose scores come as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.index.base import Found
from retrieval.kernels.topk import select
from retrieval.types import FloatArray, IntArray

__all__ = ["best_of", "nothing"]


def nothing() -> Found:
    """No candidate."""
    return Found(np.empty(0, np.int64), np.empty(0, np.float32), None, 0, cost=0.0)


def best_of(
    estimates: FloatArray,
    ordinals: IntArray,
    depth: int,
    scanned: int,
    errors: NDArray[np.float32] | None = None,
    cost: float | None = None,
) -> Found:
    """The best ``depth`` of the documents ``ordinals`` ``(m,)``, found at this ``cost``. NaN, which damaged
    codes give, is no estimate."""
    valid = np.isfinite(estimates)
    if not valid.all():
        estimates, ordinals = estimates[valid], ordinals[valid]
        errors = None if errors is None else errors[valid]
    kept = select(estimates, depth, 0)
    kept = kept[np.lexsort((ordinals[kept], -estimates[kept]))[:depth]]
    return Found(
        np.asarray(ordinals[kept], dtype=np.int64),
        np.asarray(estimates[kept], dtype=np.float32),
        None if errors is None else errors[kept],
        scanned,
        cost=cost,
    )
