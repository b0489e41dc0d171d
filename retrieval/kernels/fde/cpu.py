"""MUVERA encodings: signs and projections by one matrix product, partitions by a Numba loop."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.blocks import one_blas_thread, over_blocks
from retrieval.kernels.fde.door import check, check_finite, encoding_shape
from retrieval.kernels.fde.reference import Matrices, Sketch, draw_matrices
from retrieval.types import FloatArray, IntArray

__all__ = ["Matrices", "Sketch", "draw_matrices", "fde_documents", "fde_queries"]

FAR = 2**14  # further than any pattern: no key yet


@cache
def _pattern_distances(ksim: int) -> NDArray[np.int16]:
    """256 times the signs that differ between partitions, ``(2**ksim, 2**ksim)``."""
    ids = np.arange(2**ksim)
    patterns = ids ^ (ids >> 1)
    bits = patterns[:, None] >> np.arange(ksim) & 1
    return plain((bits[:, None] != bits[None]).sum(axis=2, dtype=np.int16) * np.int16(256))


@njit(nogil=True, cache=True, error_model="numpy")
def _weights(planes: Any, targets: Any, signs: Any, dim: int) -> Any:
    """Hyperplanes and projections of all repetitions as one matrix ``(d, reps * (ksim + dim))``."""
    reps, d, ksim = planes.shape
    weights = np.zeros((d, reps * (ksim + dim)), np.float32)
    for r in range(reps):
        for j in range(d):
            for i in range(ksim):
                weights[j, r * ksim + i] = planes[r, j, i]
            if dim:
                weights[j, reps * ksim + r * dim + targets[r, j]] = signs[r, j]
    return weights


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _partition(products: Any, token: int, first: int, ksim: int) -> Any:
    """Gray-coded partition id of one token: the signs of ``ksim`` products from column ``first`` on."""
    partition: Any = 0
    for i in range(first, first + ksim):
        bit = np.int64(products[token, i] > 0)
        partition = 2 * partition + (bit ^ (partition & 1))
    return partition


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _come_nearer(keys: Any, distances: Any, p: int, rank: int) -> None:
    """Offer partition ``p``, the ``rank``-th that has a token, to all: keys are distance * 256 + rank."""
    for q in range(len(keys)):
        key = np.int16(distances[p, q] + np.int16(rank))
        keys[q] = key if key < keys[q] else keys[q]


@njit(nogil=True, cache=True, error_model="numpy")
def _accumulate(
    products: Any,
    points: Any,
    tokens: Any,
    columns: Any,
    distances: Any,
    mean: bool,
    block: Any,
    scratch: Any,
) -> None:
    """One document and repetition: a range of tokens to ``block`` ``(partitions, dim)``.

    ``columns``: where in ``products`` the signs begin and how many there are, where in ``points``
    the point begins, and its dimension. ``distances`` empty: nothing is filled.
    """
    counts, keys, first = scratch
    sign_at, ksim, begin, dim = columns
    # Unsigned, so that no index counts from the end, and copying a point is one run.
    begin, dim = np.uint64(begin), np.uint64(dim)
    fill, seen = len(distances) > 0, 0
    counts[:] = 0
    keys[:] = FAR
    if not fill:
        block[:] = 0
    for token in range(tokens[0], tokens[1]):
        p = _partition(products, token, sign_at, ksim)
        counts[p] += 1
        if counts[p] > 1:
            for j in range(dim):
                block[p, j] += points[token, begin + j]
            continue
        for j in range(dim):
            block[p, j] = points[token, begin + j]
        if fill:
            _come_nearer(keys, distances, p, seen)
            first[seen] = token
            seen += 1
    for p in range(len(counts)):
        if mean and counts[p] > 1:
            for j in range(dim):
                block[p, j] /= np.float32(counts[p])
        elif counts[p] == 0 and fill:
            token = first[keys[p] & 255]
            for j in range(dim):
                block[p, j] = points[token, begin + j]


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_documents(
    products: Any,
    points: Any,
    offsets: Any,
    distances: Any,
    mean: bool,
    targets: Any,
    signs: Any,
    shape: Any,
    out: Any,
) -> None:
    """Documents of a block to rows of ``out``, through the final sketch if ``targets`` has any.

    ``products`` ``(n_tokens, reps * ksim and more)``; ``points`` are its other columns, or the tokens.
    """
    reps, ksim, dim = shape
    base = offsets[0]
    scratch = np.empty(1 << ksim, np.int64), np.empty(1 << ksim, np.int16), np.empty(1 << ksim, np.int64)
    projected, flat = products.shape[1] > reps * ksim, np.empty(reps * dim << ksim, np.float32)
    blocks = flat.reshape(reps, 1 << ksim, dim)
    for i in range(len(offsets) - 1):
        tokens = offsets[i] - base, offsets[i + 1] - base
        if tokens[0] == tokens[1] or len(targets) > 0:
            out[i] = 0
        if tokens[0] == tokens[1]:
            continue
        for r in range(reps):
            at = reps * ksim + r * dim if projected else 0
            columns = r * ksim, ksim, at, dim
            _accumulate(products, points, tokens, columns, distances, mean, blocks[r], scratch)
        if len(targets) == 0:
            out[i] = flat
        for j in range(len(targets)):
            out[i, targets[j]] += signs[j] * flat[j]


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
    reps, n_partitions, dim = encoding_shape(planes, projections, final)
    ksim = planes.shape[2]
    weights = _weights(plain(planes), *_as_sketch(projections, 2), dim if projections else 0)
    distances = _pattern_distances(ksim)[: n_partitions if fill else 0]
    sketch = _as_sketch(final, 1)
    out = np.empty((len(offsets) - 1, final.dim if final else reps * n_partitions * dim), np.float32)

    def work(begin: int, end: int) -> None:
        tokens = plain(values[offsets[begin] : offsets[end]])
        check_finite(tokens)
        products = plain(tokens @ weights)
        points = products if projections else tokens
        rows = np.ascontiguousarray(offsets[begin : end + 1], np.int64)
        shape = reps, ksim, dim
        _encode_documents(products, points, rows, distances, mean, *sketch, shape, out[begin:end])

    # One text a block: BLAS has other loops for other shapes, and a sign lost to rounding is another
    # partition. So an encoding is a function of its text, whatever is encoded with it.
    over_blocks(work, len(out), 1, threads)
    return out


def _as_sketch(sketch: Sketch | None, ndim: int) -> tuple[IntArray, FloatArray]:
    """Targets and signs as compiled code takes them; empty ones for no sketch."""
    if sketch is None:
        shape = (0,) * ndim
        return plain(np.empty(shape, np.int64)), plain(np.empty(shape, np.float32))
    return plain(sketch.targets, np.int64), plain(sketch.signs, np.float32)


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
