"""Nearest centroids on a GPU: a tiled product whose sums never leave registers, with a running best two."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float32, int32

from retrieval.kernels.assign.door import check, check_finite
from retrieval.kernels.assign.reference import AssignMetric
from retrieval.types import FloatArray, IntArray

__all__ = ["PTX_SIGNATURES", "assign"]

SIDE = 16  # threads of a block: SIDE x SIDE
EACH = 2  # vectors and centroids of a thread
ROWS = SIDE * EACH
PADDED = SIDE + 1  # odd, so that the threads of a warp read different banks


def _assign(values: Any, centroids: Any, l2: Any, ordinals: Any, scores: Any, margins: Any) -> None:
    """A block takes `ROWS` vectors through all centroids, `ROWS` at a time and `SIDE` dimensions deep.

    Thread ``(tx, ty)`` sums vectors ``ty + SIDE * a`` against centroids ``tx + SIDE * b``: neighbouring
    threads read neighbouring dimensions when tiles are loaded, and neighbouring centroids in them.
    """
    tile_values = cuda.shared.array((ROWS, PADDED), float32)
    tile_centroids = cuda.shared.array((ROWS, PADDED), float32)
    best = cuda.shared.array((ROWS, SIDE), float32)
    second = cuda.shared.array((ROWS, SIDE), float32)
    chosen = cuda.shared.array((ROWS, SIDE), int32)
    sums = cuda.local.array((EACH, EACH), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    first = cuda.blockIdx.x * ROWS
    n, d = values.shape
    for a in range(EACH):
        best[ty + SIDE * a, tx] = -np.inf
        second[ty + SIDE * a, tx] = -np.inf
        chosen[ty + SIDE * a, tx] = 0
    for base in range(0, centroids.shape[0], ROWS):
        for a in range(EACH):
            for b in range(EACH):
                sums[a, b] = 0
        for depth in range(0, d, SIDE):
            for a in range(EACH):
                row, column = ty + SIDE * a, depth + tx
                inside = column < d
                tile_values[row, tx] = values[first + row, column] if inside and first + row < n else 0
                here = inside and base + row < centroids.shape[0]
                tile_centroids[row, tx] = centroids[base + row, column] if here else 0
            cuda.syncthreads()
            for j in range(SIDE):
                for a in range(EACH):
                    for b in range(EACH):
                        x, c = tile_values[ty + SIDE * a, j], tile_centroids[tx + SIDE * b, j]
                        sums[a, b] += -(x - c) * (x - c) if l2 else x * c
            cuda.syncthreads()
        for a in range(EACH):
            row = ty + SIDE * a
            for b in range(EACH):
                centroid, score = base + tx + SIDE * b, sums[a, b]
                if centroid < centroids.shape[0]:
                    if score > best[row, tx]:
                        second[row, tx] = best[row, tx]
                        best[row, tx] = score
                        chosen[row, tx] = centroid
                    elif score > second[row, tx]:
                        second[row, tx] = score
    cuda.syncthreads()
    if tx == 0:
        for a in range(EACH):
            row = ty + SIDE * a
            if first + row < n:
                at = 0
                for t in range(1, SIDE):
                    larger = best[row, t] > best[row, at]
                    if larger or (best[row, t] == best[row, at] and chosen[row, t] < chosen[row, at]):
                        at = t
                other = second[row, at]
                for t in range(SIDE):
                    if t != at and best[row, t] > other:
                        other = best[row, t]
                ordinals[first + row] = chosen[row, at]
                scores[first + row] = best[row, at]
                margins[first + row] = best[row, at] - other


PTX_SIGNATURES = [
    (_assign, "void(float32[:,::1], float32[:,::1], boolean, int64[::1], float32[::1], float32[::1])"),
]


@cache
def _kernel() -> Any:
    return cuda.jit(_assign)


def assign(
    values: FloatArray, centroids: FloatArray, metric: AssignMetric = "dot", threads: int = 1
) -> tuple[IntArray, FloatArray, FloatArray]:
    """See `reference.assign`; the same up to rounding. ``threads`` changes nothing here.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, no centroid.
    """
    check(values, centroids, metric)
    check_finite(values)
    n = len(values)
    ordinals, scores, margins = np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32)
    if n:
        device = [cuda.to_device(array) for array in (ordinals, scores, margins)]
        inputs = [cuda.to_device(np.ascontiguousarray(array)) for array in (values, centroids)]
        _kernel()[-(-n // ROWS), (SIDE, SIDE)](*inputs, metric == "l2", *device)
        for array, copy in zip((ordinals, scores, margins), device, strict=True):
            copy.copy_to_host(array)
    return ordinals, scores, margins
