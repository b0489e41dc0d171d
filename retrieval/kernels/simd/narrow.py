"""From sums to smaller numbers: rounding, narrowing that saturates, halves to memory, sums of lanes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from retrieval.kernels.simd.arithmetic import _declare
from retrieval.kernels.simd.memory import _pointer
from retrieval.kernels.simd.types import F32x16, I8x64, I16x32, I32x16, I64x8, vector_ir

__all__ = [
    "choose_greater_i16",
    "narrow_i16",
    "narrow_u8",
    "nearest_i32",
    "shift_right_signed",
    "store_high_half",
    "store_low_half",
    "sum_quarters_i64",
]

_INT16, _INT32, _BYTE = ir.IntType(16), ir.IntType(32), ir.IntType(8)


def _shuffle(builder: Any, a: Any, b: Any, picks: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT32, len(picks)), picks))


def _pack_words(builder: Any, a: Any, b: Any) -> Any:
    """vpackssdw: in each 128-bit lane four of ``a`` and four of ``b``."""
    kind, wide = vector_ir(I16x32), vector_ir(I32x16)
    return builder.call(_declare(builder, "llvm.x86.avx512.packssdw.512", kind, [wide, wide]), [a, b])


@intrinsic
def nearest_i32(_context: Any, a: Any) -> Any:
    """vcvtps2dq: floats to the nearest integers, ties to even; what does not fit becomes the lowest."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        floats, kind = vector_ir(F32x16), vector_ir(I32x16)
        name = "llvm.x86.avx512.mask.cvtps2dq.512"
        function = _declare(builder, name, kind, [floats, kind, _INT16, _INT32])
        current_rounding = _INT32(4)
        return builder.call(function, [args[0], ir.Constant(kind, None), _INT16(-1), current_rounding])

    return (I32x16(a), generate) if a == F32x16 else None


@intrinsic
def narrow_i16(_context: Any, a: Any, b: Any) -> Any:
    """The lanes of ``a``, then those of ``b``, as int16; what does not fit saturates."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pairs = builder.bitcast(_pack_words(builder, *args), vector_ir(I64x8))
        ordered = _shuffle(builder, pairs, pairs, [0, 2, 4, 6, 1, 3, 5, 7])
        return builder.bitcast(ordered, vector_ir(I16x32))

    return (I16x32(a, b), generate) if a == I32x16 and b == I32x16 else None


@intrinsic
def narrow_u8(_context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The lanes of four vectors of int32 in order, as unsigned bytes; what does not fit saturates."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        low, high = _pack_words(builder, *args[:2]), _pack_words(builder, *args[2:])
        words = vector_ir(I16x32)
        function = _declare(builder, "llvm.x86.avx512.packuswb.512", vector_ir(I8x64), [words, words])
        fours = builder.bitcast(builder.call(function, [low, high]), vector_ir(I32x16))
        ordered = _shuffle(builder, fours, fours, [4 * lane + part for part in range(4) for lane in range(4)])
        return builder.bitcast(ordered, vector_ir(I8x64))

    return (I8x64(a, b, c, d), generate) if {a, b, c, d} == {I32x16} else None


def _make_store_half(first: int) -> Any:
    @intrinsic
    def store_half(_context: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            half = _shuffle(builder, args[2], args[2], list(range(first, first + 32)))
            pointer = _pointer(context, builder, signature, args, ir.VectorType(_BYTE, 32))
            builder.store(half, pointer).align = 1
            return context.get_dummy_value()

        return (types.void(array, index, value), generate) if value == I8x64 else None

    return store_half


# The first (or last) 32 bytes of a vector to memory.
store_low_half, store_high_half = _make_store_half(0), _make_store_half(32)


@intrinsic
def shift_right_signed(_context: Any, a: Any, bits: Any) -> Any:
    """Each 32-bit lane shifted right by ``bits``, copies of its sign coming in."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = vector_ir(I32x16)
        amount = context.cast(builder, args[1], signature.args[1], types.int32)
        first = builder.insert_element(ir.Constant(kind, ir.Undefined), amount, _INT32(0))
        return builder.ashr(args[0], _shuffle(builder, first, first, [0] * 16))

    return (I32x16(a, bits), generate) if a == I32x16 else None


@intrinsic
def choose_greater_i16(_context: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """Each lane of ``x`` where ``a > b`` (signed), else of ``y``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed(">", args[0], args[1]), args[2], args[3])

    return (I16x32(a, b, x, y), generate) if {a, b, x, y} == {I16x32} else None


@intrinsic
def sum_quarters_i64(_context: Any, x: Any, y: Any) -> Any:
    """The four 128-bit lanes of ``x`` added up, then those of ``y``: eight int32, as 64-bit integers."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        low = _shuffle(builder, args[0], args[1], [*range(8), *range(16, 24)])
        high = _shuffle(builder, args[0], args[1], [*range(8, 16), *range(24, 32)])
        both = builder.add(low, high)
        even = _shuffle(builder, both, both, [*range(4), *range(8, 12)])
        odd = _shuffle(builder, both, both, [*range(4, 8), *range(12, 16)])
        return builder.sext(builder.add(even, odd), vector_ir(I64x8))

    return (I64x8(x, y), generate) if x == I32x16 and y == I32x16 else None
