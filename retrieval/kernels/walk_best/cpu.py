"""The best of a graph on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.rescore.cpu import check_query, rescore_best
from retrieval.kernels.walk.cpu import ask_walk, check_choice, check_queries, walk
from retrieval.kernels.walk_best.prepared import Walked
from retrieval.kernels.walk_best.steps import Best, is_found, step_by_step
from retrieval.types import FloatArray

__all__ = ["Best", "Walked", "is_found", "walk_best"]

_ALL = np.empty(0, np.uint8)
_INT, _FLOAT = np.dtype(np.int64), np.dtype(np.float32)


def walk_best(
    probe: FloatArray,
    query: FloatArray,
    segment: Walked,
    width: int,
    room: int,
    depth: int,
    k: int,
    accept: NDArray[np.bool_] | None = None,
) -> Best | None:
    """See `retrieval.kernels.walk_best.reference.walk_best`; the same up to rounding."""
    if len(probe) != 1:
        raise ValueError(f"there are {len(probe)} queries: give one")
    if segment.is_short or simd_level() != "avx512":
        steps = ask_walk, walk, rescore_best
        return step_by_step(*steps, probe, query, segment, width, room, depth, k, accept)
    asked = check_queries(probe, segment.coding.layout)
    query = asked if query is probe else check_query(query, segment.stored)
    check_choice(segment.graph, width, depth, accept, room)
    if k < 1:
        raise ValueError(f"k is {k}: it must be at least 1")
    mask = _ALL if accept is None else np.ascontiguousarray(accept).view(np.uint8)
    kept, scores = np.empty(depth, _INT), np.empty((2, depth), _FLOAT)
    given = asked, query, *segment.fixed, width, room, k, mask, kept, scores
    count, visited, slack = _kernel()(*given)
    if count < 0:
        return None
    return Best(kept[:count], scores[0, :count], scores[1, :count], visited, width, slack)


@cache
def _kernel() -> Any:
    return import_module("retrieval.kernels.walk_best.avx512").walk_best
