"""MUVERA's fixed-dimensional encodings in plain NumPy, from first principles.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings" (NeurIPS 2024),
as the authors' C++ defines them. For every repetition, ``ksim`` hyperplanes cut the space into
``2 ** ksim`` partitions. A query's block of numbers for a partition is the sum of its tokens there, a
document's the mean; the inner product of the two approximates MaxSim. A document's empty partition
takes the token whose signs are nearest to the partition's; a query's stays zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Matrices", "Sketch", "draw_matrices", "fde_documents", "fde_queries", "sketched"]

FloatAny = NDArray[np.floating[Any]]


class Sketch(NamedTuple):
    """A linear map with one nonzero of +-1 for each input number: ``out[targets[i]] += signs[i] * x[i]``.

    ``targets`` (integers below ``dim``) and ``signs`` (1 or -1) have one shape: ``(reps, d)`` for the
    AMS projections of all repetitions, ``(total,)`` for the final count sketch.
    """

    targets: NDArray[np.int32]
    signs: NDArray[np.float32]
    dim: int


class Matrices(NamedTuple):
    """Everything that is drawn: both sides must be encoded with the same. A codec stores it."""

    planes: NDArray[np.float32]
    projections: Sketch | None
    final: Sketch | None


def draw_matrices(
    d: int, reps: int, ksim: int, proj_dim: int | None, final_dim: int | None, seed: int
) -> Matrices:
    """Draw Gaussian hyperplanes ``(reps, d, ksim)``, AMS projections and a count sketch.

    ``proj_dim`` or ``final_dim`` None: no such map. Equal arguments give equal matrices.

    Raises:
        ValueError: a dimension below 1, or ``ksim`` outside 0..8.
    """
    sizes = {"d": d, "reps": reps, "proj_dim": proj_dim, "final_dim": final_dim}
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name}={size} must be at least 1")
    if not 0 <= ksim <= 8:
        raise ValueError(f"ksim={ksim} must be from 0 to 8")
    rng = np.random.default_rng(seed)
    planes = rng.standard_normal((reps, d, ksim)).astype(np.float32)
    projections = None if proj_dim is None else _draw_sketch(rng, (reps, d), proj_dim)
    total = reps * 2**ksim * (proj_dim or d)
    final = None if final_dim is None else _draw_sketch(rng, (total,), final_dim)
    return Matrices(planes, projections, final)


def _draw_sketch(rng: np.random.Generator, shape: tuple[int, ...], dim: int) -> Sketch:
    targets = rng.integers(0, dim, shape, dtype=np.int32)
    return Sketch(targets, rng.choice(np.array([-1, 1], np.float32), shape), dim)


def sketched(x: FloatAny, targets: NDArray[Any], signs: NDArray[Any], dim: int) -> FloatAny:
    """Apply one sketch to the last axis of ``x``."""
    out = np.zeros((dim, *x.shape[:-1]), x.dtype)
    np.add.at(out, targets, np.moveaxis(x * signs.astype(x.dtype), -1, 0))
    return np.moveaxis(out, 0, -1)


def partitions(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Signs ``(n, ksim)`` to partition ids ``(n,)``, Gray-coded: ``id <- 2 id + (bit XOR (id AND 1))``."""
    ids = np.zeros(len(bits), np.int64)
    for column in bits.T:
        ids = 2 * ids + (column ^ (ids & 1))
    return ids


def fde_documents(
    values: FloatAny,
    offsets: NDArray[np.int64],
    planes: FloatAny,
    projections: Sketch | None = None,
    final: Sketch | None = None,
    fill: bool = True,
    threads: int = 1,
) -> FloatAny:
    """Encode ragged documents: the mean of each partition.

    ``values`` ``(n_tokens, d)``, ``offsets`` ``(n + 1,)``, ``planes`` ``(reps, d, ksim)``. Returns
    ``(n, reps * 2**ksim * proj_dim)`` in the type of ``values`` (``proj_dim`` is ``d`` without
    ``projections``), or ``(n, final_dim)`` with a ``final`` sketch. With ``fill``, an empty partition
    ``p`` takes the token whose signs differ least from the bits of ``p XOR (p >> 1)``, the first of
    equal ones. A document without tokens is zeros. ``threads`` changes nothing here.
    """
    return _encode(values, offsets, planes, projections, final, mean=True, fill=fill)


def fde_queries(
    values: FloatAny,
    offsets: NDArray[np.int64],
    planes: FloatAny,
    projections: Sketch | None = None,
    final: Sketch | None = None,
    threads: int = 1,
) -> FloatAny:
    """Encode ragged queries: the sum of each partition, empty ones zero. See `fde_documents`."""
    return _encode(values, offsets, planes, projections, final, mean=False, fill=False)


def _encode(
    values: FloatAny,
    offsets: NDArray[np.int64],
    planes: FloatAny,
    projections: Sketch | None,
    final: Sketch | None,
    mean: bool,
    fill: bool,
) -> FloatAny:
    n, (reps, d, ksim) = len(offsets) - 1, planes.shape
    out = np.zeros((n, reps, 2**ksim, projections.dim if projections else d), values.dtype)
    for i in range(n):
        tokens = values[offsets[i] : offsets[i + 1]]
        for r in range(reps if len(tokens) else 0):
            bits = tokens @ planes[r].astype(values.dtype) > 0
            points = tokens
            if projections is not None:
                points = sketched(tokens, projections.targets[r], projections.signs[r], projections.dim)
            out[i, r] = _aggregate(points, bits, mean, fill)
    flat: FloatAny = out.reshape(n, int(np.prod(out.shape[1:])))
    return flat if final is None else sketched(flat, final.targets, final.signs, final.dim)


def _aggregate(points: FloatAny, bits: NDArray[np.bool_], mean: bool, fill: bool) -> FloatAny:
    """Points ``(n, proj_dim)`` with signs ``(n, ksim)`` to ``(2**ksim, proj_dim)``."""
    ksim, ids = bits.shape[1], partitions(bits)
    block = np.zeros((2**ksim, points.shape[1]), points.dtype)
    for p in range(2**ksim):
        inside = points[ids == p]
        if len(inside):
            block[p] = inside.mean(axis=0) if mean else inside.sum(axis=0)
        elif fill:
            pattern = p ^ (p >> 1)
            wanted = np.array([pattern >> (ksim - 1 - i) & 1 for i in range(ksim)], np.bool_)
            block[p] = points[(bits != wanted).sum(axis=1).argmin()]
    return block
