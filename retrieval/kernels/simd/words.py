"""Sixteen 32-bit lanes: comparing, shifting and picking them, and the lowest bit of a mask."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from retrieval.kernels.simd.arithmetic import _declare
from retrieval.kernels.simd.memory import _make_widening_load
from retrieval.kernels.simd.types import I32x16, vector_ir

__all__ = ["compress_i32", "load_u16_as_i32", "lowest_bit", "mask_differs_i32", "shift_right_each_i32"]

_BITS = ir.VectorType(ir.IntType(1), 16)

# 16 numbers of 16 bits, unsigned.
load_u16_as_i32 = _make_widening_load(ir.IntType(16), 16, I32x16, "zext")


@intrinsic
def mask_differs_i32(_context: Any, a: Any, b: Any) -> Any:
    """One bit a lane, lane 0 in bit 0: set where the bits differ."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.icmp_signed("!=", *args), ir.IntType(16))

    return (types.uint16(a, b), generate) if a == I32x16 and b == I32x16 else None


@intrinsic
def shift_right_each_i32(_context: Any, a: Any, bits: Any) -> Any:
    """vpsrlvd: each lane of ``a`` by the same lane of ``bits``, which is below 32; zeros come in."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.lshr(*args)

    return (I32x16(a, bits), generate) if a == I32x16 and bits == I32x16 else None


@intrinsic
def compress_i32(_context: Any, a: Any, mask: Any) -> Any:
    """vpcompressd: the lanes whose bit is set, moved to the front in their order."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(I32x16)
        function = _declare(builder, "llvm.x86.avx512.mask.compress.v16i32", kind, [kind, kind, _BITS])
        return builder.call(function, [args[0], args[0], builder.bitcast(args[1], _BITS)])

    return (I32x16(a, mask), generate) if a == I32x16 and mask == types.uint16 else None


@intrinsic
def lowest_bit(_context: Any, mask: Any) -> Any:
    """The place of the lowest bit that is set, of an int64 that is not 0."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return (types.int64(mask), generate) if mask == types.int64 else None
