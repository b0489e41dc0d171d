"""What can be done with vectors. Each name is one instruction (or two) of AVX-512."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from retrieval.kernels.simd.types import F32x16, I8x64, I16x32, I32x16, I64x8, Vector, element_ir, vector_ir

__all__ = [
    "add",
    "add_saturated_u8",
    "as_f32",
    "as_i8",
    "as_i16",
    "as_i32",
    "as_i64",
    "bit_and",
    "bit_or",
    "bit_xor",
    "dot_bf16",
    "dot_u8i8",
    "fma",
    "largest_f32",
    "largest_i32",
    "mask_greater_i16",
    "mask_greater_i32",
    "maximum_f32",
    "maximum_i16",
    "maximum_i32",
    "maximum_u8",
    "minimum_i32",
    "multiply",
    "permute_bytes",
    "popcount",
    "shift_right",
    "shuffle_bytes",
    "splat_f32",
    "splat_i8",
    "splat_i16",
    "splat_i32",
    "sub",
    "sum_f32",
    "sum_i32",
    "sum_i64",
    "to_f32",
    "zero_f32",
    "zero_i32",
    "zero_i64",
]

_INT32 = ir.IntType(32)


class _BFloat(ir.types.Type):
    """LLVM's bfloat, which llvmlite does not know."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _declare(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, list(arguments)), name)


def _make_binary(integer: str, floating: str | None = None) -> Callable[..., Any]:
    """One LLVM operation on two vectors of one type."""

    @intrinsic
    def operate(_context: Any, a: Any, b: Any) -> Any:
        if not isinstance(a, Vector) or a != b:
            return None
        operation = floating if a.kind == "f" else integer

        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return getattr(builder, str(operation))(*args)

        return a(a, b), generate

    return operate


add, sub = _make_binary("add", "fadd"), _make_binary("sub", "fsub")
multiply = _make_binary("mul", "fmul")
bit_and, bit_or, bit_xor = _make_binary("and_"), _make_binary("or_"), _make_binary("xor")


def _make_call(name: str, vector: Vector, n_args: int) -> Callable[..., Any]:
    """An LLVM intrinsic on ``n_args`` vectors of one type."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(vector)
        return builder.call(_declare(builder, name, kind, [kind] * n_args), args)

    if n_args == 1:

        @intrinsic
        def call1(_context: Any, a: Any) -> Any:
            return (vector(a), generate) if a == vector else None

        return call1

    @intrinsic
    def call2(_context: Any, a: Any, b: Any) -> Any:
        return (vector(a, b), generate) if a == vector and b == vector else None

    return call2


maximum_i16 = _make_call("llvm.smax.v32i16", I16x32, 2)
minimum_i32 = _make_call("llvm.smin.v16i32", I32x16, 2)
maximum_i32 = _make_call("llvm.smax.v16i32", I32x16, 2)
maximum_u8 = _make_call("llvm.umax.v64i8", I8x64, 2)
add_saturated_u8 = _make_call("llvm.uadd.sat.v64i8", I8x64, 2)
popcount = _make_call("llvm.ctpop.v8i64", I64x8, 1)
# Bytes of a table picked by the low four bits of an index, inside each 128-bit lane; index bit 7 gives 0.
shuffle_bytes = _make_call("llvm.x86.avx512.pshuf.b.512", I8x64, 2)
# Bytes of a 64-byte table picked by the low six bits of an index: permute_bytes(table, index).
permute_bytes = _make_call("llvm.x86.avx512.permvar.qi.512", I8x64, 2)


@intrinsic
def maximum_f32(_context: Any, a: Any, b: Any) -> Any:
    """The larger of each lane (vmaxps); of NaN and a number, the second argument."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return F32x16(a, b), generate


