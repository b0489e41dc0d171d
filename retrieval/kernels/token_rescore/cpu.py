"""Documents' stored tokens against a query, by whichever instructions the processor has.

Everything is serial but `best_exactly`, runs without the GIL and may be called from many threads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from retrieval.kernels import host
from retrieval.kernels.helpers import over_parts
from retrieval.kernels.maxsim.cpu import maxsim, maxsim_i8
from retrieval.kernels.token_rescore.prepared import Tokens, prepare_tokens
from retrieval.kernels.token_rescore.query import quantise_all
from retrieval.kernels.token_rescore.reference import max_level
from retrieval.kernels.topk.cpu import select
from retrieval.types import FloatArray, IntArray

__all__ = ["Tokens", "best_exactly", "maxsim_exactly", "maxsim_stored", "prepare_tokens"]

NARROW, WIDE = 32, 32768
"""Bytes of a token from which on, and dimensions up to which, AVX-512 is used: less than half a vector is not
worth it, and products of more may leave int32."""
ONCE = 2
"""Times ``k`` candidates up to which all are scored exactly at once: that costs about twice the fast scores,
which are for nothing where most of the candidates are scored exactly afterwards."""
ONCE_NARROWING = 4
"""The same where those who cannot come among the best any more are not scored exactly: the fast scores are
then by the way."""


def maxsim_stored(query: FloatArray, tokens: Tokens, ordinals: IntArray) -> tuple[FloatArray, float]:
    """See `retrieval.kernels.token_rescore.reference.maxsim_stored`; the same up to rounding."""
    query = _check(query, tokens, ordinals)
    score, error = _scorer(query, tokens)
    return score(ordinals), error


def best_exactly(
    query: FloatArray, tokens: Tokens, ordinals: IntArray, k: int, slack: float, threads: int = 1
) -> tuple[IntArray, FloatArray]:
    """See `retrieval.kernels.token_rescore.reference.best_exactly`; the same up to rounding."""
    query = _check(query, tokens, ordinals)
    if k < 1:
        raise ValueError(f"k is {k}: it must be at least 1")
    chosen, narrows = ordinals, _narrows(query, tokens)
    if len(ordinals) > (ONCE_NARROWING if narrows else ONCE) * k:
        score, error = _scorer(query, tokens, threads)
        chosen = ordinals[select(score(ordinals), k, slack + error)]
    exact = _score_exactly(query, tokens, chosen, threads, k if narrows else 0)
    kept = select(exact, k, 0.0)
    return chosen[kept], exact[kept]


def maxsim_exactly(query: FloatArray, tokens: Tokens, ordinals: IntArray, threads: int = 1) -> FloatArray:
    """See `retrieval.kernels.token_rescore.reference.maxsim_exactly`; the same up to rounding in float64. So
    many ``threads`` may share it."""
    return _score_exactly(_check(query, tokens, ordinals), tokens, ordinals, threads)


def _score_exactly(
    query: FloatArray, tokens: Tokens, ordinals: IntArray, threads: int, k: int = 0
) -> FloatArray:
    """`maxsim_exactly`; with ``k``, where `_narrows`, who cannot be among the best ``k`` may score -inf."""
    ordinals, scores = np.ascontiguousarray(ordinals), np.empty(len(ordinals), np.float32)
    among = (k,) if k else ()
    _level(query.shape[1], tokens).maxsim_exactly(query, tokens, ordinals, scores, threads, *among)
    return scores


def _narrows(query: FloatArray, tokens: Tokens) -> bool:
    """Whether exact scores are made in such an order that some documents can be left out."""
    level = _level(query.shape[1], tokens)
    return hasattr(level, "narrows") and bool(level.narrows(query, tokens))


def _scorer(
    query: FloatArray, tokens: Tokens, threads: int = 1
) -> tuple[Callable[[IntArray], FloatArray], float]:
    """A function that scores documents, and the error of what it says."""
    codes, offsets = tokens.codes, tokens.offsets
    if not tokens.is_bytes:
        return lambda asked: over_parts(lambda some: maxsim(query, codes, offsets, some), asked, threads), 0.0
    rounded, level = np.empty(query.shape, np.int8), max_level(query)
    known = tokens.steps, tokens.middles, tokens.doubts, *tokens.usual
    unit, constant, error = quantise_all(query, *known, level, rounded)

    def score(ordinals: IntArray) -> FloatArray:
        scores = maxsim_i8(rounded, codes, offsets, ordinals, threads) * unit + constant
        scores[offsets[ordinals + 1] == offsets[ordinals]] = 0
        with np.errstate(over="ignore"):  # infinite then, as of floats
            return scores.astype(np.float32)

    return score, float(error)


def _check(query: FloatArray, tokens: Tokens, ordinals: IntArray) -> FloatArray:
    """The query, contiguous.

    Raises:
        ValueError: a type or shape that does not fit, a query that is not finite, an ordinal of no document.
    """
    dim, n = tokens.codes.shape[1], len(tokens.offsets) - 1
    if query.dtype != np.float32 or query.ndim != 2 or query.shape[1] != dim:
        raise ValueError(f"the query is {query.dtype} {query.shape}: it must be float32 (n_q, {dim})")
    if not np.isfinite(query).all():
        raise ValueError("the query holds NaN or infinite numbers")
    if ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise ValueError(f"ordinals are {ordinals.dtype} {ordinals.shape}: they must be int64 (n,)")
    if len(ordinals) and not (ordinals.min() >= 0 and ordinals.max() < n):
        raise ValueError(f"ordinal {ordinals[(ordinals < 0) | (ordinals >= n)][0]}: there are {n} documents")
    return np.ascontiguousarray(query)


def _level(dim: int, tokens: Tokens) -> Any:
    """The module for this machine and tokens of this size; importing it imports Numba."""
    fits = dim >= NARROW // min(tokens.codes.itemsize, 2) and dim <= WIDE
    return _module(host.simd_level() if fits else "portable")


@cache
def _module(level: host.SimdLevel) -> Any:
    return import_module(f"retrieval.kernels.token_rescore.{level}")
