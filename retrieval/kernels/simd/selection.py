"""Picking lanes: masks, compression, interleaving and two-register tables, on AVX-512 vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval.kernels.simd.types import F32x16, I8x64, I32x16, I64x8, Vector, vector_ir

__all__ = [
    "choose_by_sign_i8",
    "compress_i64",
    "count_bits",
    "gather_f32",
    "interleave_high_i8",
    "interleave_low_i8",
    "iota_i32",
    "load_rows_i8",
    "mask_at_most_i64",
    "mask_differs_i8",
    "mask_exceeds_f32",
    "mask_nan_f32",
    "order_bits_f32",
    "permute_f32",
    "permute_two_i8",
    "splat_i64",
    "store_scaled_u8",
    "zip_high_i32",
    "zip_low_i32",
]

_INT32, _BYTE = ir.IntType(32), ir.IntType(8)


def _declare(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _shuffle(builder: Any, a: Any, b: Any, picks: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT32, len(picks)), picks))


def _make_mask(vector: Vector, result: Any, compare: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """A comparison as one bit a lane, lane 0 in bit 0."""

    @intrinsic
    def mask(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(compare(builder, *args), ir.IntType(vector.lanes))

        return (result(a, b), generate) if a == vector and b == vector else None

    return mask


# Set where not a <= b: a is greater, or either is NaN.
mask_exceeds_f32 = _make_mask(F32x16, types.uint16, lambda builder, a, b: builder.fcmp_unordered(">", a, b))
# Set where a or b is NaN.
mask_nan_f32 = _make_mask(F32x16, types.uint16, lambda builder, a, b: builder.fcmp_unordered("uno", a, b))
# Set where the bits differ.
mask_differs_i8 = _make_mask(I8x64, types.uint64, lambda builder, a, b: builder.icmp_signed("!=", a, b))
# Set where a <= b, signed.
mask_at_most_i64 = _make_mask(I64x8, types.uint8, lambda builder, a, b: builder.icmp_signed("<=", a, b))


@intrinsic
def count_bits(_context: Any, mask: Any) -> Any:
    """How many bits of an unsigned integer are set, as int64."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.zext(builder.ctpop(builder.zext(args[0], _INT32)), ir.IntType(64))

    return (types.int64(mask), generate) if mask in {types.uint8, types.uint16, types.uint32} else None


@intrinsic
def splat_i64(_context: Any, value: Any) -> Any:
    """One 64-bit integer in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scalar = context.cast(builder, args[0], signature.args[0], types.int64)
        undefined = ir.Constant(vector_ir(I64x8), ir.Undefined)
        return _shuffle(builder, builder.insert_element(undefined, scalar, _INT32(0)), undefined, [0] * 8)

    return I64x8(value), generate


@intrinsic
def compress_i64(_context: Any, a: Any, mask: Any) -> Any:
    """vpcompressq: the lanes whose bit is set, moved to the front in their order."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind, bits = vector_ir(I64x8), ir.VectorType(ir.IntType(1), 8)
        function = _declare(builder, "llvm.x86.avx512.mask.compress.v8i64", kind, [kind, kind, bits])
        return builder.call(function, [args[0], args[0], builder.bitcast(args[1], bits)])

    return (I64x8(a, mask), generate) if a == I64x8 and mask == types.uint8 else None


@intrinsic
def order_bits_f32(_context: Any, a: Any) -> Any:
    """Floats as signed integers in the same order (no NaN); -0.0 becomes 0.0."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        floats, kind = vector_ir(F32x16), vector_ir(I32x16)
        bits = builder.bitcast(builder.fadd(args[0], ir.Constant(floats, [0.0] * 16)), kind)
        sign = builder.ashr(bits, ir.Constant(kind, [31] * 16))
        return builder.xor(bits, builder.and_(sign, ir.Constant(kind, [0x7FFFFFFF] * 16)))

    return (I32x16(a), generate) if a == F32x16 else None


def _make_zip(picks: list[int]) -> Callable[..., Any]:
    @intrinsic
    def zip_i32(_context: Any, low: Any, high: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(_shuffle(builder, args[0], args[1], picks), vector_ir(I64x8))

        return (I64x8(low, high), generate) if low == I32x16 and high == I32x16 else None

    return zip_i32


# Lanes 0-7 (or 8-15) of two vectors as 64-bit integers: zip(low halves, high halves).
zip_low_i32 = _make_zip([lane for i in range(8) for lane in (i, 16 + i)])
zip_high_i32 = _make_zip([lane for i in range(8, 16) for lane in (i, 16 + i)])


@intrinsic
def permute_f32(_context: Any, table: Any, index: Any) -> Any:
    """vpermps: floats of a 16-entry table picked by the low four bits of an index."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        floats, kind = vector_ir(F32x16), vector_ir(I32x16)
        return builder.call(_declare(builder, "llvm.x86.avx512.permvar.sf.512", floats, [floats, kind]), args)

    return (F32x16(table, index), generate) if table == F32x16 and index == I32x16 else None


