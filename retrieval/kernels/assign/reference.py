"""Nearest centroids in plain NumPy: the definition, in float and in 8-bit integers."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = [
    "AssignMetric",
    "Assignment",
    "QuantizedCentroids",
    "assign",
    "assign_i8",
    "best_two",
    "bias_room",
    "doubtful",
    "quantize_centroids",
    "quantize_values",
]

AssignMetric = Literal["dot", "l2"]
"""``dot``: inner product; ``l2``: minus the squared distance. Larger is nearer."""


class Assignment(NamedTuple):
    """The answer of `assign_i8`: ordinals, scores and margins ``(n,)``, and how often float decided.

    ``rechecked`` counts the vectors whose second choice in 8 bits could have been the best one;
    0 where ``exact`` was not asked.
    """

    ordinals: IntArray
    scores: FloatArray
    margins: FloatArray
    rechecked: int


class QuantizedCentroids(NamedTuple):
    """Centroids less their mean ``center``, as bytes with one scale: ``c ~ (codes - 128) * scale``.

    ``codes`` is ``(K, d)`` uint8. ``biases`` ``(K,)`` is what a centroid adds to its products, in
    units of ``scale``. ``largest_norm`` is the greatest length of a centroid (not centred),
    ``largest_error`` of a rounding error.
    """

    codes: NDArray[np.uint8]
    center: FloatArray
    scale: np.float32
    biases: FloatArray
    largest_norm: float
    largest_error: float


def assign(
    values: FloatArray, centroids: FloatArray, metric: AssignMetric = "dot", threads: int = 1
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Find the best centroid of every vector.

    ``values`` is ``(n, d)``, ``centroids`` ``(K, d)`` with K >= 1. Returns ``ordinals`` ``(n,)`` int64,
    ``scores`` ``(n,)`` float32 (``x . c``, or ``-|x - c|^2``) and ``margins`` ``(n,)``: the score less the
    second best one (infinite for one centroid). Of equal scores the lowest ordinal wins.
    ``threads`` changes nothing here.
    """
    if metric == "dot":
        scores = values @ centroids.T
    else:
        scores = -((values[:, None, :] - centroids[None, :, :]) ** 2).sum(axis=2)
    return best_two(scores.astype(np.float32))


def best_two(scores: NDArray[Any]) -> tuple[IntArray, NDArray[Any], NDArray[Any]]:
    """Column, value and lead of the largest number of each row."""
    ordinals = scores.argmax(axis=1) if len(scores) else np.zeros(0, np.int64)
    rows = np.arange(len(scores))
    best = scores[rows, ordinals]
    others = scores.copy()
    others[rows, ordinals] = -np.inf
    return ordinals.astype(np.int64), best, best - others.max(axis=1, initial=-np.inf)


def quantize_centroids(centroids: FloatArray, metric: AssignMetric = "dot") -> QuantizedCentroids:
    """Centre the centroids and round them to bytes.

    With ``y = x - center``, ``c`` centred and ``q`` its rounded self, the choice maximises, for
    ``l2``, ``y . c - |c|^2 / 2``, and for ``dot`` ``y . c + center . c``. Both are
    ``y . q + bias`` less ``(c - y) . (c - q)`` and little else, which is small just where it
    matters, for centroids near the vector: ``bias = -|q|^2 / 2`` or
    ``center . c + (|c|^2 - |q|^2) / 2``.
    """
    wide = centroids.astype(np.float64)
    center = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = wide - center
    largest = np.float32(np.abs(centred).max())
    scale = largest / np.float32(127) if largest > 0 else np.float32(1)
    levels = np.clip(np.rint(centred / scale), -127, 127)
    rounded = levels * scale
    biases = -(rounded**2).sum(axis=1) / 2
    if metric == "dot":
        biases += centred @ center + (centred**2).sum(axis=1) / 2
    return QuantizedCentroids(
        (levels + 128).astype(np.uint8),
        center,
        scale,
        (biases / scale).astype(np.float32),
        float(np.linalg.norm(wide, axis=1).max()),
        float(np.linalg.norm(centred - rounded, axis=1).max()),
    )


