"""One token in float64 with AVX-512, dimensions in a fixed order: what it is and its inner products."""
# Numba matches a choice with its function by the arguments' names, used or not.
# ruff: noqa: ARG001, ARG005, PLW0108

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd.doubles import fma_f64, load_f64, store_widened, sum_f64, zero_f64

__all__ = ["STEP", "decode", "product"]

STEP = 32
"""Dimensions of a step in float64: four sums."""
# Float32 of (byte + 0.5) / 255, the nearest: by two multiplications for the quotient, exact for all 256.
_HIGH, _LOW = np.float32(1 / 255), np.float32(1 / 255 - float(np.float32(1 / 255)))


def _sixteen(values: Any, at: Any, span: Any, low: Any, j: Any) -> Any:
    """What sixteen elements from ``at`` on stand for; they are dimensions from ``j`` on."""
    raise NotImplementedError


@inner
def _calibrated(values, at, span, low, j):  # type: ignore[no-untyped-def]
    x = v.add(v.to_f32(mem.load_u8_as_i32(values, at)), v.splat_f32(np.float32(0.5)))
    level = v.fma(x, v.splat_f32(_HIGH), v.multiply(x, v.splat_f32(_LOW)))
    return v.add(v.multiply(level, mem.load_f32(span, j)), mem.load_f32(low, j))


@overload(_sixteen, strict=False)
def _choose_sixteen(values: Any, at: Any, span: Any, low: Any, j: Any) -> Callable[..., Any]:
    if values.dtype == types.float32:
        return lambda values, at, span, low, j: mem.load_f32(values, at)
    if values.dtype == types.uint16:
        return lambda values, at, span, low, j: mem.load_f16(values, at)
    return lambda values, at, span, low, j: _calibrated(values, at, span, low, j)


@inner
def decode(values, row, dim, span, low, wide):  # type: ignore[no-untyped-def]
    """A token as float64 to ``wide``; the last sixteen step back."""
    for i in range(0, dim, 16):
        j = min(i, dim - 16)
        store_widened(wide, j, _sixteen(values, row * dim + j, span, low, j))


@inner
def product(asked, q, width, wide):  # type: ignore[no-untyped-def]
    """Query token ``q`` times the decoded token; both end in zeros."""
    a, b, c, d = zero_f64(), zero_f64(), zero_f64(), zero_f64()
    at = q * width
    for j in range(0, width, STEP):
        a = fma_f64(load_f64(asked, at + j), load_f64(wide, j), a)
        b = fma_f64(load_f64(asked, at + j + 8), load_f64(wide, j + 8), b)
        c = fma_f64(load_f64(asked, at + j + 16), load_f64(wide, j + 16), c)
        d = fma_f64(load_f64(asked, at + j + 24), load_f64(wide, j + 24), d)
    return sum_f64(v.add(v.add(a, b), v.add(c, d)))
