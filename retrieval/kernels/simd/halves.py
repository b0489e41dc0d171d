"""Vectors of 256 bits, for processors without AVX-512: bytes, int16, and int32 that products add up to.

Written in LLVM's own operations, so that they compile anywhere (but `pick_bytes` is AVX2's); with AVX2
each is one instruction or two.
What a product of pairs does, vpmaddwd, is twice the multiply-adds of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from retrieval.kernels.simd.arithmetic import _declare, _make_cast, _make_splat
from retrieval.kernels.simd.memory import _load, _make_load, _make_store, _pointer
from retrieval.kernels.simd.types import I8x32, I16x16, I32x8, Vector, vector_ir

__all__ = [
    "as_16i16",
    "as_32i8",
    "broadcast_pair",
    "broadcast_table",
    "load_8i32",
    "load_16i16",
    "load_32i8",
    "maximum_8i32",
    "maximum_16i16",
    "multiply_fraction",
    "multiply_pairs",
    "pick_bytes",
    "splat_16i16",
    "splat_32i8",
    "store_8i32",
    "store_16i16",
    "zero_8i32",
]

_INT32, _BYTE = ir.IntType(32), ir.IntType(8)

load_32i8, load_16i16, load_8i32 = _make_load(I8x32), _make_load(I16x16), _make_load(I32x8)
store_16i16, store_8i32 = _make_store(I16x16), _make_store(I32x8)
splat_32i8, splat_16i16 = _make_splat(I8x32), _make_splat(I16x16)
as_32i8, as_16i16 = _make_cast(I8x32), _make_cast(I16x16)


@intrinsic
def zero_8i32(_context: Any) -> Any:
    """Eight zeros."""

    def generate(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
        return ir.Constant(vector_ir(I32x8), None)

    return I32x8(), generate


@intrinsic
def broadcast_pair(_context: Any, array: Any, index: Any) -> Any:
    """Two int16 of memory, eight times."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = vector_ir(I32x8)
        value = _load(builder, _pointer(context, builder, signature, args, _INT32))
        undefined = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, value, _INT32(0))
        everywhere = ir.Constant(ir.VectorType(_INT32, 8), [0] * 8)
        return builder.bitcast(builder.shuffle_vector(first, undefined, everywhere), vector_ir(I16x16))

    return I16x16(array, index), generate


@intrinsic
def multiply_pairs(_context: Any, a: Any, b: Any) -> Any:
    """The sum of two products of int16 in each 32-bit lane."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        wide, lanes = ir.VectorType(_INT32, 16), ir.VectorType(_INT32, 8)
        products = builder.mul(*(builder.sext(arg, wide) for arg in args))
        undefined = ir.Constant(wide, ir.Undefined)
        even, odd = (
            builder.shuffle_vector(products, undefined, ir.Constant(lanes, list(range(first, 16, 2))))
            for first in (0, 1)
        )
        return builder.add(even, odd)

    return (I32x8(a, b), generate) if a == I16x16 and b == I16x16 else None


@intrinsic
def broadcast_table(_context: Any, array: Any, index: Any) -> Any:
    """Sixteen bytes of memory, twice (a table for `pick_bytes`)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table = _load(builder, _pointer(context, builder, signature, args, ir.VectorType(_BYTE, 16)))
        repeat = ir.Constant(ir.VectorType(_INT32, 32), [i % 16 for i in range(32)])
        return builder.shuffle_vector(table, ir.Constant(table.type, ir.Undefined), repeat)

    return I8x32(array, index), generate


@intrinsic
def pick_bytes(_context: Any, table: Any, index: Any) -> Any:
    """Bytes of a table by the low four bits of an index, inside each 128 bits; index bit 7 gives 0. AVX2."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(I8x32)
        return builder.call(_declare(builder, "llvm.x86.avx2.pshuf.b", kind, [kind, kind]), args)

    return (I8x32(table, index), generate) if table == I8x32 and index == I8x32 else None


@intrinsic
def multiply_fraction(_context: Any, a: Any, b: Any) -> Any:
    """``(a * b + 2**14) >> 15`` of int16 in each lane (vpmulhrsw)."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        wide = ir.VectorType(_INT32, 16)
        product = builder.mul(*(builder.sext(arg, wide) for arg in args))
        halved = builder.add(builder.lshr(product, wide([14] * 16)), wide([1] * 16))
        return builder.trunc(builder.lshr(halved, wide([1] * 16)), vector_ir(I16x16))

    return (I16x16(a, b), generate) if a == I16x16 and b == I16x16 else None


def _make_maximum(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def maximum(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.select(builder.icmp_signed(">", *args), *args)

        return (vector(a, b), generate) if a == vector and b == vector else None

    return maximum


# The larger of each lane, signed.
maximum_16i16, maximum_8i32 = _make_maximum(I16x16), _make_maximum(I32x8)
