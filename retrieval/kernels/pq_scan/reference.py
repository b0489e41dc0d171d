"""Product-quantised codes scored through look-up tables.

The score of a vector is ``sum over s of table[s, code[s]]``; larger is better (for distances give
negated tables). Jegou, Douze, Schmid, Product quantization for nearest neighbor search (2011);
tables of bytes after Andre, Kermarrec, Le Scouarnec, Cache locality is not enough (VLDB 2015).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.topk.reference import topk
from retrieval.types import FloatArray, IntArray

__all__ = ["BLOCK", "pack_codes", "pq_scan", "pq_scores", "quantize_tables", "unpack_codes"]

BLOCK = 32
"""Vectors in a block of packed 4-bit codes."""
_GROUP = 8
"""Subquantisers in a row of a block."""


def pack_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """4-bit codes ``(n, m)`` as ``(ceil(n / 32), ceil(m / 8), 2, 64)`` bytes, padded with zeros.

    A row of 64 bytes holds 16 vectors x 8 subquantisers: byte ``4 v + j`` has subquantiser ``j`` of
    vector ``v`` in its low half and subquantiser ``4 + j`` in its high half.

    Raises:
        ValueError: a code is above 15.
    """
    if codes.size and codes.max() > 15:
        raise ValueError(f"a code is {codes.max()}: 4-bit codes are at most 15")
    n, m = codes.shape
    n_blocks, groups = -(-n // BLOCK), -(-m // _GROUP)
    padded = np.zeros((n_blocks * BLOCK, groups * _GROUP), np.uint8)
    padded[:n, :m] = codes
    rows = padded.reshape(n_blocks, 2, 16, groups, 2, 4).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(rows[:, :, :, 0] | rows[:, :, :, 1] << 4).reshape(n_blocks, groups, 2, 64)


def unpack_codes(packed: NDArray[np.uint8], n: int, m: int) -> NDArray[np.uint8]:
    """The ``(n, m)`` codes that `pack_codes` packed."""
    n_blocks, groups = packed.shape[:2]
    rows = packed.reshape(n_blocks, groups, 2, 16, 4)
    halves = np.stack([rows & 15, rows >> 4], axis=4).transpose(0, 2, 3, 1, 4, 5)
    return np.ascontiguousarray(halves.reshape(n_blocks * BLOCK, groups * _GROUP)[:n, :m])


def quantize_tables(tables: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Float tables ``(n_queries, m, ksub)`` as bytes: ``(tables u8, scale (n_queries,), bias (n_queries,))``.

    Per query one ``scale``, the widest subspace's range over 255, and ``bias``, the sum of the
    subspaces' minima in their order: ``scale * total + bias`` is within ``m * scale / 2`` of the float score.
    """
    low = tables.min(axis=2).astype(np.float64)
    scale = (tables.max(axis=2) - low).max(axis=1) / 255
    steps = (tables - low[:, :, None]) * (1 / np.where(scale > 0, scale, 1))[:, None, None]
    return np.rint(steps).astype(np.uint8), scale, np.add.accumulate(low, axis=1)[:, -1]


def _codes(tables: FloatArray, codes: NDArray[np.uint8], nbits: int, n: int | None) -> NDArray[np.uint8]:
    if nbits == 8:
        return codes
    return unpack_codes(codes, len(codes) * BLOCK if n is None else n, tables.shape[1])


def pq_scores(
    tables: FloatArray, codes: NDArray[np.uint8], nbits: int = 8, n: int | None = None
) -> FloatArray:
    """Scores ``(n_queries, n)`` float32 of all vectors, through the float tables.

    ``tables`` ``(n_queries, m, 2**nbits)`` float32; ``codes`` ``(n, m)`` uint8 with ``nbits`` 8, what
    `pack_codes` gives with 4, of which the first ``n`` vectors count (by default all, padding
    included). Summed in float32 in the order of the subquantisers.
    """
    rows = _codes(tables, codes, nbits, n)
    scores = np.zeros((len(tables), len(rows)), np.float32)
    for s in range(tables.shape[1]):
        scores += tables[:, s, rows[:, s]]
    return scores


def pq_scan(
    tables: FloatArray,
    codes: NDArray[np.uint8],
    k: int,
    accept: NDArray[np.bool_] | None = None,
    nbits: int = 8,
    n: int | None = None,
    exact_tables: bool = False,
) -> tuple[FloatArray, IntArray]:
    """The best ``k`` vectors of each query: ``(scores (n_queries, k') float32, ordinals int64)``.

    Arguments as for `pq_scores`. Ranked by the integer total through `quantize_tables`, ties by ordinal
    ascending, and scored ``scale * total + bias``; with ``exact_tables`` ranked and scored by
    `pq_scores`. ``accept`` ``(n,)`` leaves ordinals out; ``k'`` is ``k`` or the number of accepted.
    """
    scale, bias = np.ones(len(tables)), np.zeros(len(tables))
    values: NDArray[np.generic] = tables
    if not exact_tables:
        values, scale, bias = quantize_tables(tables)
    all_scores = pq_scores(values.astype(np.float32), codes, nbits=nbits, n=n)
    size = min(k, all_scores.shape[1] if accept is None else int(accept.sum()))
    totals, ordinals = np.empty((len(tables), size)), np.empty((len(tables), size), np.int64)
    for i, row in enumerate(all_scores):
        totals[i], ordinals[i] = topk(row, k, accept)
    return (totals * scale[:, None] + bias[:, None]).astype(np.float32), ordinals
