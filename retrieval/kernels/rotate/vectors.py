"""Rotation by vectors of 16 floats, in LLVM's own operations: AVX2's pairs of registers serve as well."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from retrieval.kernels.rotate import portable
from retrieval.kernels.simd.arithmetic import add, multiply, splat_f32, sub
from retrieval.kernels.simd.memory import _make_widening_load, load_f32, store_f32
from retrieval.kernels.simd.types import F32x16, vector_ir

__all__ = ["turn", "turn_back", "turn_long"]

LANES = 16
_SQRT_HALF = np.float32(0.5**0.5)
_load_signs = _make_widening_load(ir.IntType(8), LANES, F32x16, "sitofp")
_inner = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


@intrinsic
def _hadamard16(_context: Any, a: Any) -> Any:
    """The unscaled transform of the lanes of one vector: four times partner plus or minus itself."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind, value = vector_ir(F32x16), args[0]
        fuse = ("contract",)  # a product by 1 or -1 is exact: the same with and without
        for step in (1, 2, 4, 8):
            partners = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [i ^ step for i in range(LANES)])
            signs = ir.Constant(kind, [-1.0 if i & step else 1.0 for i in range(LANES)])
            other = builder.shuffle_vector(value, value, partners)
            value = builder.fadd(builder.fmul(value, signs, flags=fuse), other, flags=fuse)
        return value

    return (F32x16(a), generate) if a == F32x16 else None


@_inner
def _quads(row, first, size, step):  # type: ignore[no-untyped-def]
    """Two levels at once: coordinates ``step`` and ``2 * step`` apart."""
    for begin in range(first, first + size, 4 * step):
        for i in range(begin, begin + step, LANES):
            a, b = load_f32(row, i), load_f32(row, i + step)
            c, d = load_f32(row, i + 2 * step), load_f32(row, i + 3 * step)
            e, f, g, h = add(a, b), sub(a, b), add(c, d), sub(c, d)
            store_f32(row, i, add(e, g))
            store_f32(row, i + step, add(f, h))
            store_f32(row, i + 2 * step, sub(e, g))
            store_f32(row, i + 3 * step, sub(f, h))


@_inner
def _pairs(row, first, size, step):  # type: ignore[no-untyped-def]
    for begin in range(first, first + size, 2 * step):
        for i in range(begin, begin + step, LANES):
            a, b = load_f32(row, i), load_f32(row, i + step)
            store_f32(row, i, add(a, b))
            store_f32(row, i + step, sub(a, b))


@_inner
def _transform(row, first, size):  # type: ignore[no-untyped-def]
    """Unscaled Walsh-Hadamard transform of ``size`` coordinates, 16 or more."""
    for i in range(first, first + size, LANES):
        store_f32(row, i, _hadamard16(load_f32(row, i)))
    step = LANES
    while 4 * step <= size:
        _quads(row, first, size, step)
        step *= 4
    if step < size:
        _pairs(row, first, size, step)


@_inner
def _mix(row, begin, dim):  # type: ignore[no-untyped-def]
    """Coordinates half a vector apart, in pairs."""
    half, other = dim // 2, begin + dim - dim // 2
    whole, scale = half // LANES * LANES, splat_f32(_SQRT_HALF)
    for i in range(0, whole, LANES):
        a, b = load_f32(row, begin + i), load_f32(row, other + i)
        store_f32(row, begin + i, multiply(add(a, b), scale))
        store_f32(row, other + i, multiply(sub(a, b), scale))
    for i in range(whole, half):
        x, y = row[begin + i], row[other + i]
        row[begin + i], row[other + i] = (x + y) * _SQRT_HALF, (x - y) * _SQRT_HALF


@_inner
def _flip_part(source, at, row, begin, signs, flips, count, scale):  # type: ignore[no-untyped-def]
    """``count`` coordinates from ``source[at]`` to ``row[begin]``, times sign and scale."""
    whole, factor = count // LANES * LANES, splat_f32(scale)
    for i in range(0, whole, LANES):
        signed = multiply(_load_signs(signs, flips + i), factor)
        store_f32(row, begin + i, multiply(load_f32(source, at + i), signed))
    for i in range(whole, count):
        row[begin + i] = source[at + i] * (np.float32(signs[flips + i]) * scale)


@_inner
def _flip(source, at, row, begin, signs, index, dim, size):  # type: ignore[no-untyped-def]
    """The signs of a round, and the scale of its window's transform."""
    scale, one, rest = np.float32(1 / np.sqrt(size)), np.float32(1), dim - size
    flips = index * dim
    if index % 2 == 0:
        _flip_part(source, at, row, begin, signs, flips, size, scale)
        _flip_part(source, at + size, row, begin + size, signs, flips + size, rest, one)
    else:
        _flip_part(source, at, row, begin, signs, flips, rest, one)
        _flip_part(source, at + rest, row, begin + rest, signs, flips + rest, size, scale)


@njit(nogil=True, cache=True, error_model="numpy")
def turn_long(values, signs, size, out):  # type: ignore[no-untyped-def]
    """`turn` for windows of 16 and more, and a round or more."""
    (n, dim), rounds = values.shape, len(signs)
    source, row, flat = values.reshape(-1), out.reshape(-1), signs.reshape(-1)
    for begin in range(0, n * dim, dim):
        _flip(source, begin, row, begin, flat, 0, dim, size)
        _transform(row, begin, size)
        for index in range(1, rounds):
            if index % 2 == 0 and size != dim:
                _mix(row, begin, dim)
            _flip(row, begin, row, begin, flat, index, dim, size)
            _transform(row, begin + (dim - size) * (index % 2), size)


@njit(nogil=True, cache=True, error_model="numpy")
def _turn_back(values, signs, size, out):  # type: ignore[no-untyped-def]
    (n, dim), rounds = values.shape, len(signs)
    row, flat = out.reshape(-1), signs.reshape(-1)
    row[:] = values.reshape(-1)
    for begin in range(0, n * dim, dim):
        for index in range(rounds - 1, -1, -1):
            _transform(row, begin + (dim - size) * (index % 2), size)
            _flip(row, begin, row, begin, flat, index, dim, size)
            if index > 0 and index % 2 == 0 and size != dim:
                _mix(row, begin, dim)


def turn(values, signs, size, out):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.rotate.portable.turn`; the same up to rounding."""
    kernel = turn_long if size >= LANES and len(signs) else portable.turn
    kernel(values, signs, size, out)


def turn_back(values, signs, size, out):  # type: ignore[no-untyped-def]
    """See `retrieval.kernels.rotate.portable.turn_back`; the same up to rounding."""
    kernel = _turn_back if size >= LANES else portable.turn_back
    kernel(values, signs, size, out)
