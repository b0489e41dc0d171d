"""Float queries against quantised documents on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.asymmetric import portable
from retrieval.kernels.asymmetric.best import offer_block, sort_best
from retrieval.kernels.asymmetric.query import Documents, Scorer, frozen
from retrieval.kernels.asymmetric.reference import BITS
from retrieval.kernels.host import simd_level
from retrieval.types import FloatArray, IntArray

__all__ = ["asymmetric", "asymmetric_topk"]

LONGEST = 65536
"""Dimensions at most: sums of products of bytes fit in 32 bits."""
_SCORES = 2**16
"""Scores held at once while the best are looked for."""
_ALL = np.empty(0, np.bool_)


@cache
def _scorer(exact: bool) -> type[Scorer]:
    """How this machine scores float queries, or queries rounded to bytes."""
    if simd_level() != "avx512":
        return portable.ExactScorer if exact else portable.Scorer
    from retrieval.kernels.asymmetric import avx512, floats

    return floats.ExactScorer if exact else avx512.Scorer


def asymmetric(
    queries: FloatArray,
    codes: NDArray[np.uint8],
    scales: FloatArray,
    offsets: FloatArray,
    bits: int,
    exact: bool = False,
) -> FloatArray:
    """See `retrieval.kernels.asymmetric.reference.asymmetric`; the same up to rounding."""
    _check(queries, codes, scales, offsets, bits)
    out = np.empty((len(queries), len(codes)), np.float32)
    if out.size:
        documents = Documents(frozen(codes), frozen(scales), frozen(offsets))
        _scorer(exact)(queries, bits).score(documents, 0, len(codes), out)
    return out


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
    """See `retrieval.kernels.asymmetric.reference.asymmetric_topk`; the same up to rounding.

    Raises:
        ValueError: shapes or types that do not fit; a score that is NaN or infinite.
    """
    _check(queries, codes, scales, offsets, bits)
    n_queries, n = len(queries), len(codes)
    if accept is not None and (accept.shape != (n,) or accept.dtype != np.bool_):
        raise ValueError(f"accept: {accept.dtype}{accept.shape}, not bool({n},)")
    if k < 0:
        raise ValueError(f"k={k}: not a number of results")
    k = min(k, n if accept is None else int(np.count_nonzero(accept)))
    best, ordinals = np.empty((n_queries, k), np.float32), np.empty((n_queries, k), np.int64)
    if best.size:
        documents = Documents(frozen(codes), frozen(scales), frozen(offsets))
        accepted = frozen(_ALL if accept is None else np.ascontiguousarray(accept))
        _collect(_scorer(exact)(queries, bits), documents, accepted, best, ordinals)
        sort_best(best, ordinals)
    return best, ordinals


def _collect(
    scorer: Scorer, documents: Documents, accept: NDArray[np.bool_], best: FloatArray, ordinals: IntArray
) -> None:
    """Score block by block and keep the best; blocks without an accepted document are not read."""
    n_queries, n = len(best), len(documents.codes)
    rows = max(4096, _SCORES // n_queries // 32 * 32)
    block, sizes = np.empty((n_queries, min(rows, n)), np.float32), np.zeros(n_queries, np.int64)
    for first in range(0, n, rows):
        last = min(first + rows, n)
        if len(accept) and not accept[first:last].any():
            continue
        scorer.score(documents, first, last, block)
        if not offer_block(block, last - first, first, accept, best, ordinals, sizes):
            raise ValueError(
                f"a score among documents {first} to {last - 1} is NaN or infinite: check scales and offsets"
            )


def _check(
    queries: FloatArray, codes: NDArray[np.uint8], scales: FloatArray, offsets: FloatArray, bits: int
) -> None:
    if bits not in BITS:
        raise ValueError(f"bits={bits}: there are {BITS}")
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise ValueError(f"queries: {queries.dtype}{queries.shape}, not float32(n_queries, d)")
    dim = queries.shape[1]
    if not 1 <= dim <= LONGEST:
        raise ValueError(f"{dim} dimensions: from 1 to {LONGEST} can be scored")
    nbytes = -(-dim * bits // 8)
    if codes.dtype != np.uint8 or codes.shape != (len(codes), nbytes) or not codes.flags.c_contiguous:
        raise ValueError(f"codes: {codes.dtype}{codes.shape}, not contiguous uint8(n, {nbytes})")
    for name, array in (("scales", scales), ("offsets", offsets)):
        if array.dtype != np.float32 or array.shape != (len(codes),) or not array.flags.c_contiguous:
            raise ValueError(f"{name}: {array.dtype}{array.shape}, not contiguous float32({len(codes)},)")
    if not np.isfinite(queries).all():
        raise ValueError("queries: NaN or infinity")
