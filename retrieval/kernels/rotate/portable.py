"""Rotation in plain loops, in place; also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["turn", "turn_back"]

_SQRT_HALF = np.float32(0.5**0.5)


@njit(nogil=True, cache=True, error_model="numpy")
def _transform(row, first, size):  # type: ignore[no-untyped-def]
    """Unscaled Walsh-Hadamard transform of ``row[first : first + size]``."""
    step = 1
    while step < size:
        for begin in range(first, first + size, 2 * step):
            for i in range(begin, begin + step):
                a, b = row[i], row[i + step]
                row[i], row[i + step] = a + b, a - b
        step *= 2


@njit(nogil=True, cache=True, error_model="numpy")
def _mix(row):  # type: ignore[no-untyped-def]
    half, other = len(row) // 2, len(row) - len(row) // 2
    for i in range(half):
        a, b = row[i], row[other + i]
        row[i], row[other + i] = (a + b) * _SQRT_HALF, (a - b) * _SQRT_HALF


@njit(nogil=True, cache=True, error_model="numpy")
def _flip(row, signs, first, size, scale):  # type: ignore[no-untyped-def]
    """Signs of all coordinates, and the scale of those in the window."""
    for i in range(len(row)):
        row[i] *= signs[i]
    for i in range(first, first + size):
        row[i] *= scale


@njit(nogil=True, cache=True, error_model="numpy")
def turn(values, signs, size, out):  # type: ignore[no-untyped-def]
    """Rotate ``values`` into ``out``, both ``(n, d)``; ``size`` is that of a window."""
    dim, scale = values.shape[1], np.float32(1 / np.sqrt(size))
    for i in range(len(values)):
        row = out[i]
        row[:] = values[i]
        for index in range(len(signs)):
            first = (dim - size) * (index % 2)
            if index > 0 and index % 2 == 0 and size != dim:
                _mix(row)
            _flip(row, signs[index], first, size, scale)
            _transform(row, first, size)


@njit(nogil=True, cache=True, error_model="numpy")
def turn_back(values, signs, size, out):  # type: ignore[no-untyped-def]
    """The inverse of `turn`."""
    dim, scale = values.shape[1], np.float32(1 / np.sqrt(size))
    for i in range(len(values)):
        row = out[i]
        row[:] = values[i]
        for index in range(len(signs) - 1, -1, -1):
            first = (dim - size) * (index % 2)
            _transform(row, first, size)
            _flip(row, signs[index], first, size, scale)
            if index > 0 and index % 2 == 0 and size != dim:
                _mix(row)
