"""The best of inverted lists on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.lists.cpu import probe_lists
from retrieval.kernels.lists.door import check_choice, check_mask, refuse
from retrieval.kernels.probe_best.prepared import Segment
from retrieval.kernels.probe_best.steps import Best, Depth, step_by_step
from retrieval.kernels.rescore.cpu import check_query, rescore_best
from retrieval.kernels.sharpen.cpu import probe_whole
from retrieval.kernels.tables.cpu import SHORTEST
from retrieval.types import FloatArray

__all__ = ["Best", "Depth", "Segment", "probe_best"]

_INT, _FLOAT = np.dtype(np.int64), np.dtype(np.float32)
_NO_LISTS = np.empty((0, 0), np.int64)


def probe_best(
    probe: FloatArray,
    query: FloatArray,
    segment: Segment,
    how: Depth,
    k: int,
    accept: NDArray[np.bool_] | None = None,
) -> Best:
    """See `retrieval.kernels.probe_best.reference.probe_best`; the same up to rounding."""
    if len(probe) != 1:
        raise ValueError(f"there are {len(probe)} queries: give one")
    if simd_level() != "avx512" or segment.grid.dim < SHORTEST:
        steps = probe_lists, probe_whole, rescore_best
        return step_by_step(*steps, probe, query, segment, how, k, accept)
    asked = check_choice(probe, segment.coarse, how.n_probe)
    if query is not probe:
        query = check_query(query, segment.stored)
    if how.depth < 1 or k < 1:
        raise ValueError(f"depth is {how.depth} and k {k}: they must be at least 1")
    mask, depth = check_mask(accept), how.depth
    kept, scores = np.empty(depth, _INT), np.empty((2, depth), _FLOAT)
    given = asked, query, *segment.fixed, *how, k, mask, kept, scores
    wrong, n, visited, scanned, slack = _kernel()(*given)
    if wrong:
        refuse(wrong, _NO_LISTS, segment.coded, len(mask))
    return Best(kept[:n], scores[0, :n], scores[1, :n], visited, scanned, slack)


@cache
def _kernel() -> Any:
    return import_module("retrieval.kernels.probe_best.avx512").probe_best