def quantize_values(values: FloatArray, centroids: QuantizedCentroids) -> tuple[NDArray[np.int8], FloatArray]:
    """Round centred vectors to signed bytes, ``y ~ levels / inverse``; ``(n, d)`` and ``(n,)``.

    A vector whose biases would leave 32 bits gets a coarser scale.
    """
    centred = values - centroids.center
    largest = np.maximum(np.abs(centred).max(axis=1, initial=0), np.float32(1e-30))
    inverses = np.minimum(np.float32(127) / largest, bias_room(centroids.biases)).astype(np.float32)
    return np.rint(centred * inverses[:, None]).astype(np.int8), inverses


def bias_room(biases: FloatArray) -> np.float32:
    """The largest ``inverse`` that keeps bias plus products inside 32 bits."""
    return np.float32(2.0**29) / np.maximum(np.abs(biases).max(), np.float32(1))


def doubtful(
    values: FloatArray,
    levels: NDArray[np.int8],
    inverses: FloatArray,
    centroids: QuantizedCentroids,
    metric: AssignMetric,
    best: FloatArray,
    second: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Which vectors have a second 8-bit score that could truly be above ``best``, ``(n,)``.

    With ``y = y' + e`` and ``c = q + f``, the 8-bit value of a centroid at distance ``r`` of the
    vector is off by ``e . y``, which is known, and at most ``(|e| + |f|) r + |e| |f| + |f|^2 / 2``
    (Cauchy-Schwarz). A centroid that scores ``best`` or more is at most a known ``r`` away.
    """
    centred = (values - centroids.center).astype(np.float64)
    errors = centred - levels / inverses[:, None].astype(np.float64)
    lost, off = np.linalg.norm(errors, axis=1), centroids.largest_error
    reach = np.linalg.norm(values, axis=1) + centroids.largest_norm
    floats = 2e-7 * (values.shape[1] + 8) * reach**2
    if metric == "dot":
        gain = best - values @ centroids.center
        away = (values**2).sum(axis=1) + centroids.largest_norm**2 - 2 * best
    else:
        gain, away = (best + (centred**2).sum(axis=1)) / 2, -best
    bound = (lost + off) * np.sqrt(np.maximum(away, 0)) + lost * off + off**2 / 2 + floats
    wanted = (gain - (errors * centred).sum(axis=1) - bound) * inverses / centroids.scale - 1
    return np.asarray(second >= np.floor(wanted))


def assign_i8(
    values: FloatArray,
    centroids: FloatArray,
    metric: AssignMetric = "dot",
    exact: bool = True,
    threads: int = 1,
) -> Assignment:
    """`assign` on vectors and centroids rounded to 8 bits.

    With ``exact`` ordinals and scores are `assign`'s: choices in doubt are decided in float. A
    margin is off by what 8 bits lose where only the best could be the best, and may be too large by
    it elsewhere. Without ``exact``, score and margin are the 8-bit ones.
    """
    quantized = quantize_centroids(centroids, metric)
    levels, inverses = quantize_values(values, quantized)
    products = levels.astype(np.int32) @ (quantized.codes.astype(np.int32) - 128).T
    whole = products + np.rint(quantized.biases * inverses[:, None]).astype(np.int32)
    if exact:
        answer = assign(values, centroids, metric)
        second = np.sort(whole, axis=1)[:, -2] if len(centroids) > 1 else np.full(len(values), -(2**31))
        doubt = doubtful(values, levels, inverses, quantized, metric, answer[1], second)
        return Assignment(*answer, int(doubt.sum()))
    ordinals, best, leads = best_two(whole.astype(np.float64))
    centred = (values - quantized.center).astype(np.float64)
    known = ((centred - levels / inverses[:, None]) * centred).sum(axis=1)
    units = np.float64(quantized.scale) / inverses
    if metric == "dot":
        scores = units * best + known + values @ quantized.center
    else:
        scores = 2 * (units * best + known) - (centred**2).sum(axis=1)
        leads = 2 * leads
    return Assignment(ordinals, scores.astype(np.float32), (units * leads).astype(np.float32), 0)
