"""Trained arrays as a codec takes them: of the right type and shape, and finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.quantize.base import Arrays

__all__ = ["check_dim", "given", "stored"]

Shape = tuple[int | None, ...]


def stored(arrays: Arrays, name: str, dtype: Any, shape: Shape) -> NDArray[Any]:
    """One array of a codec's state; None in ``shape`` is any length from 1 on.

    Raises:
        IndexDamagedError: it is missing, of another type or shape, or not finite.
    """
    if name not in arrays:
        raise IndexDamagedError(f"the codec's array {name!r} is missing; restore the index from a copy")
    array = np.asarray(arrays[name])
    wrong = _wrong(array, np.dtype(dtype), shape)
    if wrong is not None:
        raise IndexDamagedError(f"the codec's array {name!r} {wrong}; restore the index from a copy")
    return np.require(array, dtype, ["C", "A"])


def given(array: Any, name: str, dtype: Any, shape: Shape) -> NDArray[Any]:
    """One array that was trained elsewhere, converted to ``dtype``.

    Raises:
        ConfigError: it is of another shape, not numbers, or not finite.
    """
    converted = np.asarray(array)
    if converted.dtype.kind not in "fiu":
        raise ConfigError(f"{name} is of type {converted.dtype}: give numbers")
    with np.errstate(over="ignore"):  # what overflows is found to be infinite
        converted = np.require(converted, dtype, ["C", "A"])
    wrong = _wrong(converted, np.dtype(dtype), shape)
    if wrong is not None:
        raise ConfigError(f"{name} {wrong}")
    return converted


def _wrong(array: NDArray[Any], dtype: np.dtype[Any], shape: Shape) -> str | None:
    """What is wrong with it, if anything."""
    fits = array.ndim == len(shape) and all(
        have == want if want is not None else have > 0 for have, want in zip(array.shape, shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        expected = ", ".join("any" if each is None else str(each) for each in shape)
        return f"is {array.dtype}{array.shape}, not {dtype}({expected})"
    if dtype.kind == "f" and not np.isfinite(array).all():
        return "has a number that is not finite"
    return None


def check_dim(values: NDArray[Any], dim: int) -> None:
    """Refuse vectors of another dimension than the codec's.

    Raises:
        ValueError: not ``(n, dim)``.
    """
    if values.ndim != 2 or values.shape[1] != dim:
        raise ValueError(f"values are {values.shape}: the codec takes (n, {dim})")
