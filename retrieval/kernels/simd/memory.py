"""Vectors from and to arrays. Indices count elements of the array; nothing need be aligned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval.kernels.simd.types import F32x16, I8x64, I16x32, I32x16, I64x8, Vector, vector_ir

__all__ = [
    "broadcast4",
    "broadcast16",
    "load_bf16",
    "load_f16",
    "load_f32",
    "load_i8",
    "load_i16",
    "load_i32",
    "load_i64",
    "load_u8_as_i16",
    "load_u8_as_i32",
    "prefetch",
    "store_f32",
    "store_i8",
    "store_i16",
    "store_i32",
    "store_i64",
]

_INT32, _INT64, _BYTE = ir.IntType(32), ir.IntType(64), ir.IntType(8)


def _pointer(context: Any, builder: Any, signature: Any, args: Any, pointee: Any) -> Any:
    """Address of element ``args[1]`` of the array ``args[0]``, as a pointer to ``pointee``."""
    array_type, index_type = signature.args[0], signature.args[1]
    array = context.make_array(array_type)(context, builder, args[0])
    index = context.cast(builder, args[1], index_type, types.int64)
    offset = builder.mul(index, _INT64(array_type.dtype.bitwidth // 8))
    address = builder.gep(builder.bitcast(array.data, _BYTE.as_pointer()), [offset])
    return builder.bitcast(address, pointee.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    value = builder.load(pointer)
    value.align = 1
    return value


def _make_load(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def load(_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _load(builder, _pointer(context, builder, signature, args, vector_ir(vector)))

        return vector(array, index), generate

    return load


def _make_store(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def store(_context: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            written = builder.store(args[2], _pointer(context, builder, signature, args, vector_ir(vector)))
            written.align = 1
            return context.get_dummy_value()

        return types.void(array, index, value), generate

    return store


load_i8, load_i16, load_i32, load_i64 = map(_make_load, (I8x64, I16x32, I32x16, I64x8))
load_f32 = _make_load(F32x16)
store_i8, store_i16, store_i32, store_i64 = map(_make_store, (I8x64, I16x32, I32x16, I64x8))
store_f32 = _make_store(F32x16)


def _make_widening_load(lane: Any, lanes: int, vector: Vector, widen: str) -> Callable[..., Any]:
    @intrinsic
    def load(_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            narrow = _load(builder, _pointer(context, builder, signature, args, ir.VectorType(lane, lanes)))
            return getattr(builder, widen)(narrow, vector_ir(vector))

        return vector(array, index), generate

    return load


# 16 halves (stored as float16 or uint16) to floats, 32 bytes to i16, 16 bytes to i32.
load_f16 = _make_widening_load(ir.HalfType(), 16, F32x16, "fpext")
load_u8_as_i16 = _make_widening_load(_BYTE, 32, I16x32, "zext")
load_u8_as_i32 = _make_widening_load(_BYTE, 16, I32x16, "zext")


@intrinsic
def load_bf16(_context: Any, array: Any, index: Any) -> Any:
    """16 bfloat16 (the upper halves of floats, stored as uint16) to floats."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        halves = ir.VectorType(ir.IntType(16), 16)
        narrow = _load(builder, _pointer(context, builder, signature, args, halves))
        wide = builder.zext(narrow, vector_ir(I32x16))
        sixteen = ir.Constant(wide.type, [16] * 16)
        return builder.bitcast(builder.shl(wide, sixteen), vector_ir(F32x16))

    return F32x16(array, index), generate


@intrinsic
def broadcast4(_context: Any, array: Any, index: Any) -> Any:
    """Four bytes of memory in every 32-bit lane, as I32x16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _load(builder, _pointer(context, builder, signature, args, _INT32))
        undefined = ir.Constant(vector_ir(I32x16), ir.Undefined)
        first = builder.insert_element(undefined, value, _INT32(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, 16), [0] * 16))

    return I32x16(array, index), generate


@intrinsic
def broadcast16(_context: Any, array: Any, index: Any) -> Any:
    """Sixteen bytes of memory in every 128-bit lane, as I8x64 (a table for `shuffle_bytes`)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        quarter = _load(builder, _pointer(context, builder, signature, args, ir.VectorType(_BYTE, 16)))
        repeat = ir.Constant(ir.VectorType(_INT32, 64), [i % 16 for i in range(64)])
        return builder.shuffle_vector(quarter, ir.Constant(quarter.type, ir.Undefined), repeat)

    return I8x64(array, index), generate


@intrinsic
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Ask for a cache line soon; never faults, also beyond the end of the array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature, args, _BYTE)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, _INT32(0), _INT32(3), _INT32(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate
