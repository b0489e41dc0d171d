"""MaxSim on residual codes with vectors: see `retrieval.kernels.coded_maxsim.reference`.

Scores come from integers: within ``error`` of `RowTables` or `ByteTables` (times a document's largest
absolute inverse norm) of the reference's. Product quantisers, signs and codebooks a dimension add
rows of int16; 2 and 4 bits a dimension with one codebook are decoded to bytes and multiplied, which
is faster where a processor multiplies bytes (elsewhere they add rows as well).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels import host, runs
from retrieval.kernels.centroid_maxsim.tables import aligned
from retrieval.kernels.coded_maxsim.tables import COLUMNS, RowTables, byte_tables, nibble_table, row_tables

__all__ = ["coded_maxsim_bits", "coded_maxsim_pq", "multiplies_bytes", "score_rows"]

Array = NDArray[Any]


@cache
def _has_vectors() -> bool:
    return host.simd_level() == "avx512"


def multiplies_bytes(buckets: Array, bits: int) -> bool:
    """Whether `coded_maxsim_bits` decodes these codes to bytes; if not, it adds rows."""
    return _has_vectors() and buckets.ndim == 1 and bits > 1


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
    """See `retrieval.kernels.coded_maxsim.reference.coded_maxsim_pq`.

    To score several sets of documents with one query, make `row_tables` once and call `score_rows`.

    Raises:
        ValueError: a wrong shape or type, a number that is not finite, or a chosen document that
            leaves the arrays.
    """
    if nbits not in {4, 8}:
        raise ValueError(f"nbits is {nbits}: codes of 4 and 8 bits are known")
    _check_scores(centroid_scores)
    n_q = centroid_scores.shape[1]
    if (
        residual_table.ndim != 3
        or residual_table.shape[1:] != (2**nbits, n_q)
        or residual_table.dtype != np.float32
    ):
        raise ValueError(
            f"residual_table is {residual_table.shape} {residual_table.dtype}: "
            f"give (subspaces, {2**nbits}, {n_q}) of float32"
        )
    n_bytes = -(-len(residual_table) * nbits // 8)
    _check_codes(centroids, codes, inv_norms, n_bytes)
    tables = row_tables(centroid_scores, residual_table)
    return score_rows(tables, centroids, codes, inv_norms, offsets, ordinals)


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
    """See `retrieval.kernels.coded_maxsim.reference.coded_maxsim_bits`.

    Raises:
        ValueError: as `coded_maxsim_pq`.
    """
    if bits not in {1, 2, 4}:
        raise ValueError(f"bits is {bits}: codes of 1, 2 and 4 bits a dimension are known")
    _check_scores(centroid_scores)
    if (
        query.ndim != 2
        or query.dtype != np.float32
        or len(query) != centroid_scores.shape[1]
        or not query.shape[1]
    ):
        raise ValueError(
            f"query is {query.shape} {query.dtype}: give ({centroid_scores.shape[1]}, dimensions) of float32"
        )
    d = query.shape[1]
    if buckets.shape not in {(2**bits,), (d, 2**bits)}:
        raise ValueError(f"buckets are {buckets.shape}: give ({2**bits},) or ({d}, {2**bits})")
    n_bytes = -(-d * bits // 8)
    _check_codes(centroids, codes, inv_norms, n_bytes)
    if not multiplies_bytes(buckets, bits):
        tables = row_tables(centroid_scores, nibble_table(query, buckets, bits))
        return score_rows(tables, centroids, codes, inv_norms, offsets, ordinals)
    return _score_bytes(query, centroid_scores, buckets, codes, centroids, inv_norms, offsets, ordinals, bits)


def _score_bytes(
    query: Array,
    centroid_scores: Array,
    buckets: Array,
    codes: Array,
    centroids: Array,
    inv_norms: Array,
    offsets: Array,
    ordinals: Array | None,
    bits: int,
) -> NDArray[np.float32]:
    from retrieval.kernels.coded_maxsim.bytes import decoded_bytes, score_bytes

    made = byte_tables(query, buckets, bits)
    centroids, offsets, ordinals, listed = runs.as_runs(centroids, offsets, ordinals)
    scores = np.empty(len(ordinals) if listed else len(offsets) - 1, dtype=np.float32)
    stopped = score_bytes(
        (made.query, made.codebooks, made.start, made.units),
        np.ascontiguousarray(centroid_scores),
        centroids,
        np.ascontiguousarray(codes).reshape(-1),
        codes.shape[1],
        runs.half_bits(inv_norms),
        offsets,
        ordinals,
        listed,
        aligned((decoded_bytes(codes.shape[1], 8 // bits),), np.uint8),
        scores,
    )
    runs.refuse(stopped, centroids, offsets, ordinals, listed, len(centroid_scores))
    return scores


def score_rows(
    tables: RowTables,
    centroids: Array,
    codes: Array,
    inv_norms: Array,
    offsets: Array,
    ordinals: Array | None = None,
) -> NDArray[np.float32]:
    """Score documents through tables made before; otherwise as `coded_maxsim_pq`."""
    blocks, n_bytes = tables.residual.shape[:2]
    _check_codes(centroids, codes, inv_norms, n_bytes)
    centroids, offsets, ordinals, listed = runs.as_runs(centroids, offsets, ordinals)
    scores = np.empty(len(ordinals) if listed else len(offsets) - 1, dtype=np.float32)
    rest = (offsets, ordinals, listed, scores)
    flat = np.ascontiguousarray(codes).reshape(-1)
    if _has_vectors():
        from retrieval.kernels.coded_maxsim import rows

        wide = tables.centroid.reshape(blocks, -1), tables.residual.reshape(blocks, -1)
        norms = runs.half_bits(inv_norms)
        stopped = rows.score_rows(*wide, tables.unit, centroids, flat, n_bytes, norms, *rest)
    else:
        from retrieval.kernels.coded_maxsim import portable

        narrow = tables.centroid, tables.residual.reshape(blocks, -1, COLUMNS)
        norms = _as_float32(inv_norms, offsets, ordinals, listed)
        stopped = portable.score_rows(*narrow, tables.unit, centroids, flat, n_bytes, norms, *rest)
    runs.refuse(stopped, centroids, offsets, ordinals, listed, tables.centroid.shape[1])
    return scores


def _as_float32(inv_norms: Array, offsets: Array, ordinals: Array, listed: bool) -> NDArray[np.float32]:
    """The norms of the chosen documents widened, in place; the others' memory is not touched."""
    if inv_norms.dtype == np.float32 or not listed:
        return inv_norms.astype(np.float32, copy=False)
    norms = np.empty(len(inv_norms), dtype=np.float32)
    for start, stop in zip(offsets[ordinals], offsets[ordinals + 1], strict=True):
        if 0 <= start <= stop:
            norms[start:stop] = inv_norms[start:stop]
    return norms


def _check_scores(centroid_scores: Array) -> None:
    if centroid_scores.ndim != 2 or centroid_scores.dtype != np.float32:
        raise ValueError(
            f"centroid_scores is {centroid_scores.shape} {centroid_scores.dtype}: "
            "give (centroids, query tokens) of float32"
        )


def _check_codes(centroids: Array, codes: Array, inv_norms: Array, n_bytes: int) -> None:
    n = len(centroids)
    if codes.shape != (n, n_bytes) or codes.dtype != np.uint8:
        raise ValueError(f"codes are {codes.shape} {codes.dtype}: give ({n}, {n_bytes}) of uint8")
    if inv_norms.shape != (n,) or inv_norms.dtype not in (np.float16, np.float32):
        raise ValueError(
            f"inv_norms are {inv_norms.shape} {inv_norms.dtype}: give ({n},) of float16 or float32"
        )
