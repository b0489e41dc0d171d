"""MaxSim of a query with tokens stored as a centroid and a coded residual, in plain NumPy.

    score(D) = sum over q of max over tokens t of D of
               (centroid_scores[centroid(t), q] + residual(t, q)) * inv_norms[t]

where ``residual(t, q)`` is the inner product of query token ``q`` with the decoded residual: a sum of
table entries for a product quantiser (Jegou et al., PAMI 2011), or of query numbers times codebook
entries for codes of a few bits a dimension (ColBERTv2, Santhanam et al., NAACL 2022). The inverse
norm makes the reconstructed token a unit vector again. A document without tokens scores 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["coded_maxsim_bits", "coded_maxsim_pq", "unpack"]

Array = NDArray[Any]


def unpack(codes: Array, bits: int, n: int) -> Array:
    """``(rows, bytes)`` -> ``(rows, n)``: codes of ``bits`` bits, in each byte the lowest first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    split = (codes[:, :, None] >> shifts) & (2**bits - 1)
    return split.reshape(len(codes), codes.shape[1] * len(shifts))[:, :n]


def coded_maxsim_pq(
    centroid_scores: Array,
    residual_table: Array,
    centroids: Array,
    codes: Array,
    inv_norms: Array,
    offsets: Array,
    ordinals: Array | None = None,
    nbits: int = 4,
) -> NDArray[np.float32]:
    """Score the documents of ``ordinals`` (none: all), residuals coded by a product quantiser.

    ``centroid_scores`` is ``(K, n_q)`` and ``residual_table`` ``(m, 2**nbits, n_q)`` float32: the
    inner products of the query's tokens with every centroid and codeword. For each token,
    ``centroids`` has its centroid (uint16 or uint32), ``codes`` its ``m`` codewords (uint8; two a
    byte, the first lowest, with ``nbits=4``) and ``inv_norms`` its inverse norm (float16 or float32).
    Document ``i`` owns tokens ``offsets[i]:offsets[i + 1]``. Returns ``(n,)`` float32.
    """
    m = len(residual_table)
    table = residual_table.astype(np.float64)

    def residuals(rows: slice) -> Array:
        picked = unpack(codes[rows], nbits, m)
        return table[np.arange(m), picked].sum(axis=1)

    return _score(centroid_scores, residuals, centroids, inv_norms, offsets, ordinals)


def coded_maxsim_bits(
    query: Array,
    centroid_scores: Array,
    buckets: Array,
    codes: Array,
    centroids: Array,
    inv_norms: Array,
    offsets: Array,
    ordinals: Array | None = None,
    bits: int = 4,
) -> NDArray[np.float32]:
    """As `coded_maxsim_pq`, with residuals of 1, 2 or 4 ``bits`` a dimension.

    ``query`` is ``(n_q, d)`` float32. A code picks an entry of ``buckets``: ``(2**bits,)``, or
    ``(d, 2**bits)`` for a codebook a dimension. ``codes`` is ``(n_tokens, ceil(d * bits / 8))`` uint8,
    the first dimension lowest. Signs are 1 bit with buckets (-b, b), ternary codes 2 bits with
    (-b, 0, b, 0).
    """
    d = query.shape[1]
    each = np.broadcast_to(buckets, (d, 2**bits)).astype(np.float64)

    def residuals(rows: slice) -> Array:
        return each[np.arange(d), unpack(codes[rows], bits, d)] @ query.T.astype(np.float64)

    return _score(centroid_scores, residuals, centroids, inv_norms, offsets, ordinals)


def _score(
    centroid_scores: Array,
    residuals: Any,
    centroids: Array,
    inv_norms: Array,
    offsets: Array,
    ordinals: Array | None,
) -> NDArray[np.float32]:
    chosen = range(len(offsets) - 1) if ordinals is None else ordinals
    scores = np.zeros(len(chosen), dtype=np.float32)
    for i, ordinal in enumerate(chosen):
        rows = slice(offsets[ordinal], offsets[ordinal + 1])
        if rows.stop > rows.start:
            sums = centroid_scores[centroids[rows]].astype(np.float64) + residuals(rows)
            scores[i] = (sums * inv_norms[rows].astype(np.float64)[:, None]).max(axis=0).sum()
    return scores
