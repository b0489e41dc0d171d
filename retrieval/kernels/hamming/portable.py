"""Hamming scan in plain loops, four codes at a time, eight bytes at a time; also runs as plain Python."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from retrieval.kernels.hamming.selection import LIMIT, offer
from retrieval.kernels.simd.memory import _load, _pointer, prefetch

__all__ = ["distances", "query_words", "scan"]

BLOCK = 2**10
"""Codes that all queries see before the next ones are read."""
WORD = 8
"""Bytes of a word."""
AHEAD = 2048
"""How many bytes ahead to ask for; beyond what the processor asks for by itself."""

_inner = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


def query_words(queries: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """``(n_queries, nbytes)`` as ``(n_queries, ceil(nbytes / 8))`` words, filled up with zeros."""
    padded = np.zeros((len(queries), -(-queries.shape[1] // WORD) * WORD), np.uint8)
    padded[:, : queries.shape[1]] = queries
    return padded.view(np.uint64)


def _count(word: Any) -> int:
    """Bits set in an unsigned integer."""
    return int(word).bit_count()


def _word(codes: Any, at: Any) -> Any:
    """Eight bytes from byte ``at`` on, which need not be aligned."""
    return np.uint64(int.from_bytes(codes[at : at + WORD].tobytes(), sys.byteorder))


@intrinsic
def _count_native(_context: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        counted = builder.ctpop(args[0])
        # No instruction, but LLVM cannot see through it, and leaves the processor's own count alone:
        # codes are too short for vectors, whose sums must be added up in the end.
        return builder.asm(ir.FunctionType(counted.type, [counted.type]), "", "=r,0", [counted], False)

    return types.int64(word), generate


@intrinsic
def _word_native(_context: Any, codes: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, _pointer(context, builder, signature, args, ir.IntType(64)))

    return types.uint64(codes, at), generate


@overload(_count)
def _count_compiled(word):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """LLVM's own count."""

    def count(word):  # type: ignore[no-untyped-def]
        return _count_native(word)

    return count


@overload(_word)
def _word_compiled(codes, at):  # type: ignore[no-untyped-def]  # noqa: ARG001
    def word(codes, at):  # type: ignore[no-untyped-def]
        return _word_native(codes, at)

    return word


def _ask(_codes: Any, _at: Any) -> None:
    """Ask for a cache line soon."""


@overload(_ask)
def _ask_compiled(_codes, _at):  # type: ignore[no-untyped-def]
    def ask(_codes, _at):  # type: ignore[no-untyped-def]
        prefetch(_codes, _at)

    return ask


@_inner
def _last_word(codes, at, nbytes):  # type: ignore[no-untyped-def]
    """The last ``nbytes % 8`` bytes of a code, alone in a word."""
    tail = nbytes % WORD
    if nbytes >= WORD:
        return _word(codes, at + nbytes - WORD) >> np.uint64(8 * (WORD - tail))
    word = np.uint64(0)
    for j in range(tail):
        word |= np.uint64(codes[at + j]) << np.uint64(8 * j)
    return word


@_inner
def _differ(codes, at, word):  # type: ignore[no-untyped-def]
    return _count(_word(codes, at) ^ word)


@_inner
def _one(words, codes, at, nbytes):  # type: ignore[no-untyped-def]
    """Distance of the code that begins at this byte."""
    total = 0
    for j in range(nbytes // WORD):
        total += _differ(codes, at + j * WORD, words[j])
    if nbytes % WORD:
        total += _count(_last_word(codes, at, nbytes) ^ words[nbytes // WORD])
    return total


@_inner
def _fetch_four(codes, at, nbytes):  # type: ignore[no-untyped-def]
    """Ask for what four codes from this byte on take, `AHEAD` bytes later."""
    for i in range(at + AHEAD, at + AHEAD + 4 * nbytes, 64):
        _ask(codes, i)


@_inner
def _four(words, codes, a, nbytes):  # type: ignore[no-untyped-def]
    """Distances of the four codes from this byte on: their counts do not wait for each other."""
    b, c, d = a + nbytes, a + 2 * nbytes, a + 3 * nbytes
    m = n = o = p = 0
    for i in range(0, nbytes - 2 * WORD + 1, 2 * WORD):
        word, other = words[i // WORD], words[i // WORD + 1]
        m += _differ(codes, a + i, word) + _differ(codes, a + i + WORD, other)
        n += _differ(codes, b + i, word) + _differ(codes, b + i + WORD, other)
        o += _differ(codes, c + i, word) + _differ(codes, c + i + WORD, other)
        p += _differ(codes, d + i, word) + _differ(codes, d + i + WORD, other)
    if nbytes & WORD:
        i = nbytes // WORD * WORD - WORD
        word = words[i // WORD]
        m, n = m + _differ(codes, a + i, word), n + _differ(codes, b + i, word)
        o, p = o + _differ(codes, c + i, word), p + _differ(codes, d + i, word)
    if nbytes % WORD:
        word = words[nbytes // WORD]
        m += _count(_last_word(codes, a, nbytes) ^ word)
        n += _count(_last_word(codes, b, nbytes) ^ word)
        o += _count(_last_word(codes, c, nbytes) ^ word)
        p += _count(_last_word(codes, d, nbytes) ^ word)
    return m, n, o, p


@njit(nogil=True, cache=True, error_model="numpy")
def distances(words, codes, nbytes, out):  # type: ignore[no-untyped-def]
    """Distance of one query ``(1, words)`` to every code of flat ``codes``; ``out`` is int32."""
    n, row = len(out), words[0]
    for i in range(0, n - 3, 4):
        _fetch_four(codes, i * nbytes, nbytes)
        out[i], out[i + 1], out[i + 2], out[i + 3] = _four(row, codes, i * nbytes, nbytes)
    for i in range(n // 4 * 4, n):
        out[i] = _one(row, codes, i * nbytes, nbytes)


@_inner
def _offer_four(found, limit, first, query, accept, held, k):  # type: ignore[no-untyped-def]
    """Offer what is nearer than ``limit``; the new one."""
    for j in range(4):
        if found[j] < limit and (not len(accept) or accept[first + j]):
            offer(held, query, found[j], first + j, k)
            limit = held[0][query, LIMIT]
    return limit


@njit(nogil=True, cache=True, error_model="numpy")
def scan(words, codes, nbytes, start, accept, held, k):  # type: ignore[no-untyped-def]
    """Offer every accepted code from row ``start`` on, for every query; ``accept`` empty: all.

    ``words`` are `query_words`, ``codes`` flat.
    """
    n = len(codes) // nbytes
    for first in range(start, n, BLOCK):
        last = min(first + BLOCK, n)
        for query in range(len(words)):
            limit, row = held[0][query, LIMIT], words[query]
            for i in range(first, last - 3, 4):
                if query == 0:  # the others find the block in the cache
                    _fetch_four(codes, i * nbytes, nbytes)
                found = _four(row, codes, i * nbytes, nbytes)
                if min(found[0], found[1], found[2], found[3]) < limit:
                    limit = _offer_four(found, limit, i, query, accept, held, k)
            for i in range(last - (last - first) % 4, last):
                if not len(accept) or accept[i]:
                    offer(held, query, _one(row, codes, i * nbytes, nbytes), i, k)
