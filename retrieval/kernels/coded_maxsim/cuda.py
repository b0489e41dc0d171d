"""MaxSim on residual codes on a GPU, in float32: see `retrieval.kernels.coded_maxsim.reference`.

A block of threads scores a document: 32 threads side by side are 32 query tokens, so rows of the
tables are read together, and eight such groups take every eighth document token. Largest scores meet
in shared memory, where they are added up.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, types
from numpy.typing import NDArray

from retrieval.kernels import runs

__all__ = ["PTX_SIGNATURES", "coded_maxsim_bits", "coded_maxsim_pq"]

Array = NDArray[Any]
LANES, GROUPS = 32, 8
LOWEST = np.float32(-np.inf)
# Kernels say `a if a > b else b`: compiling max() asks for a device, which a build machine lacks.


def score_pq(scores, table, nbits, centroids, codes, inv_norms, starts, stops, out):  # type: ignore[no-untyped-def]
    """``table`` is ``(m, codes, n_q)``; one block a document of ``starts`` and ``stops``."""
    shared = cuda.shared.array((8, 32), types.float32)
    document, q, group = cuda.blockIdx.x, cuda.threadIdx.x, cuda.threadIdx.y
    n_q, m, per = scores.shape[1], table.shape[0], 8 // nbits
    start, stop = starts[document], stops[document]
    total = np.float32(0)
    for first in range(0, n_q, 32):
        best, column = LOWEST, first + q
        if column < n_q:
            for t in range(start + group, stop, 8):
                value = scores[centroids[t], column]
                for s in range(m):
                    code = (codes[t, s // per] >> (s % per * nbits)) & ((1 << nbits) - 1)
                    value += table[s, code, column]
                value *= inv_norms[t]
                best = value if value > best else best
        shared[group, q] = best
        cuda.syncthreads()
        if group == 0 and column < n_q:
            for other in range(1, 8):
                best = shared[other, q] if shared[other, q] > best else best
            shared[0, q] = best
        cuda.syncthreads()
        if group == 0 and q == 0:
            for lane in range(32):
                if first + lane < n_q:
                    total += shared[0, lane]
        cuda.syncthreads()
    if group == 0 and q == 0:
        out[document] = total if stop > start else np.float32(0)


def score_bits(scores, query, buckets, bits, centroids, codes, inv_norms, starts, stops, out):  # type: ignore[no-untyped-def]
    """``query`` is ``(d, n_q)``, ``buckets`` ``(1 or d, codes)``; one block a document."""
    shared = cuda.shared.array((8, 32), types.float32)
    document, q, group = cuda.blockIdx.x, cuda.threadIdx.x, cuda.threadIdx.y
    d, n_q, per = query.shape[0], query.shape[1], 8 // bits
    start, stop = starts[document], stops[document]
    total = np.float32(0)
    for first in range(0, n_q, 32):
        best, column = LOWEST, first + q
        if column < n_q:
            for t in range(start + group, stop, 8):
                value = scores[centroids[t], column]
                for j in range(d):
                    code = (codes[t, j // per] >> (j % per * bits)) & ((1 << bits) - 1)
                    value += buckets[j if buckets.shape[0] > 1 else 0, code] * query[j, column]
                value *= inv_norms[t]
                best = value if value > best else best
        shared[group, q] = best
        cuda.syncthreads()
        if group == 0 and column < n_q:
            for other in range(1, 8):
                best = shared[other, q] if shared[other, q] > best else best
            shared[0, q] = best
        cuda.syncthreads()
        if group == 0 and q == 0:
            for lane in range(32):
                if first + lane < n_q:
                    total += shared[0, lane]
        cuda.syncthreads()
    if group == 0 and q == 0:
        out[document] = total if stop > start else np.float32(0)


_F1, _F2, _I1 = types.float32[::1], types.float32[:, ::1], types.int64[::1]
_DOCUMENTS = (types.uint8[:, ::1], _F1, _I1, _I1, _F1)
PTX_SIGNATURES = [
    (score_pq, types.void(_F2, types.float32[:, :, ::1], types.int64, centroids[::1], *_DOCUMENTS))
    for centroids in (types.uint16, types.uint32)
] + [
    (score_bits, types.void(_F2, _F2, _F2, types.int64, centroids[::1], *_DOCUMENTS))
    for centroids in (types.uint16, types.uint32)
]


@cache
def _compiled(function: Any) -> Any:
    return cuda.jit(function)


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
    """See `retrieval.kernels.coded_maxsim.reference.coded_maxsim_pq`; the same up to rounding."""
    tables = (np.ascontiguousarray(residual_table, dtype=np.float32), nbits)
    return _launch(score_pq, centroid_scores, tables, centroids, codes, inv_norms, offsets, ordinals)


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
    """See `retrieval.kernels.coded_maxsim.reference.coded_maxsim_bits`; the same up to rounding."""
    tables = (
        np.ascontiguousarray(query.T, dtype=np.float32),
        np.ascontiguousarray(np.atleast_2d(buckets), dtype=np.float32),
        bits,
    )
    return _launch(score_bits, centroid_scores, tables, centroids, codes, inv_norms, offsets, ordinals)


def _launch(
    function: Any,
    centroid_scores: Array,
    tables: tuple[Any, ...],
    centroids: Array,
    codes: Array,
    inv_norms: Array,
    offsets: Array,
    ordinals: Array | None,
) -> NDArray[np.float32]:
    """Copy everything to the device, one block a document, and the scores back."""
    centroids, offsets, ordinals, listed = runs.as_runs(centroids, offsets, ordinals)
    chosen = ordinals if listed else np.arange(len(offsets) - 1)
    starts, stops = offsets[chosen], offsets[chosen + 1]
    wrong = (starts < 0) | (stops < starts) | (stops > len(centroids))
    if len(centroids) and centroids.max() >= len(centroid_scores):
        wrong |= [
            bool((centroids[a:b] >= len(centroid_scores)).any()) for a, b in zip(starts, stops, strict=True)
        ]
    if wrong.any():
        runs.refuse(int(wrong.argmax()), centroids, offsets, ordinals, listed, len(centroid_scores))
    scores = np.zeros(len(chosen), dtype=np.float32)
    if not len(chosen) or not centroid_scores.shape[1] or not len(centroids):
        return scores
    _compiled(function)[len(chosen), (LANES, GROUPS)](
        np.ascontiguousarray(centroid_scores, dtype=np.float32),
        *tables,
        centroids,
        np.ascontiguousarray(codes),
        inv_norms.astype(np.float32, copy=False),
        starts,
        stops,
        scores,
    )
    return scores
