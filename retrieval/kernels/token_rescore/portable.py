"""Exact MaxSim in plain loops, which LLVM vectorises along a token; also runs as plain Python.

Tokens are decoded a document at a time and multiplied in float32; what may be the best, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.helpers import over_turns
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.kernels.token_rescore.query import spread_floats
from retrieval.kernels.turns import finish, follow, take
from retrieval.types import FloatArray, IntArray

__all__ = ["maxsim_exactly"]

_REBASE = np.float32(2.0**112)
_FAST: Any = {"contract", "reassoc"}
_inner = njit(nogil=True, error_model="numpy", _nrt=False)
_fast = njit(nogil=True, error_model="numpy", _nrt=False, fastmath=_FAST)


@_inner
def _widen(halves, row, words, floats):  # type: ignore[no-untyped-def]
    """A row of float16 bits as float32; both outputs are the same memory."""
    for j in range(len(words)):
        half = np.uint32(halves[row, j])
        size = half & np.uint32(0x7FFF)
        words[j] = (half & np.uint32(0x8000)) << np.uint32(16) | size << np.uint32(13)
        if size >= np.uint32(0x7C00):  # infinite or NaN stays so
            words[j] |= np.uint32(0x7F800000)
    for j in range(len(words)):  # the exponent now counts from -127 and not from -15
        floats[j] *= _REBASE


@_inner
def _decode(values, size, row, span, low, words, floats):  # type: ignore[no-untyped-def]
    """What a row stands for, rounded as `Int8Codec.decode` rounds; both outputs are the same memory."""
    if size == 2:
        _widen(values, row, words, floats)
    elif len(span):
        for j in range(len(floats)):
            level = (np.float32(values[row, j]) + np.float32(0.5)) / np.float32(255)
            floats[j] = level * span[j] + low[j]
    else:
        for j in range(len(floats)):
            floats[j] = np.float32(values[row, j])


@_fast
def _multiply(query, floats, products):  # type: ignore[no-untyped-def]
    """``(n_q, length)`` products in float32; two tokens of each at a time."""
    n_q, length = products.shape
    for q in range(0, n_q, 2):
        p = min(q + 1, n_q - 1)
        for t in range(0, length, 2):
            u = min(t + 1, length - 1)
            a = b = c = d = np.float32(0)
            for j in range(query.shape[1]):
                a += query[q, j] * floats[t, j]
                b += query[q, j] * floats[u, j]
                c += query[p, j] * floats[t, j]
                d += query[p, j] * floats[u, j]
            products[q, t], products[q, u], products[p, t], products[p, u] = a, b, c, d


@_fast
def _product(query, floats):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(len(query)):
        total += np.float64(query[j]) * np.float64(floats[j])
    return total


@_inner
def _largest(query, floats, products, spread):  # type: ignore[no-untyped-def]
    """The largest product in float64 of a query token, of whose float32 ``products`` none is off by more
    than half of ``spread``; NaN if there is one."""
    best = products[0]
    for x in products:
        best = max(best, x)
    limit, exact = best - spread, -np.inf
    for t in range(len(products)):
        if not products[t] < limit:  # also where one of them is NaN
            x = _product(query, floats[t])
            if x > exact or x != x:  # noqa: PLR0124
                exact = x
    return exact


@njit(nogil=True, cache=True, error_model="numpy")
def _score(query, values, size, offsets, ordinals, span, low, spreads, turns, scores):  # type: ignore[no-untyped-def]
    """`reference.maxsim_exactly` into ``scores``; float16 as uint16."""
    longest, (n_q, dim) = 0, query.shape
    for ordinal in ordinals:
        longest = max(longest, offsets[ordinal + 1] - offsets[ordinal])
    words = np.empty((longest, dim), np.uint32)
    floats = words.view(np.float32)
    room = np.empty(n_q * longest, np.float32)
    n, count = len(ordinals), 0
    i, end = take(turns, n)
    while i < n:
        start, stop = offsets[ordinals[i]], offsets[ordinals[i] + 1]
        length, total = stop - start, 0.0
        products = room[: n_q * length].reshape(n_q, length)
        for t in range(length):
            _decode(values, size, start + t, span, low, words[t], floats[t])
        _multiply(query, floats, products)
        for q in range(n_q if length else 0):
            total += _largest(query[q], floats, products[q], spreads[q])
        scores[i] = total
        count, (i, end) = count + 1, follow(turns, i, end, n)
    finish(turns, count)


def maxsim_exactly(
    query: FloatArray, tokens: Tokens, ordinals: IntArray, scores: FloatArray, threads: int = 1
) -> None:
    """See `retrieval.kernels.token_rescore.cpu.maxsim_exactly`; arguments are checked."""
    codes, spreads = tokens.codes, np.empty(len(query), np.float32)
    spread_floats(query, tokens.norm, spreads)
    size = codes.itemsize
    if size == 2:
        codes = codes.view(np.uint16)
        codes.flags.writeable = False
    given = query, codes, size, tokens.offsets, ordinals, tokens.span, tokens.low, spreads
    with np.errstate(all="ignore"):  # as compiled code does
        over_turns(lambda turns: _score(*given, turns, scores), len(scores), threads)
