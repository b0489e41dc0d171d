"""Bits inside bytes, byte sums, masked loads and interleaved lanes, on AVX-512 vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval.kernels.simd.types import I8x64, I32x16, I64x8, Vector, element_ir, vector_ir

__all__ = [
    "interleave_high_i32",
    "interleave_high_i64",
    "interleave_low_i32",
    "interleave_low_i64",
    "load_masked_i8",
    "mask_less_i64",
    "shift_left",
    "sum_bytes",
    "transform_bits",
]

_INT32, _INT64, _BYTE = ir.IntType(32), ir.IntType(64), ir.IntType(8)


def _declare(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


@intrinsic
def shift_left(_context: Any, a: Any, bits: Any) -> Any:
    """Each lane shifted left by ``bits``, zeros coming in."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lane = element_ir(a)
        amount = context.cast(builder, args[1], signature.args[1], types.int64)
        narrow = builder.trunc(amount, lane) if a.bits < 64 else amount
        undefined = ir.Constant(vector_ir(a), ir.Undefined)
        first = builder.insert_element(undefined, narrow, _INT32(0))
        everywhere = ir.Constant(ir.VectorType(_INT32, a.lanes), [0] * a.lanes)
        return builder.shl(args[0], builder.shuffle_vector(first, undefined, everywhere))

    return (a(a, bits), generate) if isinstance(a, Vector) and a.kind == "i" else None


@intrinsic
def sum_bytes(_context: Any, a: Any) -> Any:
    """vpsadbw: the sum of the eight unsigned bytes of each 64-bit lane, as I64x8."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(I8x64)
        function = _declare(builder, "llvm.x86.avx512.psad.bw.512", vector_ir(I64x8), [kind, kind])
        return builder.call(function, [args[0], ir.Constant(kind, None)])

    return (I64x8(a), generate) if a == I8x64 else None


@intrinsic
def transform_bits(_context: Any, a: Any, matrices: Any) -> Any:
    """gf2p8affineqb: each byte times its 64-bit lane's 8 x 8 bit matrix. Needs the feature gfni.

    Bit i of a result is the parity of the byte AND the matrix's byte 7 - i.
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(I8x64)
        function = _declare(builder, "llvm.x86.vgf2p8affineqb.512", kind, [kind, kind, _BYTE])
        return builder.call(function, [args[0], builder.bitcast(args[1], kind), _BYTE(0)])

    return (I8x64(a, matrices), generate) if a == I8x64 and matrices == I64x8 else None


@intrinsic
def mask_less_i64(_context: Any, a: Any, b: Any) -> Any:
    """One bit a lane: set where a < b (signed), lane 0 in bit 0."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.icmp_signed("<", *args), _BYTE)

    return (types.uint8(a, b), generate) if a == I64x8 and b == I64x8 else None


@intrinsic
def load_masked_i8(_context: Any, array: Any, index: Any, mask: Any) -> Any:
    """The bytes whose bit of the 64-bit ``mask`` is set, else 0; the others are not read at all."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        offset = context.cast(builder, args[1], signature.args[1], types.int64)
        if signature.args[0].dtype.bitwidth > 8:
            offset = builder.mul(offset, _INT64(signature.args[0].dtype.bitwidth // 8))
        kind, bits = vector_ir(I8x64), ir.VectorType(ir.IntType(1), 64)
        address = builder.gep(builder.bitcast(data, _BYTE.as_pointer()), [offset])
        pointer = builder.bitcast(address, kind.as_pointer())
        name, zero = "llvm.masked.load.v64i8.p0", ir.Constant(kind, None)
        wide = context.cast(builder, args[2], signature.args[2], types.uint64)
        function = _declare(builder, name, kind, [pointer.type, _INT32, bits, kind])
        return builder.call(function, [pointer, _INT32(1), builder.bitcast(wide, bits), zero])

    return I8x64(array, index, mask), generate


def _make_interleave(vector: Vector, first: int) -> Callable[..., Any]:
    """In each 128-bit lane: a0 b0 a1 b1 ... of the lane's first or last half."""
    per_lane = vector.lanes // 4
    picks = [
        lane * per_lane + first * (per_lane // 2) + i + other
        for lane in range(4)
        for i in range(per_lane // 2)
        for other in (0, vector.lanes)
    ]

    @intrinsic
    def interleave(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            order = ir.Constant(ir.VectorType(_INT32, vector.lanes), picks)
            return builder.shuffle_vector(args[0], args[1], order)

        return (vector(a, b), generate) if a == vector and b == vector else None

    return interleave


interleave_low_i32, interleave_high_i32 = _make_interleave(I32x16, 0), _make_interleave(I32x16, 1)
interleave_low_i64, interleave_high_i64 = _make_interleave(I64x8, 0), _make_interleave(I64x8, 1)
