"""A document's inverse norms, as the vector kernels take them: floats, or 15-bit fractions."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd.arithmetic import (
    as_i32,
    bit_and,
    largest_i32,
    maximum_i32,
    multiply,
    splat_f32,
    splat_i32,
    zero_i32,
)
from retrieval.kernels.simd.integers import round_i32
from retrieval.kernels.simd.memory import load_f32, store_f32
from retrieval.kernels.simd.partial import load_part_f32, store_i32_as_i16

__all__ = ["NOT_FINITE", "TINY", "as_floats", "as_fractions"]

NOT_FINITE = 0x7F800000
"""Bits from which on an unsigned float is infinite or NaN."""
TINY = 1e-30
"""Norms of no more are taken for 0: their reciprocal need not be a float."""
_WITHOUT_SIGN = 0x7FFFFFFF


@njit(nogil=True, error_model="numpy", _nrt=False)
def as_floats(inv_norms, start, stop, floats):  # type: ignore[no-untyped-def]
    """Write the norms of a run to ``floats`` (whole vectors), widened from float16 if need be.

    Returns the bits of the largest absolute value.
    """
    top = zero_i32()
    for t in range(start, stop, 16):
        norms = load_part_f32(inv_norms, t, stop - t)
        store_f32(floats, t - start, norms)
        top = maximum_i32(top, bit_and(as_i32(norms), splat_i32(_WITHOUT_SIGN)))
    return largest_i32(top)


@njit(nogil=True, error_model="numpy", _nrt=False)
def as_fractions(floats, length, bits, fractions):  # type: ignore[no-untyped-def]
    """Write ``floats`` to int16 so that the largest, of these ``bits``, is 32767."""
    largest = np.int32(bits).view(np.float32)
    scale = splat_f32(np.float32(32767) / largest if largest > TINY else np.float32(0))
    for i in range(0, length, 16):
        store_i32_as_i16(fractions, i, round_i32(multiply(load_f32(floats, i), scale)))
    return largest
