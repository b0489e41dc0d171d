"""The best of inverted lists step by step: what `probe_best` is, whoever takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    """Documents ``(m,)`` int64, their scores and final scores float32; how many stored vectors were scored,
    and how many codes were seen."""

    ordinals: IntArray
    scores: FloatArray
    final: FloatArray
    visited: int
    scanned: int


def step_by_step(
    probe_lists: Callable[..., Any],
    probe_whole: Callable[..., Any],
    rescore_best: Callable[..., Any],
    probe: FloatArray,
    query: FloatArray,
    segment: Segment,
    how: Depth,
    k: int,
    slack: float,
    width: float | None,
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
    n = int(probed.found[0])
    limits: tuple[Any, ...] = ()
    if width is not None and probed.errors.shape[1]:
        factor = np.float32(2 if segment.metric == "l2" else 1)
        tops = factor * probed.estimates[0, :n] + np.float32(slack)
        limits = tops, probed.errors[0, :n], float(factor) * width
    ordinals = probed.ordinals[0, :n]
    kept, scores, final, visited = rescore_best(
        query, segment.stored, ordinals, k, slack, segment.metric, *limits
    )
    return Best(kept, scores, final, visited, int(scanned[0]))
