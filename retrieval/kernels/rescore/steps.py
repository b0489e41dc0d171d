"""Refine step by step: what `rescore_best` is, whoever takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from retrieval.kernels.rescore.prepared import Rows
from retrieval.types import FloatArray, IntArray

__all__ = ["step_by_step"]


def step_by_step(
    rescore: Callable[..., Any],
    select: Callable[..., Any],
    score_exactly: Callable[..., Any],
    query: FloatArray,
    stored: Rows,
    ordinals: IntArray,
    k: int,
    slack: float,
    metric: str,
    estimates: FloatArray | None,
    errors: FloatArray | None,
    width: float,
) -> tuple[IntArray, FloatArray, FloatArray, int]:
    """`retrieval.kernels.rescore.reference.rescore_best` by three functions of one backend."""
    asked, constant, wide = query, np.float32(0), query[0].astype(np.float64)
    steps = None
    if metric == "l2":
        constant = np.float32(wide @ wide)
        if len(stored.steps):
            asked, steps = (wide - stored.offsets).astype(np.float32)[None], stored.steps
    elif len(stored.steps):
        asked = query * stored.steps
        constant = np.float32(wide @ stored.offsets)
    limits: tuple[FloatArray | None, FloatArray | None] = None, None
    if estimates is not None and errors is not None:
        limits = (estimates - constant)[None], (np.float32(width) * errors)[None]
    scores, visited = rescore(asked, stored.rows, ordinals[None], metric, *limits, k, steps)
    scores = scores[0] + constant
    there = np.flatnonzero(scores > -np.inf)
    kept = there[select(scores[there], k, slack)]
    final = score_exactly(query, stored, ordinals[kept], metric).astype(np.float32)
    order = np.argsort(-final, kind="stable")
    kept = kept[order]
    return ordinals[kept], scores[kept], final[order], int(visited[0])
