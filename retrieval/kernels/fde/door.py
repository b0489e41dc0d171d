"""What every backend of the encoding refuses."""

from __future__ import annotations

import numpy as np

from retrieval.kernels.fde.reference import Sketch
from retrieval.types import FloatArray, IntArray

__all__ = ["check", "check_finite", "encoding_shape"]


def check(values: FloatArray, offsets: IntArray, planes: FloatArray) -> None:
    """Raise `ValueError` unless tokens, offsets and hyperplanes fit together."""
    if values.dtype != np.float32 or values.ndim != 2:
        raise ValueError(f"values must be float32 (n_tokens, d), got {values.dtype} {values.shape}")
    if planes.dtype != np.float32 or planes.ndim != 3 or planes.shape[1] != values.shape[1]:
        raise ValueError(f"planes must be float32 (reps, {values.shape[1]}, ksim), got {planes.shape}")
    if planes.shape[2] > 8:
        raise ValueError(f"ksim={planes.shape[2]} must be at most 8")
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        raise ValueError(f"offsets must be (n + 1,) integers, got {offsets.dtype} {offsets.shape}")
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the {len(values)} tokens")


def check_finite(block: FloatArray) -> None:
    """Raise `ValueError` at NaN or infinity. Blocks of a large array are checked one by one."""
    if not np.isfinite(block).all():
        raise ValueError("values have NaN or infinity")


def _check_sketch(sketch: Sketch | None, name: str, shape: tuple[int, ...]) -> None:
    if sketch is None:
        return
    if sketch.targets.shape != shape or sketch.signs.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {sketch.targets.shape}, {sketch.signs.shape}")
    if sketch.targets.size and not (sketch.targets.min() >= 0 and sketch.targets.max() < sketch.dim):
        raise ValueError(f"{name} has targets outside 0..{sketch.dim - 1}")


def encoding_shape(
    planes: FloatArray, projections: Sketch | None, final: Sketch | None
) -> tuple[int, int, int]:
    """``(reps, partitions, dim)`` of an encoding before its final sketch.

    Raises:
        ValueError: a sketch of another shape, or with targets outside its dimension.
    """
    reps, d, ksim = planes.shape
    _check_sketch(projections, "projections", (reps, d))
    dim = projections.dim if projections else d
    _check_sketch(final, "final", (reps * 2**ksim * dim,))
    return reps, 2**ksim, dim