@intrinsic
def permute_two_i8(_context: Any, low: Any, high: Any, index: Any) -> Any:
    """vpermi2b: bytes of a 128-byte table (two vectors) picked by the low seven bits of an index."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(I8x64)
        function = _declare(builder, "llvm.x86.avx512.vpermi2var.qi.512", kind, [kind] * 3)
        return builder.call(function, [args[0], args[2], args[1]])

    return I8x64(low, high, index), generate


@intrinsic
def choose_by_sign_i8(_context: Any, index: Any, low: Any, high: Any) -> Any:
    """Each byte of ``high`` where the index's byte is 128 or more, else of ``low``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        negative = builder.icmp_signed("<", args[0], ir.Constant(vector_ir(I8x64), None))
        return builder.select(negative, args[2], args[1])

    return I8x64(index, low, high), generate


def _make_interleave(first: int) -> Callable[..., Any]:
    picks = [lane * 16 + first + i + other for lane in range(4) for i in range(8) for other in (0, 64)]

    @intrinsic
    def interleave(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return _shuffle(builder, args[0], args[1], picks)

        return (I8x64(a, b), generate) if a == I8x64 and b == I8x64 else None

    return interleave


# In each 128-bit lane: a0 b0 a1 b1 ... of the lane's first (or last) eight bytes.
interleave_low_i8, interleave_high_i8 = _make_interleave(0), _make_interleave(8)


@intrinsic
def iota_i32(_context: Any) -> Any:
    """0, 1, ... 15."""

    def generate(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
        return ir.Constant(vector_ir(I32x16), list(range(16)))

    return I32x16(), generate


@intrinsic
def load_rows_i8(_context: Any, array: Any, index: Any, stride: Any) -> Any:
    """Sixteen bytes from each of four places, ``stride`` elements apart, one a 128-bit lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = ir.Constant(ir.IntType(64), signature.args[0].dtype.bitwidth // 8)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        index, stride = (
            builder.mul(context.cast(builder, value, kind, types.int64), size)
            for value, kind in zip(args[1:], signature.args[1:], strict=True)
        )
        quarters = []
        for _ in range(4):
            address = builder.gep(builder.bitcast(data, _BYTE.as_pointer()), [index])
            quarters.append(builder.load(builder.bitcast(address, ir.VectorType(_BYTE, 16).as_pointer())))
            quarters[-1].align = 1
            index = builder.add(index, stride)
        low, high = (_shuffle(builder, quarters[i], quarters[i + 1], list(range(32))) for i in (0, 2))
        return _shuffle(builder, low, high, list(range(64)))

    return I8x64(array, index, stride), generate


@intrinsic
def gather_f32(_context: Any, array: Any, first: Any, index: Any) -> Any:
    """vgatherdps: ``array[first + index]`` of sixteen 32-bit indices (I32x16)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        start = builder.gep(data, [context.cast(builder, args[1], signature.args[1], types.int64)])
        floats, kind, bits = vector_ir(F32x16), vector_ir(I32x16), ir.VectorType(ir.IntType(1), 16)
        pointer = builder.bitcast(start, _BYTE.as_pointer())
        name = "llvm.x86.avx512.mask.gather.dps.512"
        function = _declare(builder, name, floats, [floats, _BYTE.as_pointer(), kind, bits, _INT32])
        every = ir.Constant(bits, [1] * 16)
        return builder.call(function, [ir.Constant(floats, None), pointer, args[2], every, _INT32(4)])

    return (F32x16(array, first, index), generate) if index == I32x16 else None


@intrinsic
def store_scaled_u8(_context: Any, array: Any, index: Any, a: Any, low: Any, factor: Any) -> Any:
    """``(a - low) * factor`` in float64, rounded, ties to even, to 16 bytes; each must fit."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.gep(data, [context.cast(builder, args[1], signature.args[1], types.int64)])
        doubles, bytes16 = ir.VectorType(ir.DoubleType(), 16), ir.VectorType(_BYTE, 16)
        undefined = ir.Constant(doubles, ir.Undefined)
        low, factor = (
            _shuffle(builder, builder.insert_element(undefined, scalar, _INT32(0)), undefined, [0] * 16)
            for scalar in args[3:]
        )
        scaled = builder.fmul(builder.fsub(builder.fpext(args[2], doubles), low), factor)
        rounded = builder.call(_declare(builder, "llvm.rint.v16f64", doubles, [doubles]), [scaled])
        narrow = builder.trunc(builder.fptosi(rounded, vector_ir(I32x16)), bytes16)
        builder.store(narrow, builder.bitcast(address, bytes16.as_pointer())).align = 1
        return context.get_dummy_value()

    fits = array.dtype == types.uint8 and a == F32x16 and low == factor == types.float64
    return (types.void(array, index, a, low, factor), generate) if fits else None
