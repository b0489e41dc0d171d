"""Inner products of float queries with scalar-quantised documents, in plain NumPy.

A document's value is ``offset[i] + scale[i] * code[i, j]`` with an unsigned code of ``bits`` bits, so

    score[q, i] = offset[i] * sum_j query[q, j] + scale[i] * sum_j query[q, j] * code[i, j]

(asymmetric distance computation: Jegou, Douze and Schmid, Product quantization for nearest neighbor
search, TPAMI 2011, section 3; the codes here are scalar).

Layout: the code of dimension j is in byte ``j * bits // 8``, at bit ``j * bits % 8`` and up; bits
beyond the last dimension are ignored.

Unless ``exact``, the query is rounded to signed bytes, ``query ~ step * q8`` with
``step = max |query| / 127``, and what rounding loses is added back for the mean code
``c = (2**bits - 1) / 2``, for which it is known:

    sum_j query_j * code_j  ~  step * sum_j q8_j * code_j + c * sum_j (query_j - step * q8_j)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["BITS", "asymmetric", "asymmetric_topk", "error_bound", "quantise", "unpack"]

BITS = (1, 2, 4, 8)


def unpack(codes: NDArray[np.uint8], bits: int, dim: int) -> NDArray[np.uint8]:
    """``(n, ceil(dim * bits / 8))`` bytes to ``(n, dim)`` codes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (codes[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return values.reshape(len(codes), codes.shape[1] * len(shifts))[:, :dim]


def quantise(queries: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """``queries ~ steps[:, None] * codes``: signed bytes from -127 to 127 and a step for each query."""
    steps = np.abs(queries).max(axis=1, initial=0).astype(np.float64) / 127
    codes = np.rint(queries / np.where(steps > 0, steps, 1)[:, None])
    return np.clip(codes, -127, 127).astype(np.int8), steps


def asymmetric(
    queries: FloatArray,
    codes: NDArray[np.uint8],
    scales: FloatArray,
    offsets: FloatArray,
    bits: int,
    exact: bool = False,
) -> FloatArray:
    """Score every query against every document.

    Args:
        queries: ``(n_queries, d)`` float32, finite.
        codes: ``(n, ceil(d * bits / 8))``.
        scales: ``(n,)``.
        offsets: ``(n,)``.
        bits: 1, 2, 4 or 8.
        exact: multiply with the float query; otherwise with the query rounded to bytes, which is
            faster and off by at most `error_bound`.

    Returns:
        ``(n_queries, n)`` float32.
    """
    wide = queries.astype(np.float64)
    values = unpack(codes, bits, queries.shape[1]).astype(np.float64)
    sums = wide.sum(axis=1, keepdims=True)
    if exact:
        dots = wide @ values.T
    else:
        rounded, steps = quantise(queries)
        lost = sums - steps[:, None] * rounded.sum(axis=1, dtype=np.int64, keepdims=True)
        dots = steps[:, None] * (rounded.astype(np.float64) @ values.T) + (2**bits - 1) / 2 * lost
    return (offsets * sums + scales * dots).astype(np.float32)


def asymmetric_topk(
    queries: FloatArray,
    codes: NDArray[np.uint8],
    scales: FloatArray,
    offsets: FloatArray,
    bits: int,
    k: int,
    accept: NDArray[np.bool_] | None = None,
    exact: bool = False,
) -> tuple[FloatArray, IntArray]:
    """The ``k`` best documents of each query by `asymmetric`, best first, equal scores by ordinal.

    ``accept`` ``(n,)``: the documents that may be found; None: all. Fewer than ``k`` come back where
    fewer are accepted.

    Returns:
        Scores and ordinals, both ``(n_queries, min(k, accepted))``.
    """
    ordinals = np.arange(len(codes)) if accept is None else np.flatnonzero(accept)
    scores = asymmetric(queries, codes[ordinals], scales[ordinals], offsets[ordinals], bits, exact)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, axis=1), ordinals[best]


def error_bound(queries: FloatArray, scales: FloatArray, bits: int) -> NDArray[Any]:
    """How far a score can be from the exact one, ``(n_queries, n)``, rounding of floats aside.

    ``|scale| * (2**bits - 1) / 2 * sum_j |query_j - step * q8_j|``: no code is further from the mean
    code than that, and each query value is off by half a step at most.
    """
    rounded, steps = quantise(queries)
    lost = np.abs(queries - steps[:, None] * rounded).sum(axis=1, keepdims=True)
    return np.abs(scales) * ((2**bits - 1) / 2) * lost
