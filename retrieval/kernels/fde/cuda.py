"""MUVERA encodings on a GPU: signs, then one block a document and repetition, then the final sketch."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float32, int32
from numpy.typing import NDArray

from retrieval.kernels.fde.door import check, check_finite, encoding_shape
from retrieval.kernels.fde.reference import Sketch
from retrieval.types import FloatArray, IntArray

__all__ = ["PTX_SIGNATURES", "fde_documents", "fde_queries"]

THREADS = 64
DEPTH = THREADS  # dimensions of a token held in shared memory at a time
PARTITIONS = 256  # at most: ksim <= 8


def _signs(values: Any, planes: Any, ksim: Any, signs: Any) -> None:
    """Sign bits of one token in every repetition, the first hyperplane highest.

    ``planes`` is ``(d, reps * 8)``, eight columns a repetition: neighbouring threads read neighbouring
    columns. A warp's columns meet in shared memory to become numbers.
    """
    token, thread = cuda.blockIdx.x, cuda.threadIdx.x
    part = cuda.shared.array(DEPTH, float32)
    bits = cuda.shared.array(THREADS, int32)
    for first in range(0, planes.shape[1], THREADS):
        column, total = first + thread, float32(0)
        for depth in range(0, values.shape[1], DEPTH):
            cuda.syncthreads()
            if depth + thread < values.shape[1]:
                part[thread] = values[token, depth + thread]
            cuda.syncthreads()
            if column < planes.shape[1]:
                for j in range(depth, values.shape[1] if values.shape[1] < depth + DEPTH else depth + DEPTH):
                    total += part[j - depth] * planes[j, column]
        bits[thread] = 1 if total > 0 else 0
        cuda.syncthreads()
        if thread % 8 == 0 and column < planes.shape[1]:
            number = 0
            for i in range(ksim):
                number = 2 * number + bits[thread + i]
            signs[token, column // 8] = number


def _encode(
    values: Any,
    offsets: Any,
    signs: Any,
    order: Any,
    begins: Any,
    weights: Any,
    ksim: Any,
    mean: Any,
    fill: Any,
    out: Any,
) -> None:
    """One document and repetition: a thread owns a column of the block, so nothing is atomic.

    Column ``t`` of a point is the sum of ``weights[r, i] * x[order[r, i]]`` over
    ``begins[r, t] <= i < begins[r, t + 1]``.
    """
    document, r, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    counts = cuda.shared.array(PARTITIONS, int32)
    nearest = cuda.shared.array(PARTITIONS, int32)
    start, stop, n_partitions = offsets[document], offsets[document + 1], 1 << ksim
    if start == stop:
        return
    for p in range(thread, n_partitions, cuda.blockDim.x):
        count, least = 0, 64
        pattern = p ^ (p >> 1)
        for token in range(start, stop):
            distance = cuda.popc(int32(signs[token, r] ^ pattern))
            if distance == 0:
                count += 1
            if distance < least:
                least = distance
                nearest[p] = token - start
        counts[p] = count
    cuda.syncthreads()
    for t in range(thread, out.shape[3], cuda.blockDim.x):
        for token in range(start, stop):
            p = signs[token, r]
            for shift in (1, 2, 4):  # the partition whose pattern these signs are
                p ^= p >> shift
            point = float32(0)
            for i in range(begins[r, t], begins[r, t + 1]):
                point += weights[r, i] * values[token, order[r, i]]
            out[document, r, p, t] += point
        for p in range(n_partitions):
            if mean and counts[p] > 1:
                out[document, r, p, t] /= float32(counts[p])
            if fill and counts[p] == 0:
                point = float32(0)
                for i in range(begins[r, t], begins[r, t + 1]):
                    point += weights[r, i] * values[start + nearest[p], order[r, i]]
                out[document, r, p, t] = point


def _sketch(rows: Any, order: Any, begins: Any, weights: Any, out: Any) -> None:
    """The final count sketch of one row; a thread owns an output."""
    row = cuda.blockIdx.x
    for t in range(cuda.threadIdx.x, out.shape[1], cuda.blockDim.x):
        total = float32(0)
        for i in range(begins[0, t], begins[0, t + 1]):
            total += weights[0, i] * rows[row, order[0, i]]
        out[row, t] = total


_LISTS = "int32[:,::1], int32[:,::1], float32[:,::1]"
PTX_SIGNATURES = [
    (_signs, "void(float32[:,::1], float32[:,::1], int64, int32[:,::1])"),
    (
        _encode,
        f"void(float32[:,::1], int64[::1], int32[:,::1], {_LISTS}, int64, boolean, boolean, "
        "float32[:,:,:,::1])",
    ),
    (_sketch, f"void(float32[:,::1], {_LISTS}, float32[:,::1])"),
]


@cache
def _kernels() -> tuple[Any, Any, Any]:
    return cuda.jit(_signs), cuda.jit(_encode), cuda.jit(_sketch)


def _lists(targets: NDArray[np.int32], signs: FloatArray, dim: int) -> tuple[Any, Any, Any]:
    """The inputs of every output: ``order``, ``weights`` ``(reps, n)``, ``begins`` ``(reps, dim + 1)``."""
    order = np.argsort(targets, axis=1, kind="stable").astype(np.int32)
    begins = np.zeros((len(targets), dim + 1), np.int32)
    for r, row in enumerate(targets):
        np.cumsum(np.bincount(row, minlength=dim), out=begins[r, 1:])
    weights = np.take_along_axis(signs, order, axis=1).astype(np.float32)
    return cuda.to_device(order), cuda.to_device(begins), cuda.to_device(weights)


def _run(
    values: FloatArray,
    offsets: IntArray,
    planes: FloatArray,
    projections: Sketch | None,
    final: Sketch | None,
    mean: bool,
    fill: bool,
) -> FloatArray:
    check(values, offsets, planes)
    check_finite(values)
    n, (_, d, ksim) = len(offsets) - 1, planes.shape
    reps, n_partitions, dim = encoding_shape(planes, projections, final)
    total = reps * n_partitions * dim
    out = np.zeros((n, total), np.float32)
    if n and len(values):
        find, encode, _ = _kernels()
        columns = np.zeros((d, reps, 8), np.float32)
        columns[:, :, :ksim] = planes.transpose(1, 0, 2)
        tokens = cuda.to_device(np.ascontiguousarray(values))
        signs = cuda.to_device(np.zeros((len(values), reps), np.int32))
        find[len(values), THREADS](tokens, cuda.to_device(columns.reshape(d, -1)), ksim, signs)
        identity = Sketch(np.tile(np.arange(d, dtype=np.int32), (reps, 1)), np.ones((reps, d), np.float32), d)
        chosen = projections or identity
        lists = _lists(chosen.targets, chosen.signs, chosen.dim)
        blocks = cuda.to_device(out.reshape(n, reps, n_partitions, dim))
        bounds = cuda.to_device(np.ascontiguousarray(offsets, np.int64))
        encode[(n, reps), THREADS](tokens, bounds, signs, *lists, ksim, mean, fill, blocks)
        out = blocks.copy_to_host().reshape(n, total)
    return out if final is None else _run_sketch(out, final)


def _run_sketch(rows: FloatArray, final: Sketch) -> FloatArray:
    if len(rows) == 0:
        return np.zeros((0, final.dim), np.float32)
    out = cuda.to_device(np.zeros((len(rows), final.dim), np.float32))
    lists = _lists(final.targets[None], final.signs[None], final.dim)
    _kernels()[2][len(rows), THREADS](cuda.to_device(rows), *lists, out)
    sketched: FloatArray = out.copy_to_host()
    return sketched


def fde_documents(
    values: FloatArray,
    offsets: IntArray,
    planes: FloatArray,
    projections: Sketch | None = None,
    final: Sketch | None = None,
    fill: bool = True,
    threads: int = 1,
) -> FloatArray:
    """See `reference.fde_documents`; float32, the same up to rounding. ``threads`` changes nothing.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, bad offsets or targets.
    """
    return _run(values, offsets, planes, projections, final, True, fill)


def fde_queries(
    values: FloatArray,
    offsets: IntArray,
    planes: FloatArray,
    projections: Sketch | None = None,
    final: Sketch | None = None,
    threads: int = 1,
) -> FloatArray:
    """See `reference.fde_queries`; float32, the same up to rounding. ``threads`` changes nothing.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, bad offsets or targets.
    """
    return _run(values, offsets, planes, projections, final, False, False)
