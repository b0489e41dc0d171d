"""What MaxSim is given, checked at the door: kernels read wherever offsets and ordinals point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["check_documents", "check_float_query", "check_i8_query"]

_LARGEST_INT32 = 2**31 - 1


def check_float_query(query: FloatArray) -> FloatArray:
    """The query, contiguous.

    Raises:
        ValueError: not ``(n_q, d)`` float32 with ``d`` >= 1, or not finite.
    """
    _check_matrix("query", query, ("float32",))
    if not np.isfinite(query).all():
        raise ValueError("query holds NaN or infinite numbers")
    return np.ascontiguousarray(query)


def check_i8_query(query: NDArray[np.int8]) -> NDArray[np.int8]:
    """The query, contiguous.

    Raises:
        ValueError: not ``(n_q, d)`` int8 with ``d`` >= 1, or so large that a score may leave int32.
    """
    _check_matrix("query_i8", query, ("int8",))
    largest = 128 * 128 * query.size
    if largest > _LARGEST_INT32:  # as small queries are not, whatever they hold
        largest = 128 * int(np.abs(query.astype(np.int64)).sum())
    if largest > _LARGEST_INT32:
        raise ValueError(
            f"query_i8 of shape {query.shape} can score up to {largest}, more than int32 holds: "
            f"quantise it to smaller numbers or split its tokens"
        )
    return np.ascontiguousarray(query)


def check_documents(
    values: NDArray[Any], dtypes: tuple[str, ...], dim: int, offsets: IntArray, ordinals: IntArray | None
) -> tuple[IntArray, IntArray, int]:
    """``(offsets, ordinals, n)``: as kernels read them (no ordinals: all), and how many are scored.

    Raises:
        ValueError: a shape, dtype, order or range that a kernel cannot take.
    """
    _check_matrix("values", values, dtypes)
    if values.shape[1] != dim:
        raise ValueError(f"values have {values.shape[1]} dimensions, the query {dim}")
    if not values.flags["C_CONTIGUOUS"]:  # arrays on a device have this too
        raise ValueError(f"values of shape {values.shape} must be C-contiguous")
    _check_vector("offsets", offsets)
    if not len(offsets):
        raise ValueError("offsets must hold at least one number")
    _check_ranges(offsets, ordinals, len(values))
    if ordinals is None:
        return _readable(offsets), _readable(np.empty(0, dtype=np.int64)), len(offsets) - 1
    return _readable(offsets), _readable(ordinals), len(ordinals)


def _check_matrix(name: str, array: NDArray[Any], dtypes: tuple[str, ...]) -> None:
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"{name} must be (rows, d) with d >= 1, not of shape {array.shape}")
    if array.dtype.name not in dtypes:
        raise ValueError(f"{name} must be {' or '.join(dtypes)}, not {array.dtype}")


def _check_vector(name: str, array: IntArray) -> None:
    if array.ndim != 1 or array.dtype != np.int64:
        raise ValueError(f"{name} must be a vector of int64, not {array.dtype} of shape {array.shape}")


def _check_ranges(offsets: IntArray, ordinals: IntArray | None, n_tokens: int) -> None:
    """Each chosen document lies within the values."""
    n = len(offsets) - 1
    if ordinals is None:
        wrong = offsets[1:] < offsets[:-1]
        if offsets[0] < 0 or offsets[-1] > n_tokens or wrong.any():
            raise ValueError(f"offsets must grow from 0 at least to {n_tokens} tokens at most")
        return
    _check_vector("ordinals", ordinals)
    outside = (ordinals < 0) | (ordinals >= n)
    if outside.any():
        raise ValueError(f"ordinal {ordinals[outside.argmax()]} is not one of {n} documents")
    starts, stops = offsets[ordinals], offsets[ordinals + 1]
    wrong = (starts < 0) | (stops < starts) | (stops > n_tokens)
    if wrong.any():
        i = wrong.argmax()
        raise ValueError(f"offsets {starts[i]}:{stops[i]} are no range of {n_tokens} tokens")


def _readable(array: IntArray) -> IntArray:
    """Contiguous, aligned and read-only, whatever it was: kernels are compiled for each kind they meet."""
    view = np.require(array, requirements=["C", "A"]).view(np.ndarray)
    view.flags.writeable = False
    return view
