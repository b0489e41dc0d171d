"""Hamming distances on a GPU: a thread a code, four queries a thread.

A block of threads copies its codes to shared memory side by side (neighbouring threads read
neighbouring words), a few words of each at a time; the k nearest are then chosen on the host.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, int32, uint32
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["PTX_SIGNATURES", "hamming", "hamming_distances", "upload"]

THREADS, WORDS, TILE = 128, 16, 4
PADDED = WORDS + 1  # odd: the threads of a warp read different banks


def distances_kernel(queries, codes, out):  # type: ignore[no-untyped-def]
    """``queries`` and ``codes`` are rows of 32-bit words; ``out`` is ``(n_queries, n)`` int32."""
    rows = cuda.shared.array((THREADS, PADDED), uint32)
    asked = cuda.shared.array((TILE, WORDS), uint32)
    totals = cuda.local.array(TILE, int32)
    thread, first, query = cuda.threadIdx.x, cuda.blockIdx.x * THREADS, cuda.blockIdx.y * TILE
    n, words = codes.shape
    count = TILE if query + TILE < queries.shape[0] else queries.shape[0] - query
    for q in range(TILE):
        totals[q] = 0
    for start in range(0, words, WORDS):
        width = WORDS if start + WORDS < words else words - start
        for i in range(thread, THREADS * width, THREADS):
            if first + i // width < n:
                rows[i // width, i % width] = codes[first + i // width, start + i % width]
        for i in range(thread, TILE * width, THREADS):
            if query + i // width < queries.shape[0]:
                asked[i // width, i % width] = queries[query + i // width, start + i % width]
        cuda.syncthreads()
        if first + thread < n:
            for i in range(width):
                word = rows[thread, i]
                for q in range(count):
                    totals[q] += cuda.popc(word ^ asked[q, i])
        cuda.syncthreads()
    if first + thread < n:
        for q in range(count):
            out[query + q, first + thread] = totals[q]


PTX_SIGNATURES = [(distances_kernel, (uint32[:, ::1], uint32[:, ::1], int32[:, ::1]))]


@cache
def _compiled() -> Any:
    return cuda.jit(distances_kernel)


def _words(codes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Rows of 32-bit words, zeros behind the last byte."""
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 4)))
    return np.ascontiguousarray(padded).view(np.uint32)


def upload(codes: NDArray[np.uint8]) -> Any:
    """Codes on the device; the other functions take the result instead of an array."""
    return cuda.to_device(_words(codes))


def hamming_distances(query: NDArray[np.uint8], codes: Any) -> NDArray[np.int32]:
    """See `retrieval.kernels.hamming.reference.hamming_distances`; the same."""
    return _distances(query[None], codes)[0]


def hamming(
    queries: NDArray[np.uint8], codes: Any, k: int, accept: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], IntArray]:
    """See `retrieval.kernels.hamming.reference.hamming`; the same."""
    distances = _distances(queries, codes)
    ordinals = np.arange(len(codes)) if accept is None else np.flatnonzero(accept)
    nearest = np.argsort(distances[:, ordinals], axis=1, kind="stable")[:, : max(k, 0)]
    found = ordinals[nearest]
    return np.take_along_axis(distances, found, axis=1), found


def _distances(queries: NDArray[np.uint8], codes: Any) -> NDArray[np.int32]:
    words = _words(queries)
    on_device = upload(codes) if isinstance(codes, np.ndarray) else codes
    if words.shape[1] != on_device.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} bytes against codes of {4 * on_device.shape[1]}")
    n_queries, n = len(queries), len(on_device)
    if not n_queries or not n:
        return np.empty((n_queries, n), np.int32)
    out = cuda.device_array((n_queries, n), np.int32)
    grid = -(-n // THREADS), -(-n_queries // TILE)
    _compiled()[grid, THREADS](cuda.to_device(words), on_device, out)
    return np.asarray(out.copy_to_host())
