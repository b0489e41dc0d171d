"""What differs between number types in `retrieval.kernels.maxsim.avx512`: chosen by Numba types.

A packed query is an array of float32, of uint16 (bits of bfloat16) or of int8. One 64-byte vector of
it holds four bytes for each of 16 query tokens, and so gives one float, two bfloat16 or four int8
products a lane. Inner products add up in float32, those of int8 in int32.
"""
# Numba matches a choice with its function by the arguments' names, used or not.
# ruff: noqa: ARG001, ARG005, PLW0108

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from retrieval.kernels.simd.arithmetic import (
    as_f32,
    as_i32,
    dot_bf16,
    dot_u8i8,
    fma,
    maximum_f32,
    maximum_i32,
    splat_f32,
    splat_i32,
    sub,
    sum_f32,
    sum_i32,
    zero_f32,
    zero_i32,
)
from retrieval.kernels.simd.memory import load_f32, load_i8, load_i16, load_i32, store_f32, store_i32
from retrieval.kernels.simd.types import F32x16, I8x64, I16x32

__all__ = [
    "largest",
    "load_sums",
    "lowest",
    "multiply_add",
    "query_vector",
    "store_sums",
    "total",
    "undefined",
    "zero",
]

Implementation = Callable[..., Any]
# Below, strict=False: Numba would compare annotations, which the chosen lambdas cannot have.
_LOWEST_FLOAT, _LOWEST_INT = np.float32(-np.inf), -(2**31)


def query_vector(packed: Any, index: Any) -> Any:
    """The 64-byte vector number ``index`` of a packed query."""
    raise NotImplementedError


def multiply_add(sums: Any, token: Any, query: Any) -> Any:
    """``sums`` and the products of four bytes of a document token (in every lane) with the query's."""
    raise NotImplementedError


def lowest(sums: Any) -> Any:
    """A vector below every inner product; ``sums``: an array for sums, for its type."""
    raise NotImplementedError


def zero(sums: Any) -> Any:
    """A vector of zeros; ``sums``: an array for sums, for its type."""
    raise NotImplementedError


def largest(a: Any, b: Any) -> Any:
    """The larger of each lane."""
    raise NotImplementedError


def undefined(a: Any) -> Any:
    """0 in every lane, or NaN where ``a`` is NaN (which `largest` may lose) or infinite."""
    raise NotImplementedError


def total(a: Any) -> Any:
    """The sum of the lanes."""
    raise NotImplementedError


def load_sums(sums: Any, index: Any) -> Any:
    """Vector number ``index`` of an array of sums."""
    raise NotImplementedError


def store_sums(sums: Any, index: Any, a: Any) -> None:
    """Write vector number ``index`` of an array of sums."""
    raise NotImplementedError


@overload(query_vector, strict=False)
def _query_vector(packed: Any, index: Any) -> Implementation:
    if packed.dtype == types.int8:
        return lambda packed, index: load_i8(packed, 64 * index)
    if packed.dtype == types.uint16:
        return lambda packed, index: load_i16(packed, 32 * index)
    return lambda packed, index: load_f32(packed, 16 * index)


@overload(multiply_add, strict=False)
def _multiply_add(sums: Any, token: Any, query: Any) -> Implementation:
    if query == I8x64:
        return lambda sums, token, query: dot_u8i8(sums, token, query)
    if query == I16x32:
        return lambda sums, token, query: dot_bf16(sums, token, as_i32(query))
    return lambda sums, token, query: fma(as_f32(token), query, sums)


@overload(lowest, strict=False)
def _lowest(sums: Any) -> Implementation:
    if sums.dtype == types.int32:
        return lambda sums: splat_i32(_LOWEST_INT)
    return lambda sums: splat_f32(_LOWEST_FLOAT)


@overload(zero, strict=False)
def _zero(sums: Any) -> Implementation:
    if sums.dtype == types.int32:
        return lambda sums: zero_i32()
    return lambda sums: zero_f32()


@overload(largest, strict=False)
def _largest(a: Any, b: Any) -> Implementation:
    if a == F32x16:
        return lambda a, b: maximum_f32(a, b)
    return lambda a, b: maximum_i32(a, b)


@overload(undefined, strict=False)
def _undefined(a: Any) -> Implementation:
    if a == F32x16:
        return lambda a: sub(a, a)
    return lambda a: zero_i32()


@overload(total, strict=False)
def _total(a: Any) -> Implementation:
    if a == F32x16:
        return lambda a: sum_f32(a)
    return lambda a: sum_i32(a)


@overload(load_sums, strict=False)
def _load_sums(sums: Any, index: Any) -> Implementation:
    if sums.dtype == types.int32:
        return lambda sums, index: load_i32(sums, 16 * index)
    return lambda sums, index: load_f32(sums, 16 * index)


@overload(store_sums, strict=False)
def _store_sums(sums: Any, index: Any, a: Any) -> Implementation:
    if a == F32x16:
        return lambda sums, index, a: store_f32(sums, 16 * index, a)
    return lambda sums, index, a: store_i32(sums, 16 * index, a)
