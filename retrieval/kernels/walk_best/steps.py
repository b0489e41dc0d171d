"""The best of a graph step by step: what `walk_best` is, whoever takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lengths import rounding
from retrieval.kernels.probe_best.steps import Best
from retrieval.kernels.walk_best.prepared import Walked
from retrieval.types import FloatArray, IntArray

__all__ = ["Best", "is_found", "step_by_step"]

_ONE = np.ones(1, np.float32)


def step_by_step(
    ask_walk: Callable[..., Any],
    walk: Callable[..., Any],
    rescore_best: Callable[..., Any],
    probe: FloatArray,
    query: FloatArray,
    segment: Walked,
    width: int,
    room: int,
    depth: int,
    k: int,
    accept: NDArray[np.bool_] | None,
) -> Best | None:
    """`retrieval.kernels.walk_best.reference.walk_best` by three functions of one backend."""
    asked = ask_walk(probe, segment.coding, segment.error, _ONE)
    ordinals, scores = walk(asked, segment.graph, width, depth, accept, room)
    if not is_found(ordinals, scores):
        return None
    slack, _ = rounding(query, segment.largest, segment.metric == "l2")
    kept, scores, final, visited = rescore_best(query, segment.stored, ordinals[0], k, slack, segment.metric)
    return Best(kept, scores, final, visited, width, slack)


def is_found(ordinals: IntArray, scores: FloatArray) -> bool:
    """Whether the walk of one query met enough, and no score overflowed."""
    return bool(ordinals[0, -1] >= 0 and isfinite(scores[0, 0]))
