"""Eight float64 in a vector: for sums that are rounded to float32 only once."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from retrieval.kernels.simd.arithmetic import _declare, _make_reduce
from retrieval.kernels.simd.memory import _make_load, _pointer
from retrieval.kernels.simd.types import F32x16, F64x8, vector_ir

__all__ = ["fma_f64", "load_f64", "store_widened", "sum_f64", "zero_f64"]

load_f64 = _make_load(F64x8)
# The lanes in pairs, always the same ones.
sum_f64 = _make_reduce("llvm.vector.reduce.fadd.v8f64", F64x8, types.float64, 0.0)


@intrinsic
def zero_f64(_context: Any) -> Any:
    """Eight zeros."""

    def generate(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
        return ir.Constant(vector_ir(F64x8), None)

    return F64x8(), generate


@intrinsic
def fma_f64(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(F64x8)
        return builder.call(_declare(builder, "llvm.fma.v8f64", kind, [kind] * 3), args)

    return (F64x8(a, b, c), generate) if a == b == c == F64x8 else None


@intrinsic
def store_widened(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Sixteen floats to sixteen float64 of memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.DoubleType(), 16)
        wide = builder.fpext(args[2], kind)
        written = builder.store(wide, _pointer(context, builder, signature, args, kind))
        written.align = 1
        return context.get_dummy_value()

    return (types.void(array, index, value), generate) if value == F32x16 else None
