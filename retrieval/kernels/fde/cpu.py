"""MUVERA encodings: signs and projections by one matrix product, partitions by a Numba loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.arrays import plain
from retrieval.kernels.blocks import one_blas_thread, over_blocks
from retrieval.kernels.fde.door import check, check_finite, encoding_shape
from retrieval.kernels.fde.reference import Matrices, Sketch, draw_matrices
from retrieval.types import FloatArray, IntArray

__all__ = ["Matrices", "Sketch", "draw_matrices", "fde_documents", "fde_queries"]

TOKENS = 1024  # of a block: its products stay in the second-level cache
NOBODY = 2**40


@njit(nogil=True, cache=True, error_model="numpy")
def _partition(products: Any, token: int, r: int, ksim: int) -> Any:
    """Gray-coded partition id of one token in one repetition."""
    partition: Any = 0
    for i in range(ksim):
        bit = np.int64(products[token, r * ksim + i] > 0)
        partition = 2 * partition + (bit ^ (partition & 1))
    return partition


@njit(nogil=True, cache=True, error_model="numpy")
def _nearest_tokens(keys: Any, ksim: int) -> None:
    """For every sign pattern the nearest token, the first of equal ones.

    ``keys[bits]`` enters as the first token with these signs and leaves as ``distance * NOBODY +
    token``. The distance falls apart into bits: allowing one more bit to differ at a time reaches
    every pair of patterns.
    """
    for i in range(ksim):
        step = 1 << i
        for bits in range(1 << ksim):
            if bits & step == 0:
                low, high = keys[bits], keys[bits | step]
                keys[bits] = min(low, high + NOBODY)
                keys[bits | step] = min(high, low + NOBODY)


@njit(nogil=True, cache=True, error_model="numpy")
def _accumulate(
    products: Any, points: Any, start: int, stop: int, ksim: int, mean: bool, fill: bool, block: Any
) -> None:
    """One document: tokens ``start:stop`` to ``block`` ``(reps, partitions, dim)``, entering as zeros.

    ``points`` is ``(n_tokens, reps, dim)``, or ``(n_tokens, 1, dim)`` for all repetitions.
    """
    reps, n_partitions, dim = block.shape
    counts, keys = np.empty(n_partitions, np.int64), np.empty(n_partitions, np.int64)
    for r in range(reps):
        of = r if points.shape[1] > 1 else 0
        counts[:] = 0
        keys[:] = 64 * NOBODY
        for token in range(start, stop):
            p = _partition(products, token, r, ksim)
            counts[p] += 1
            keys[p ^ (p >> 1)] = min(keys[p ^ (p >> 1)], token)
            for j in range(dim):
                block[r, p, j] += points[token, of, j]
        if mean:
            for p in range(n_partitions):
                if counts[p] > 1:
                    for j in range(dim):
                        block[r, p, j] /= np.float32(counts[p])
        if fill:
            _nearest_tokens(keys, ksim)
            for p in range(n_partitions):
                if counts[p] == 0:
                    token = keys[p ^ (p >> 1)] % NOBODY
                    for j in range(dim):
                        block[r, p, j] = points[token, of, j]


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_documents(
    products: Any,
    points: Any,
    offsets: Any,
    ksim: int,
    mean: bool,
    fill: bool,
    targets: Any,
    signs: Any,
    shape: Any,
    out: Any,
) -> None:
    """Documents of a block to rows of ``out``, through the final sketch if ``targets`` has any."""
    base = offsets[0]
    block = np.zeros(shape, np.float32)
    flat = block.reshape(-1)
    for i in range(len(offsets) - 1):
        start, stop = offsets[i] - base, offsets[i + 1] - base
        if start == stop:
            continue
        _accumulate(products, points, start, stop, ksim, mean, fill, block)
        if len(targets) == 0:
            out[i] = flat
        else:
            for j in range(len(flat)):
                out[i, targets[j]] += signs[j] * flat[j]
        flat[:] = 0


def _dense_projections(projections: Sketch) -> FloatArray:
    """All repetitions' projections as one matrix ``(d, reps * proj_dim)``."""
    reps, d = projections.targets.shape
    dense = np.zeros((d, reps, projections.dim), np.float32)
    rows, columns = np.arange(d)[None, :], np.arange(reps)[:, None]
    dense[rows, columns, projections.targets] = projections.signs
    return dense.reshape(d, reps * projections.dim)


def _encode(
    values: FloatArray,
    offsets: IntArray,
    planes: FloatArray,
    projections: Sketch | None,
    final: Sketch | None,
    mean: bool,
    fill: bool,
    threads: int,
) -> FloatArray:
    check(values, offsets, planes)
    d, ksim = planes.shape[1:]
    reps, n_partitions, dim = shape = encoding_shape(planes, projections, final)
    total = reps * n_partitions * dim
    none = plain(np.empty(0, np.int64)), plain(np.empty(0, np.float32))
    targets, signs = (plain(final.targets, np.int64), plain(final.signs, np.float32)) if final else none
    hyperplanes = np.ascontiguousarray(planes.transpose(1, 0, 2).reshape(d, reps * ksim))
    dense = _dense_projections(projections) if projections else None
    out = np.zeros((len(offsets) - 1, final.dim if final else total), np.float32)
    bounds = _block_bounds(offsets)

    def work(first: int, _last: int) -> None:
        begin, end = bounds[first], bounds[first + 1]
        tokens = plain(values[offsets[begin] : offsets[end]])
        check_finite(tokens)
        points = tokens if dense is None else plain(tokens @ dense)
        _encode_documents(
            tokens @ hyperplanes,
            points.reshape(len(tokens), 1 if dense is None else reps, dim),
            np.ascontiguousarray(offsets[begin : end + 1], np.int64),
            ksim,
            mean,
            fill,
            targets,
            signs,
            shape,
            out[begin:end],
        )

    over_blocks(work, len(bounds) - 1, 1, threads)
    return out


def _block_bounds(offsets: IntArray) -> list[int]:
    """Documents where blocks begin, and the end: whole documents, about `TOKENS` tokens each."""
    n, bounds = len(offsets) - 1, [0]
    while bounds[-1] < n:
        end = int(np.searchsorted(offsets, offsets[bounds[-1]] + TOKENS, side="right")) - 1
        bounds.append(min(max(end, bounds[-1] + 1), n))
    return bounds


def fde_documents(
    values: FloatArray,
    offsets: IntArray,
    planes: FloatArray,
    projections: Sketch | None = None,
    final: Sketch | None = None,
    fill: bool = True,
    threads: int = 1,
) -> FloatArray:
    """See `retrieval.kernels.fde.reference.fde_documents`; float32, the same up to rounding.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, bad offsets or targets.
    """
    with one_blas_thread():
        return _encode(values, offsets, planes, projections, final, True, fill, threads)


def fde_queries(
    values: FloatArray,
    offsets: IntArray,
    planes: FloatArray,
    projections: Sketch | None = None,
    final: Sketch | None = None,
    threads: int = 1,
) -> FloatArray:
    """See `retrieval.kernels.fde.reference.fde_queries`; float32, the same up to rounding.

    Raises:
        ValueError: shapes or types that do not fit, NaN or infinity, bad offsets or targets.
    """
    return _encode(values, offsets, planes, projections, final, False, False, threads)
