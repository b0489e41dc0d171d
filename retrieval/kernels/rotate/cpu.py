"""Random rotations on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import picks_bytes, simd_level
from retrieval.types import FloatArray

__all__ = ["rotate", "unrotate"]


@cache
def _kernels() -> Any:
    """The module of this machine's kernels. Those of vectors are written in LLVM's own operations."""
    if simd_level() == "avx512" or picks_bytes():
        from retrieval.kernels.rotate import vectors

        return vectors
    from retrieval.kernels.rotate import portable

    return portable


def rotate(values: FloatArray, signs: NDArray[np.int8]) -> FloatArray:
    """See `retrieval.kernels.rotate.reference.rotate`; the same up to rounding."""
    values, signs, size, out = _prepare(values, signs)
    _kernels().turn(values, signs, size, out)
    return out


def unrotate(values: FloatArray, signs: NDArray[np.int8]) -> FloatArray:
    """See `retrieval.kernels.rotate.reference.unrotate`; the same up to rounding."""
    values, signs, size, out = _prepare(values, signs)
    _kernels().turn_back(values, signs, size, out)
    return out


def _prepare(
    values: FloatArray, signs: NDArray[np.int8]
) -> tuple[FloatArray, NDArray[np.int8], int, FloatArray]:
    """What the kernels take: one kind of array, the size of a window, and room."""
    if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] < 1:
        raise ValueError(f"values: {values.dtype}{values.shape}, not float32(n, d)")
    dim = values.shape[1]
    if signs.dtype != np.int8 or signs.ndim != 2 or signs.shape[1] != dim:
        raise ValueError(f"signs: {signs.dtype}{signs.shape}, not int8(rounds, {dim})")
    return _frozen(values), _frozen(signs), 1 << (dim.bit_length() - 1), np.empty(values.shape, np.float32)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous read-only view, so that kernels are compiled for one kind of array."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