@intrinsic
def fma(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(F32x16)
        return builder.call(_declare(builder, "llvm.fma.v16f32", kind, [kind] * 3), args)

    return F32x16(a, b, c), generate


@intrinsic
def dot_u8i8(_context: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """vpdpbusd: to each 32-bit lane of ``total`` add four products of unsigned and signed bytes."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = vector_ir(I32x16)
        values = [arg if arg.type == kind else builder.bitcast(arg, kind) for arg in args]
        return builder.call(_declare(builder, "llvm.x86.avx512.vpdpbusd.512", kind, [kind] * 3), values)

    return I32x16(total, unsigned, signed), generate


@intrinsic
def dot_bf16(_context: Any, total: Any, a: Any, b: Any) -> Any:
    """vdpbf16ps: to each float lane of ``total`` add two products of bfloat16 pairs (as I32x16)."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        floats, pairs = vector_ir(F32x16), ir.VectorType(_BFloat(), 32)
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        values = [args[0], *(builder.bitcast(arg, pairs) for arg in args[1:])]
        return builder.call(_declare(builder, name, floats, [floats, pairs, pairs]), values)

    return F32x16(total, a, b), generate


@intrinsic
def shift_right(_context: Any, a: Any, bits: Any) -> Any:
    """Each lane shifted right by ``bits``, zeros coming in."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lane = element_ir(a)
        amount = context.cast(builder, args[1], signature.args[1], types.int64)
        narrow = builder.trunc(amount, lane) if a.bits < 64 else amount
        return builder.lshr(args[0], _splat(builder, narrow, a))

    return (a(a, bits), generate) if isinstance(a, Vector) and a.kind == "i" else None


def _splat(builder: Any, value: Any, vector: Vector) -> Any:
    kind = vector_ir(vector)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, _INT32(0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(_INT32, vector.lanes), [0] * vector.lanes)
    )


def _make_splat(vector: Vector) -> Callable[..., Any]:
    number = types.float32 if vector.kind == "f" else types.int64

    @intrinsic
    def splat(_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            scalar = context.cast(builder, args[0], signature.args[0], number)
            if vector.kind == "i" and vector.bits < 64:
                scalar = builder.trunc(scalar, element_ir(vector))
            return _splat(builder, scalar, vector)

        return vector(value), generate

    return splat


splat_i8, splat_i16, splat_i32, splat_f32 = map(_make_splat, (I8x64, I16x32, I32x16, F32x16))


def _make_zero(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def zero(_context: Any) -> Any:
        def generate(_context: Any, _builder: Any, _signature: Any, _args: Any) -> Any:
            return ir.Constant(vector_ir(vector), None)

        return vector(), generate

    return zero


zero_i32, zero_i64, zero_f32 = map(_make_zero, (I32x16, I64x8, F32x16))


def _make_cast(vector: Vector) -> Callable[..., Any]:
    """The same 512 bits as another type."""

    @intrinsic
    def cast(_context: Any, a: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], vector_ir(vector))

        return vector(a), generate

    return cast


as_i8, as_i16, as_i32, as_i64, as_f32 = map(_make_cast, (I8x64, I16x32, I32x16, I64x8, F32x16))


@intrinsic
def to_f32(_context: Any, a: Any) -> Any:
    """Signed 32-bit integers to floats."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.sitofp(args[0], vector_ir(F32x16))

    return (F32x16(a), generate) if a == I32x16 else None


def _make_mask_greater(vector: Vector, result: Any) -> Callable[..., Any]:
    @intrinsic
    def mask_greater(_context: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(builder.icmp_signed(">", *args), ir.IntType(vector.lanes))

        return result(a, b), generate

    return mask_greater


# One bit a lane: set where a > b (signed), lane 0 in bit 0.
mask_greater_i16 = _make_mask_greater(I16x32, types.uint32)
mask_greater_i32 = _make_mask_greater(I32x16, types.uint16)


def _make_reduce(name: str, vector: Vector, result: Any, start: float | None = None) -> Callable[..., Any]:
    @intrinsic
    def reduce(_context: Any, a: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            lane = element_ir(vector)
            first = [] if start is None else [ir.Constant(lane, start)]
            function = _declare(builder, name, lane, [lane] * len(first) + [vector_ir(vector)])
            fast = ("reassoc",) if start is not None else ()
            return builder.call(function, [*first, args[0]], fastmath=fast)

        return result(a), generate

    return reduce


sum_i32 = _make_reduce("llvm.vector.reduce.add.v16i32", I32x16, types.int32)
sum_i64 = _make_reduce("llvm.vector.reduce.add.v8i64", I64x8, types.int64)
largest_i32 = _make_reduce("llvm.vector.reduce.smax.v16i32", I32x16, types.int32)
sum_f32 = _make_reduce("llvm.vector.reduce.fadd.v16f32", F32x16, types.float32, 0.0)
largest_f32 = _make_reduce("llvm.vector.reduce.fmax.v16f32", F32x16, types.float32)
