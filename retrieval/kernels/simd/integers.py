"""Small integers: fixed-point products, sums over lanes, rounding to integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval.kernels.simd.types import F32x16, I8x32, I8x64, I16x32, I32x16, Vector, element_ir, vector_ir

__all__ = [
    "maximum_half_u8",
    "multiply_high_i16",
    "round_i32",
    "shift_left",
    "sum_half_u8",
    "sum_i16",
    "sum_u8",
    "zero_half_i8",
]


def _call(builder: Any, name: str, result: Any, args: Any) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@intrinsic
def zero_half_i8(_context: Any) -> Any:
    """Half a vector of zeros."""

    def generate(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
        return ir.Constant(vector_ir(I8x32), None)

    return I8x32(), generate


@intrinsic
def maximum_half_u8(_context: Any, a: Any, b: Any) -> Any:
    """The larger of each of 32 unsigned bytes."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _call(builder, "llvm.umax.v32i8", vector_ir(I8x32), args)

    return (I8x32(a, b), generate) if a == I8x32 and b == I8x32 else None


@intrinsic
def multiply_high_i16(_context: Any, a: Any, b: Any) -> Any:
    """vpmulhrsw: ``(a * b + 2**14) >> 15`` in each lane."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _call(builder, "llvm.x86.avx512.pmul.hr.sw.512", vector_ir(I16x32), args)

    return (I16x32(a, b), generate) if a == I16x32 and b == I16x32 else None


@intrinsic
def round_i32(_context: Any, a: Any) -> Any:
    """Floats to the nearest integers, ties to even; each must fit."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        rounded = _call(builder, "llvm.rint.v16f32", vector_ir(F32x16), args)
        return builder.fptosi(rounded, vector_ir(I32x16))

    return (I32x16(a), generate) if a == F32x16 else None


@intrinsic
def shift_left(_context: Any, a: Any, bits: Any) -> Any:
    """Each lane shifted left by ``bits``, zeros coming in."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        amount = context.cast(builder, args[1], signature.args[1], types.int64)
        narrow = builder.trunc(amount, element_ir(a)) if a.bits < 64 else amount
        first = builder.insert_element(ir.Constant(vector_ir(a), ir.Undefined), narrow, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), [0] * a.lanes)
        return builder.shl(args[0], builder.shuffle_vector(first, first, zeros))

    return (a(a, bits), generate) if isinstance(a, Vector) and a.kind == "i" else None


def _make_sum(vector: Vector, widen: str) -> Callable[..., Any]:
    @intrinsic
    def total(_context: Any, a: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            wide = getattr(builder, widen)(args[0], ir.VectorType(ir.IntType(32), vector.lanes))
            return _call(builder, f"llvm.vector.reduce.add.v{vector.lanes}i32", ir.IntType(32), [wide])

        return (types.int32(a), generate) if a == vector else None

    return total


# All lanes added, in 32 bits.
sum_u8, sum_half_u8, sum_i16 = _make_sum(I8x64, "zext"), _make_sum(I8x32, "zext"), _make_sum(I16x32, "sext")
