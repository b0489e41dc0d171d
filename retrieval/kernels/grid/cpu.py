"""Vectors to grid points on the processor, in loops that LLVM vectorises; they also run as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.grid.reference import BEST_STEP, BITS, COARSE, FINE, REACH, TINY
from retrieval.types import FloatArray

__all__ = ["grid_codes", "grid_scales"]

_LOW, _HIGH = REACH
_TINY = np.float32(TINY)
_HALF, _ONE = np.float32(0.5), np.float32(1)
# Sums in any order and products fused with them, or LLVM would add one number at a time.
_SUMMING: Any = {"reassoc", "contract", "nsz"}


def grid_codes(
    values: FloatArray, bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """See `retrieval.kernels.grid.reference.grid_codes`; the same up to rounding, which may choose another
    of two factors that are as good.

    Raises:
        ValueError: values of another type or shape, or not finite; another number of bits.
    """
    if bits not in BITS:
        raise ValueError(f"bits={bits}: there are {BITS}")
    if values.ndim != 2 or values.dtype != np.float32 or values.shape[1] < 1:
        raise ValueError(f"values: {values.dtype}{values.shape}, not float32(n, d)")
    n, dim = values.shape
    codes = np.zeros((n, -(-dim * bits // 8)), np.uint8)
    scales, errors = np.empty(n, np.float32), np.empty(n, np.float32)
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    wrong = _encode(view, bits, np.float32(1 / BEST_STEP.get(bits, 1.0)), codes, scales, errors)
    if wrong >= 0:
        raise ValueError(f"vector {wrong} has a number that is not finite, or a length that is too large")
    return codes, scales, errors


def grid_scales(values: FloatArray, codes: NDArray[np.uint8], bits: int, kept: int) -> NDArray[np.float32]:
    """See `retrieval.kernels.grid.reference.grid_scales`; the same up to rounding.

    Raises:
        ValueError: arrays of another type or shape; values that are not finite, or not those of the
            codes; other numbers of bits.
    """
    if bits not in BITS or kept not in BITS or kept >= bits:
        raise ValueError(f"bits={bits}, kept={kept}: there are {BITS}, and fewer are kept")
    if values.ndim != 2 or values.dtype != np.float32 or values.shape[1] < 1:
        raise ValueError(f"values: {values.dtype}{values.shape}, not float32(n, d)")
    n, dim = values.shape
    if codes.dtype != np.uint8 or codes.shape != (n, -(-dim * bits // 8)):
        raise ValueError(f"codes: {codes.dtype}{codes.shape}, not uint8{(n, -(-dim * bits // 8))}")
    scales = np.empty(n, np.float32)
    _scale(plain(values), plain(codes), bits, kept, scales)
    wrong = np.flatnonzero(~np.isfinite(scales))
    if len(wrong):
        raise ValueError(f"vector {wrong[0]} has no scale: it is not finite, too long, or not the code's")
    return scales


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMMING)
def _scale(values, codes, bits, kept, scales):  # type: ignore[no-untyped-def]
    """`grid_scales` into ``scales``, not finite where there is none."""
    parts, drop, mask = 8 // bits, np.uint8(bits - kept), np.uint8((1 << bits) - 1)
    levels, centre = np.empty(values.shape[1] + 8, np.float32), np.float32(0.5 * ((1 << kept) - 1))
    for i in range(len(values)):
        x, code = values[i], codes[i]
        for p in range(parts):
            for j in range((len(x) - p + parts - 1) // parts):
                level = ((code[j] >> np.uint8(p * bits)) & mask) >> drop
                levels[j * parts + p] = np.float32(level) - centre
        squares, along, largest = np.float64(0), np.float64(0), np.float32(0)
        for j in range(len(x)):
            wide = np.float64(x[j])
            squares += wide * wide
            along += wide * np.float64(levels[j])
            largest = max(largest, abs(x[j]))
        scales[i] = 0.0 if largest < _TINY and squares < 1 else squares / along  # squares may be NaN


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMMING)
def _sums(y, t, half):  # type: ignore[no-untyped-def]
    """``<v, v>``, ``<v, e>`` and ``<e, e>`` of ``v = t y`` and what rounding it to the grid adds."""
    squares, inner, loss = np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(y)):
        v = y[j] * t
        e = np.float32(min(np.int32(v), half)) + _HALF - v
        squares += v * v
        inner += v * e
        loss += e * e
    return squares, inner, loss


@njit(nogil=True, cache=True, error_model="numpy")
def _sin2(y, t, half):  # type: ignore[no-untyped-def]
    squares, inner, loss = _sums(y, t, half)
    return (loss - inner * inner / squares) / (squares + inner + inner + loss)


@njit(nogil=True, cache=True, error_model="numpy")
def _best_factor(y, half, gaussian, mean_square):  # type: ignore[no-untyped-def]
    """The factor of the least angle, the first of equal ones."""
    ideal, edge = gaussian / np.sqrt(mean_square), np.float64(half + 1)
    low = np.float32(_LOW * min(ideal, edge))
    step = np.float32((_HIGH * max(ideal, edge) - low) / (COARSE - 1))
    best, least = low, _sin2(y, low, half)
    for i in range(1, COARSE):
        t = low + step * np.float32(i)
        found = _sin2(y, t, half)
        if found < least:
            best, least = t, found
    middle = best
    for i in range(1, 2 * FINE, 2):
        t = middle + step * (np.float32(i) / np.float32(FINE) - _ONE)
        found = _sin2(y, t, half)
        if found < least:
            best, least = t, found
    return best


@njit(nogil=True, cache=True, error_model="numpy")
def _shrink(x, y):  # type: ignore[no-untyped-def]
    """``|x| / max |x|`` into ``y``: ``(max |x|, mean of y**2)``; the maximum is not finite if x is not."""
    largest, wrong = np.float32(0), np.int32(0)
    for j in range(len(x)):
        size = abs(x[j])
        y[j] = size
        wrong |= np.int32(not size < np.inf)
        largest = max(largest, size)
    if wrong:
        return np.float32(np.inf), np.float64(0)
    if largest < _TINY:
        return np.float32(0), np.float64(0)
    inverse = _ONE / largest
    for j in range(len(y)):
        y[j] *= inverse
    squares, _, _ = _sums(y, _ONE, np.int32(0))
    return largest, np.float64(squares) / len(y)


@njit(nogil=True, cache=True, error_model="numpy")
def _pack(levels, bits, row):  # type: ignore[no-untyped-def]
    """Levels, as many as fill the bytes of ``row``, at their bits."""
    if bits == 8:
        for j in range(len(row)):
            row[j] = levels[j]
    elif bits == 4:
        for j in range(len(row)):
            row[j] = levels[2 * j] | levels[2 * j + 1] << 4
    elif bits == 2:
        for j in range(len(row)):
            i = 4 * j
            row[j] = levels[i] | levels[i + 1] << 2 | levels[i + 2] << 4 | levels[i + 3] << 6
    else:
        for j in range(len(row)):
            i = 8 * j
            low = levels[i] | levels[i + 1] << 1 | levels[i + 2] << 2 | levels[i + 3] << 3
            high = levels[i + 4] << 4 | levels[i + 5] << 5 | levels[i + 6] << 6 | levels[i + 7] << 7
            row[j] = low | high


@njit(nogil=True, cache=True, error_model="numpy")
def _choose(x, y, t, half, levels):  # type: ignore[no-untyped-def]
    """The level of each coordinate: from ``half + 1`` up where x is not negative, else from ``half`` down."""
    for j in range(len(x)):
        step = min(np.int32(y[j] * t), half)
        levels[j] = np.uint8(half + 1 + step) if x[j] >= 0 else np.uint8(half - step)


@njit(nogil=True, cache=True, error_model="numpy")
def _encode(values, bits, gaussian, codes, scales, errors):  # type: ignore[no-untyped-def]
    """Fill ``codes``, ``scales`` and ``errors``; the first vector that cannot be coded, or -1."""
    n, dim = values.shape
    half = np.int32((1 << (bits - 1)) - 1)  # the highest step
    y, levels = np.empty(dim, np.float32), np.zeros(codes.shape[1] * 8 // bits, np.uint8)
    for i in range(n):
        x = values[i]
        largest, mean_square = _shrink(x, y)
        if not largest < np.inf:
            return i
        if largest == 0:
            levels[:dim] = half + 1
            scales[i], errors[i] = 0, 0
            _pack(levels, bits, codes[i])
            continue
        t = _ONE
        if bits > 1:
            t = _best_factor(y, half, gaussian, mean_square)
        _choose(x, y, t, half, levels)
        _pack(levels, bits, codes[i])
        squares, inner, loss = _sums(y, t, half)
        along = np.float64(squares) + inner
        scale = largest * (np.float64(squares) / t) / along
        spread = max(np.float64(squares) * loss - np.float64(inner) * inner, 0.0) / (along * along)
        error = largest * np.sqrt(squares) / t * np.sqrt(spread / max(dim - 1, 1))
        scales[i], errors[i] = scale, error
        if not (np.isfinite(scales[i]) and np.isfinite(errors[i])):
            return i
    return -1
