"""Hamming scan in plain loops, over bytes or 64-bit words; also runs as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from retrieval.kernels.hamming.selection import LIMIT, offer

__all__ = ["distances", "scan"]

BLOCK = 2**10
"""Codes that all queries see before the next ones are read."""


def _count(word: Any) -> int:
    """Bits set in an unsigned integer."""
    return int(word).bit_count()


@intrinsic
def _count_native(_context: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return (
            builder.zext(builder.ctpop(args[0]), ir.IntType(64))
            if word.bitwidth < 64
            else builder.ctpop(args[0])
        )

    return types.int64(word), generate


@overload(_count)
def _count_compiled(word):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """LLVM's own count, which it vectorises for what the processor has."""

    def count(word):  # type: ignore[no-untyped-def]
        return _count_native(word)

    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _distance(queries, query, codes, i):  # type: ignore[no-untyped-def]
    total = 0
    for j in range(codes.shape[1]):
        total += _count(queries[query, j] ^ codes[i, j])
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def distances(query, codes, out):  # type: ignore[no-untyped-def]
    """Distance of one query ``(1, nbytes)`` to every code; ``out`` is int32."""
    for i in range(len(codes)):
        out[i] = _distance(query, 0, codes, i)


@njit(nogil=True, cache=True, error_model="numpy")
def scan(queries, codes, start, accept, held, k):  # type: ignore[no-untyped-def]
    """Offer every accepted code from row ``start`` on, for every query; ``accept`` empty: all."""
    block = np.empty(BLOCK, np.int64)
    for first in range(start, len(codes), BLOCK):
        last = min(first + BLOCK, len(codes))
        for query in range(len(queries)):
            for i in range(first, last):
                block[i - first] = _distance(queries, query, codes, i)
            for i in range(first, last):
                if block[i - first] < held[0][query, LIMIT] and (not len(accept) or accept[i]):
                    offer(held, query, block[i - first], i, k)
