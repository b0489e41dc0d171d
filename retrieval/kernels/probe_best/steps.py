"""The best of inverted lists step by step: what `probe_best` is, whoever takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lengths import rounding
from retrieval.kernels.probe_best.prepared import Segment
from retrieval.types import FloatArray, IntArray

__all__ = ["Best", "Depth", "step_by_step"]


class Depth(NamedTuple):
    """How hard to look: `retrieval.kernels.lists.choose_lists` has the first four; ``several`` candidates by
    the codes that are scanned, ``depth`` by the whole ones (the same where there are no others)."""

    n_probe: int
    n_members: int
    reach: float
    n_least: int
    several: int
    depth: int


class Best(NamedTuple):
    """Documents ``(m,)`` int64, their scores and final scores float32, the best final score first; how many
    stored vectors were scored, how many codes were seen, and how far apart scores may lie that are in the
    wrong order (`retrieval.kernels.lengths.rounding`)."""

    ordinals: IntArray
    scores: FloatArray
    final: FloatArray
    visited: int
    scanned: int
    slack: float


def step_by_step(
    probe_lists: Callable[..., Any],
    probe_whole: Callable[..., Any],
    rescore_best: Callable[..., Any],
    probe: FloatArray,
    query: FloatArray,
    segment: Segment,
    how: Depth,
    k: int,
    accept: NDArray[np.bool_] | None,
) -> Best:
    """`retrieval.kernels.probe_best.reference.probe_best` by three functions of one backend."""
    coarse, coded, grid, whole = segment.coarse, segment.coded, segment.grid, segment.whole
    rest = segment.origin, accept, *how[1:4]
    if whole is None:
        probed = probe_lists(probe, coarse, coded, how.n_probe, how.depth, grid, *rest)
        scanned = probed.scanned
    else:
        sizes = how.n_probe, how.several, how.depth
        probed, scanned = probe_whole(probe, coarse, coded, whole, *sizes, grid, *rest)
    n, l2 = int(probed.found[0]), segment.metric == "l2"
    slack, length = rounding(query, segment.largest, l2)
    limits: tuple[Any, ...] = ()
    if segment.deviations is not None and probed.errors.shape[1]:
        factor = np.float32(2 if l2 else 1)
        tops = factor * probed.estimates[0, :n] + np.float32(slack)
        limits = tops, probed.errors[0, :n], float(factor) * (segment.deviations * length)
    ordinals = probed.ordinals[0, :n]
    kept, scores, final, visited = rescore_best(
        query, segment.stored, ordinals, k, slack, segment.metric, *limits
    )
    return Best(kept, scores, final, visited, int(scanned[0]), slack)
