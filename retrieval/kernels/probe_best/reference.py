"""The best of inverted lists by their stored vectors, in plain NumPy: the definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.reference import probe_lists
from retrieval.kernels.probe_best.prepared import Segment
from retrieval.kernels.probe_best.steps import Best, Depth, step_by_step
from retrieval.kernels.rescore.reference import rescore_best
from retrieval.kernels.sharpen.reference import probe_whole
from retrieval.types import FloatArray

__all__ = ["Best", "Depth", "Segment", "probe_best"]


def probe_best(
    probe: FloatArray,
    query: FloatArray,
    segment: Segment,
    how: Depth,
    k: int,
    accept: NDArray[np.bool_] | None = None,
) -> Best:
    """`retrieval.kernels.lists.probe_lists` of one ``probe`` ``(1, d_codes)`` float32, or `probe_whole` of
    `retrieval.kernels.sharpen` where there are whole codes; then `retrieval.kernels.rescore.rescore_best` of
    what it finds by ``query`` ``(1, d_stored)``, the same where nothing was reduced: `Best`.

    What is within the slack of `retrieval.kernels.lengths.rounding` of the ``k``-th best is kept. With
    ``segment.deviations``, and where the codes have errors, a candidate is taken to score at most
    ``estimate + slack + deviations * |q| * error``, with l2 twice the estimate and twice the error (estimates
    are of ``q . x - |x|^2 / 2``, scores of ``2 q . x - |x|^2``).

    Raises:
        ValueError: as the two; not one query.
    """
    if len(probe) != 1:
        raise ValueError(f"there are {len(probe)} queries: give one")
    steps = probe_lists, probe_whole, rescore_best
    return step_by_step(*steps, probe, query, segment, how, k, accept)
