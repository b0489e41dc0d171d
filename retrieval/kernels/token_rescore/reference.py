"""Documents' stored tokens against a query, in plain NumPy: the definition.

MaxSim is that of `retrieval.kernels.maxsim.reference`; a document without tokens scores 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.maxsim.reference import maxsim, maxsim_i8
from retrieval.kernels.token_rescore.prepared import Tokens, decode, prepare_tokens
from retrieval.kernels.token_rescore.query import LEVELS, SIGMAS
from retrieval.kernels.topk.reference import select
from retrieval.types import FloatArray, IntArray

__all__ = [
    "Tokens",
    "best_exactly",
    "maxsim_exactly",
    "maxsim_stored",
    "prepare_tokens",
    "quantise",
]


def maxsim_stored(query: FloatArray, tokens: Tokens, ordinals: IntArray) -> tuple[FloatArray, float]:
    """MaxSim of one query ``(n_q, d)`` float32 with documents: ``(scores (n,) float32, error)``.

    Float tokens are multiplied in float32, and ``error`` is 0. Bytes are multiplied with the query
    rounded to int8 (see `quantise`), in integers: scores further apart than ``error`` are in the right order.

    Raises:
        ValueError: a type or shape that does not fit, a query that is not finite, an ordinal of no
            document, or a query of so many numbers that integers overflow (16 million).
    """
    if not tokens.is_bytes:
        return maxsim(query, tokens.codes, tokens.offsets, ordinals), 0.0
    codes, unit, constant, error = quantise(query, tokens)
    scores = maxsim_i8(codes, tokens.codes, tokens.offsets, ordinals) * unit + constant
    scores[tokens.offsets[ordinals + 1] == tokens.offsets[ordinals]] = 0
    return scores.astype(np.float32), error


def quantise(query: FloatArray, tokens: Tokens) -> tuple[NDArray[np.int8], float, float, float]:
    """``(codes (n_q, d), unit, constant, error)``: the query for bytes less 128, by one unit for all.

    A score is about ``unit * MaxSim(codes, bytes - 128) + constant``. The ``constant`` has the middles
    of the dimensions' ranges, and what is lost of the query times the mean of the bytes, which changes
    no order. The rest of the bytes is not known. ``error`` is four standard deviations of what a
    difference of two scores loses by it, with the bytes' variance in a sample: query tokens that lose
    alike add up as if they met the same document token, those that lose opposite things as if not. It is
    never more than what can be lost (255 times what is lost of the query), and has what float32 rounds.
    """
    folded = query * tokens.steps
    unit = float(np.abs(folded).max(initial=0)) / max_level(query)
    codes = np.rint(folded / unit).astype(np.int8) if unit > 0 else np.zeros(query.shape, np.int8)
    rest, (mean, variance) = folded - unit * codes, tokens.usual
    constant = float((query * tokens.middles).sum() + (rest * mean).sum())
    alike = (rest * variance) @ rest.T
    lost = min(255 * np.abs(rest).sum(), SIGMAS * np.sqrt(2 * alike.clip(min=0).sum()))
    size = abs(constant) + 128 * unit * np.abs(codes.astype(np.int64)).sum()
    return codes, unit, constant, float(lost + 2 * (np.abs(query) * tokens.doubts).sum() + 2.0**-22 * size)


def max_level(query: NDArray[Any]) -> int:
    """The largest number that a query may hold so that no score of it leaves int32.

    Raises:
        ValueError: there is none.
    """
    level = min(LEVELS, (2**31 - 1) // (128 * max(query.size, 1)))
    if not level:
        raise ValueError(
            f"the query is {query.shape}: a score of it in bytes may leave int32, split its tokens"
        )
    return level


def best_exactly(
    query: FloatArray,
    tokens: Tokens,
    ordinals: IntArray,
    k: int,
    slack: float,
    threads: int = 1,
) -> tuple[IntArray, FloatArray]:
    """The best ``k`` of one query's candidates by `maxsim_exactly`, and all that score as high as the last:
    ``(ordinals (m,), scores (m,))`` in the order in which they came. ``threads`` may share the work.

    Only those are scored exactly that may be among them by `maxsim_stored`: whose scores there are at least
    the ``k``-th best minus its error and ``slack``.

    Raises:
        ValueError: as `maxsim_stored`; ``k`` below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}: it must be at least 1")
    scores, error = maxsim_stored(query, tokens, ordinals)
    chosen = ordinals[select(scores, k, slack + error)]
    exact = maxsim_exactly(query, tokens, chosen)
    kept = select(exact, k, 0.0)
    return chosen[kept], exact[kept]


def maxsim_exactly(
    query: FloatArray,
    tokens: Tokens,
    ordinals: IntArray,
    threads: int = 1,
) -> FloatArray:
    """MaxSim of one query ``(n_q, d)`` float32 with what documents' numbers stand for (float32), products
    and sums in float64, rounded once to float32 ``(n,)``. Equal documents have equal scores, bit for bit.
    ``threads`` may share the work.

    Raises:
        ValueError: a type or shape that does not fit, a query that is not finite, an ordinal of no document.
    """
    wide, scores = query.astype(np.float64), np.zeros(len(ordinals))
    for i, j in enumerate(ordinals):
        document = decode(tokens, tokens.codes[tokens.offsets[j] : tokens.offsets[j + 1]])
        if len(document):
            scores[i] = (wide[:, None] * document.astype(np.float64)).sum(axis=2).max(axis=1).sum()
    with np.errstate(over="ignore"):  # infinite then, as kernels say
        return scores.astype(np.float32)
