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
from retrieval.kernels.blocks import over_parts
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
    chosen = ordinals
    if len(ordinals) > ONCE * k:
        score, error = _scorer(query, tokens)
        chosen = ordinals[select(over_parts(score, ordinals, threads), k, slack + error)]
    exact = over_parts(lambda some: maxsim_exactly(query, tokens, some), chosen, threads)
    kept = select(exact, k, 0.0)
    return chosen[kept], exact[kept]


def maxsim_exactly(query: FloatArray, tokens: Tokens, ordinals: IntArray) -> FloatArray:
    """See `retrieval.kernels.token_rescore.reference.maxsim_exactly`; the same up to rounding in float64."""
    query = _check(query, tokens, ordinals)
    scores = np.empty(len(ordinals), np.float32)
    _level(query.shape[1], tokens).maxsim_exactly(query, tokens, np.ascontiguousarray(ordinals), scores)
    return scores


def _scorer(query: FloatArray, tokens: Tokens) -> tuple[Callable[[IntArray], FloatArray], float]:
    """A function that scores documents, and the error of what it says."""
    codes, offsets = tokens.codes, tokens.offsets
    if not tokens.is_bytes:
        return lambda ordinals: maxsim(query, codes, offsets, ordinals), 0.0
    rounded, level = np.empty(query.shape, np.int8), max_level(query)
    known = tokens.steps, tokens.middles, tokens.doubts, *tokens.usual
    unit, constant, error = quantise_all(query, *known, level, rounded)

    def score(ordinals: IntArray) -> FloatArray:
        scores = maxsim_i8(rounded, codes, offsets, ordinals) * unit + constant
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
