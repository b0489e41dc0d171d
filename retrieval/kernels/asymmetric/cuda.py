"""Scores of float queries on a GPU: a thread a document, four queries a thread.

A block of threads copies codes to shared memory side by side, some bytes of each document at a time,
and the query values that belong to them, part after part (`by_parts`). Sums are float32 of the query
as it is, so ``exact`` changes nothing here. The k best are chosen on the host.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float32, int32, uint8
from numpy.typing import NDArray

from retrieval.kernels.asymmetric.query import by_parts
from retrieval.kernels.asymmetric.reference import BITS
from retrieval.types import FloatArray, IntArray

__all__ = ["PTX_SIGNATURES", "asymmetric", "asymmetric_topk"]

THREADS, BYTES, TILE, PARTS = 128, 32, 4, 8
PADDED = BYTES + 4  # nine words: the threads of a warp read different banks


def scores_kernel(queries, sums, codes, scales, offsets, bits, out):  # type: ignore[no-untyped-def]
    """``queries`` is ``(n_queries, parts * nbytes)``, part after part; ``out`` ``(n_queries, n)``."""
    rows = cuda.shared.array((THREADS, PADDED), uint8)
    asked = cuda.shared.array((TILE, PARTS, BYTES), float32)
    totals = cuda.local.array(TILE, float32)
    thread, first, query = cuda.threadIdx.x, cuda.blockIdx.x * THREADS, cuda.blockIdx.y * TILE
    n, nbytes = codes.shape
    parts, mask = 8 // bits, (1 << bits) - 1
    count = TILE if query + TILE < queries.shape[0] else queries.shape[0] - query
    for q in range(TILE):
        totals[q] = 0
    for start in range(0, nbytes, BYTES):
        width = BYTES if start + BYTES < nbytes else nbytes - start
        for i in range(thread, THREADS * width, THREADS):
            if first + i // width < n:
                rows[i // width, i % width] = codes[first + i // width, start + i % width]
        for i in range(thread, count * parts * width, THREADS):
            q, part, j = i // (parts * width), i // width % parts, i % width
            asked[q, part, j] = queries[query + q, part * nbytes + start + j]
        cuda.syncthreads()
        if first + thread < n:
            for j in range(width):
                byte = int32(rows[thread, j])
                for part in range(parts):
                    code = float32((byte >> (bits * part)) & mask)
                    for q in range(count):
                        totals[q] += code * asked[q, part, j]
        cuda.syncthreads()
    if first + thread < n:
        for q in range(count):
            document = first + thread
            out[query + q, document] = offsets[document] * sums[query + q] + scales[document] * totals[q]


PTX_SIGNATURES = [
    (
        scores_kernel,
        (
            float32[:, ::1],
            float32[::1],
            uint8[:, ::1],
            float32[::1],
            float32[::1],
            int32,
            float32[:, ::1],
        ),
    )
]


@cache
def _compiled() -> Any:
    return cuda.jit(scores_kernel)


def asymmetric(
    queries: FloatArray, codes: Any, scales: Any, offsets: Any, bits: int, exact: bool = False
) -> FloatArray:
    """See `retrieval.kernels.asymmetric.reference.asymmetric`; always exact, up to rounding.

    Codes, scales and offsets may be on the device already.
    """
    _ = exact
    n_queries, n = len(queries), len(codes)
    if bits not in BITS or codes.shape[1] != -(-queries.shape[1] * bits // 8):
        raise ValueError(
            f"{queries.shape[1]} dimensions of {bits} bits against codes of {codes.shape[1]} bytes"
        )
    if not np.isfinite(queries).all():
        raise ValueError("queries: NaN or infinity")
    if not n_queries or not n:
        return np.empty((n_queries, n), np.float32)
    packed = by_parts(queries, bits).reshape(n_queries, -1)
    sums = queries.sum(axis=1, dtype=np.float64).astype(np.float32)
    out = cuda.device_array((n_queries, n), np.float32)
    given = map(cuda.to_device, (packed, sums, codes, scales, offsets))
    _compiled()[(-(-n // THREADS), -(-n_queries // TILE)), THREADS](*given, bits, out)
    return np.asarray(out.copy_to_host())


def asymmetric_topk(
    queries: FloatArray,
    codes: Any,
    scales: Any,
    offsets: Any,
    bits: int,
    k: int,
    accept: NDArray[np.bool_] | None = None,
    exact: bool = False,
) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.asymmetric.reference.asymmetric_topk`; always exact, up to rounding."""
    scores = asymmetric(queries, codes, scales, offsets, bits, exact)
    ordinals = np.arange(len(codes)) if accept is None else np.flatnonzero(accept)
    found = ordinals[np.argsort(-scores[:, ordinals], axis=1, kind="stable")[:, : max(k, 0)]]
    return np.take_along_axis(scores, found, axis=1), found
