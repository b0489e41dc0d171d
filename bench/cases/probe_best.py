"""Cases of the best of inverted lists: codes of vectors around their centroids, and the stored vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.grid.cpu import grid_codes
from retrieval.kernels.lists.prepared import prepare_centroids, prepare_lists
from retrieval.kernels.pq_scan.reference import pack_codes
from retrieval.kernels.probe_best.reference import Depth, Segment
from retrieval.kernels.rescore.prepared import Rows, prepare_rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.rotate.cpu import rotate
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
SIZE, SPREAD, ROUNDS, SIGMAS, K = 200, 0.5, 4, 3.0, 10


def _make(
    n: int, d: int, n_probe: int, depth: int, metric: RescoreMetric, dtype: str
) -> Callable[[np.random.Generator, float], Arguments]:
    """Normal vectors around normal centroids, coded by a bit a dimension; ``dtype`` is of the stored ones."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count = max(int(n * scale), 40)
        nlist = max(count // SIZE, 4)
        lists = np.sort(rng.integers(0, nlist, count))
        starts = np.searchsorted(lists, np.arange(nlist + 1)).astype(np.int64)
        centroids = rng.standard_normal((nlist, d)).astype(np.float32)
        rest = SPREAD * rng.standard_normal((count, d)).astype(np.float32)
        signs = (2 * rng.integers(0, 2, (ROUNDS, d)) - 1).astype(np.int8)
        codes, scales, errors = grid_codes(rotate(rest, signs), 1)
        halves = np.stack([codes & 15, codes >> 4], axis=2).reshape(count, -1)[:, : -(-d // 4)]
        ordinals = rng.permutation(count).astype(np.uint32)
        vectors = np.empty((count, d), np.float32)
        vectors[ordinals] = centroids[lists] + rest
        biases, own = None, None
        if metric == "l2":
            biases = (-np.square(vectors).sum(axis=1) / 2)[ordinals].astype(np.float32)
            own = (-np.square(centroids).sum(axis=1) / 2).astype(np.float32)
        coded = prepare_lists(pack_codes(halves), starts, scales, biases, ordinals, errors)
        query = (centroids[:1] + rng.standard_normal((1, d))).astype(np.float32)
        coarse, grid = prepare_centroids(centroids, own), Grid(1, signs)
        largest, depth_here = float(np.linalg.norm(vectors, axis=1).max()), min(depth, count)
        segment = Segment(coarse, coded, grid, _stored(vectors, dtype), metric, None, None, largest, SIGMAS)
        return query, query, segment, Depth(n_probe, nlist, np.inf, n_probe, depth_here, depth_here), K

    return make


def _stored(vectors: FloatArray, dtype: str) -> Rows:
    if dtype != "uint8":
        return prepare_rows(vectors.astype(dtype))
    low = vectors.min(axis=0)
    span = vectors.max(axis=0) - low
    return prepare_rows(np.floor((vectors - low) / span * 255).clip(0, 255).astype(np.uint8), span, low)


def _n_codes(_probe: Any, _query: Any, segment: Segment, how: Depth, *_: Any) -> float:
    return float(how.n_probe * segment.coded.starts[-1] / (len(segment.coded.starts) - 1))


def _n_operations(query: Any, *rest: Any) -> float:
    return float(query.shape[1] / 2 * _n_codes(query, *rest))


def _case(
    label: str, make: Callable[[np.random.Generator, float], Arguments], mark: float | None = None
) -> Case:
    counted = "codes", _n_codes, "int8", _n_operations
    return Case("probe_best", "probe_best", label, make, *counted, exact=False, mark=mark)  # type: ignore[arg-type]


CASES: list[Case] = [
    _case(
        "16 lists of 200, 40 of them float16",
        _make(200_000, 384, 16, 40, "dot", "float16"),
        16 * SIZE / 25e-6,
    ),
    _case("16 lists of 200, 40 of them bytes, l2", _make(200_000, 384, 16, 40, "l2", "uint8")),
    _case("32 lists of 61 dimensions, float32", _make(50_000, 61, 32, 80, "dot", "float32")),
]
