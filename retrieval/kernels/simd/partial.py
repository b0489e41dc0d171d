"""Less than a vector from and to arrays: single numbers, halves, and the first few lanes.

As in `retrieval.kernels.simd.memory`, indices count elements of the array, nothing need be aligned,
and no index is checked or counted from the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval.kernels.simd.memory import _load, _pointer
from retrieval.kernels.simd.types import F32x16, I8x32, I8x64, I16x32, I32x16, Vector, vector_ir

__all__ = [
    "element",
    "load_half_i8",
    "load_part_f32",
    "load_part_i8",
    "load_part_i16",
    "load_part_u8_as_i16",
    "store_i32_as_i16",
    "word",
]

_BIT, _BYTE, _INT32, _INT64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)


@intrinsic
def element(_context: Any, array: Any, index: Any) -> Any:
    """One number of the array: an integer as int64, a float as it is."""
    number = array.dtype
    result = types.int64 if isinstance(number, types.Integer) else number

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature, args, context.get_data_type(number))
        return context.cast(builder, _load(builder, pointer), number, result)

    return result(array, index), generate


@intrinsic
def word(_context: Any, array: Any, index: Any) -> Any:
    """Four bytes from the index on, the first lowest, as a non-negative int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _load(builder, _pointer(context, builder, signature, args, _INT32))
        return builder.zext(value, _INT64)

    return types.int64(array, index), generate


@intrinsic
def load_half_i8(_context: Any, array: Any, index: Any) -> Any:
    """32 bytes, as half a vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, _pointer(context, builder, signature, args, vector_ir(I8x32)))

    return I8x32(array, index), generate


def _load_first(context: Any, builder: Any, signature: Any, args: Any, kind: Any) -> Any:
    """Lanes below ``args[2]`` from memory, the others 0 and not touched in memory."""
    lanes = kind.count
    count = context.cast(builder, args[2], signature.args[2], types.int64)
    limit = builder.trunc(count, _INT32)
    counts = builder.insert_element(ir.Constant(ir.VectorType(_INT32, lanes), ir.Undefined), limit, _INT32(0))
    counts = builder.shuffle_vector(counts, counts, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes))
    steps = ir.Constant(ir.VectorType(_INT32, lanes), list(range(lanes)))
    mask = builder.icmp_signed("<", steps, counts)
    pointer = _pointer(context, builder, signature, args, kind)
    letter = (
        f"f{kind.element.intrinsic_name[1:]}"
        if not isinstance(kind.element, ir.IntType)
        else str(kind.element)
    )
    signature_ir = ir.FunctionType(kind, [kind.as_pointer(), _INT32, mask.type, kind])
    function = cgutils.get_or_insert_function(
        builder.module, signature_ir, f"llvm.masked.load.v{lanes}{letter}.p0"
    )
    return builder.call(function, [pointer, _INT32(1), mask, ir.Constant(kind, None)])


def _make_part(vector: Vector, narrow: Vector | None = None) -> Callable[..., Any]:
    @intrinsic
    def load_part(_context: Any, array: Any, index: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            loaded = _load_first(context, builder, signature, args, vector_ir(narrow or vector))
            return builder.zext(loaded, vector_ir(vector)) if narrow else loaded

        return vector(array, index, count), generate

    return load_part


# The first ``count`` lanes, zeros in the others: load_part(array, index, count). More is all.
load_part_i8, load_part_i16 = _make_part(I8x64), _make_part(I16x32)
load_part_u8_as_i16 = _make_part(I16x32, I8x32)


@intrinsic
def load_part_f32(_context: Any, array: Any, index: Any, count: Any) -> Any:
    """The first ``count`` floats, zeros in the other lanes; of an array of uint16: float16 bits, widened."""
    half = array.dtype == types.uint16

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not half:
            return _load_first(context, builder, signature, args, vector_ir(F32x16))
        bits = _load_first(context, builder, signature, args, ir.VectorType(ir.IntType(16), 16))
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), 16)), vector_ir(F32x16))

    return F32x16(array, index, count), generate


@intrinsic
def store_i32_as_i16(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """The low 16 bits of each lane to 32 bytes of memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = ir.VectorType(ir.IntType(16), 16)
        written = builder.store(
            builder.trunc(args[2], narrow), _pointer(context, builder, signature, args, narrow)
        )
        written.align = 1
        return context.get_dummy_value()

    return (types.void(array, index, value), generate) if value == I32x16 else None
