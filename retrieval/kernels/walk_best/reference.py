"""The best of a graph by their stored vectors, in plain NumPy: the definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.rescore.reference import rescore_best
from retrieval.kernels.walk.reference import ask_walk, walk
from retrieval.kernels.walk_best.prepared import Walked
from retrieval.kernels.walk_best.steps import Best, step_by_step
from retrieval.types import FloatArray

__all__ = ["Best", "Walked", "walk_best"]


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
    """`retrieval.kernels.walk.walk` for one ``probe`` ``(1, d_codes)`` float32, whose one more coordinate is
    1; then `retrieval.kernels.rescore.rescore_best` of the ``depth`` that it finds by ``query``
    ``(1, d_stored)``, the same where nothing was reduced: `Best`, whose ``scanned`` is the
    ``width``. None where the walk found fewer, or scores overflow.

    Raises:
        ValueError: as the two; not one query.
    """
    if len(probe) != 1:
        raise ValueError(f"there are {len(probe)} queries: give one")
    return step_by_step(ask_walk, walk, rescore_best, probe, query, segment, width, room, depth, k, accept)
