"""Scan of product-quantised codes on a GPU: scores there, selection on the host.

One thread a vector, one row of blocks a query; tables in shared memory, a few subquantisers at a
time. Quantised tables go through the same kernels: sums of bytes are exact in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float32, types, uint8
from numpy.typing import NDArray

from retrieval.kernels.pq_scan.door import check_accept, check_scan
from retrieval.kernels.pq_scan.reference import BLOCK, pack_codes, quantize_tables, unpack_codes
from retrieval.kernels.topk.cpu import topk
from retrieval.types import FloatArray, IntArray

__all__ = ["PTX_SIGNATURES", "pack_codes", "pq_scan", "pq_scores", "quantize_tables", "unpack_codes"]

THREADS = 128
OCTETS = 16
"""8-bit subquantisers in shared memory at once: 16 KB of tables."""
COLUMNS = OCTETS + 1
"""Width of the codes' tile: odd, so that the threads of a warp read different banks."""
GROUPS = 16
"""Groups of eight 4-bit subquantisers in shared memory at once: 8 KB of tables."""
MAX_ROWS = 65535


def scores_8(tables, codes, out):  # type: ignore[no-untyped-def]
    """``tables`` ``(n_queries, m, 256)``, ``codes`` ``(n, m)``, ``out`` ``(n_queries, n)``."""
    table = cuda.shared.array((OCTETS, 256), float32)
    tile = cuda.shared.array((THREADS, COLUMNS), uint8)
    thread, first = cuda.threadIdx.x, cuda.blockIdx.x * THREADS
    n, m = codes.shape
    for q in range(cuda.blockIdx.y, tables.shape[0], cuda.gridDim.y):
        total = float32(0)
        for begin in range(0, m, OCTETS):
            width = OCTETS if m - begin > OCTETS else m - begin  # min() would ask for a device when compiled
            for i in range(thread, width * 256, THREADS):
                table[i // 256, i % 256] = tables[q, begin + i // 256, i % 256]
            for i in range(thread, THREADS * OCTETS, THREADS):
                row, column = i // OCTETS, i % OCTETS
                if first + row < n and column < width:
                    tile[row, column] = codes[first + row, begin + column]
            cuda.syncthreads()
            if first + thread < n:
                for s in range(width):
                    total += table[s, tile[thread, s]]
            cuda.syncthreads()
        if first + thread < n:
            out[q, first + thread] = total


def scores_4(tables, words, out):  # type: ignore[no-untyped-def]
    """``tables`` ``(n_queries, groups, 128)``, ``words`` ``(n_blocks, groups, 32)``, as `scores_8`.

    A packed vector is one 32-bit word a group: codes 0 to 3 in the low halves of its bytes.
    """
    table = cuda.shared.array((GROUPS, 128), float32)
    thread, i = cuda.threadIdx.x, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    n, groups = out.shape[1], words.shape[1]
    for q in range(cuda.blockIdx.y, tables.shape[0], cuda.gridDim.y):
        total = float32(0)
        for begin in range(0, groups, GROUPS):
            width = GROUPS if groups - begin > GROUPS else groups - begin
            for j in range(thread, width * 128, THREADS):
                table[j // 128, j % 128] = tables[q, begin + j // 128, j % 128]
            cuda.syncthreads()
            if i < n:
                for g in range(width):
                    word = words[i // 32, begin + g, i % 32]
                    for s in range(8):
                        code = (word >> (8 * (s % 4) + 4 * (s // 4))) & 15
                        total += table[g, s * 16 + code]
            cuda.syncthreads()
        if i < n:
            out[q, i] = total


_FLOATS3, _FLOATS2 = types.Array(float32, 3, "C"), types.Array(float32, 2, "C")
PTX_SIGNATURES: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
    (scores_8, (_FLOATS3, types.Array(uint8, 2, "C"), _FLOATS2)),
    (scores_4, (_FLOATS3, types.Array(types.uint32, 3, "C"), _FLOATS2)),
]


@cache
def _compiled(kernel: Callable[..., None]) -> Any:
    return cuda.jit(kernel)


def _padded(tables: FloatArray) -> FloatArray:
    """``(n_queries, m, 16)`` as ``(n_queries, groups, 128)``, zeros for what is missing."""
    n_queries, m, _ = tables.shape
    rows = np.zeros((n_queries, -(-m // 8) * 8, 16), np.float32)
    rows[:, :m] = tables
    return rows.reshape(n_queries, -1, 128)


def pq_scores(
    tables: FloatArray, codes: NDArray[np.uint8], nbits: int = 8, n: int | None = None
) -> FloatArray:
    """See `retrieval.kernels.pq_scan.reference.pq_scores`; the same. ``codes`` may be on the device."""
    count = check_scan(tables, codes, nbits, n)
    stored = codes.shape[0] * (BLOCK if nbits == 4 else 1)
    shape = (len(tables), stored)
    if 0 in shape:
        return np.empty((len(tables), count), np.float32)
    if isinstance(codes, np.ndarray):
        codes = np.ascontiguousarray(codes)
    kernel: Callable[..., None] = scores_8
    if nbits == 4:
        kernel, tables, codes = scores_4, _padded(tables), _words(codes)
    out = cuda.device_array(shape, np.float32)
    grid = (-(-stored // THREADS), min(len(tables), MAX_ROWS))
    _compiled(kernel)[grid, THREADS](cuda.to_device(np.ascontiguousarray(tables)), cuda.to_device(codes), out)
    return np.ascontiguousarray(out.copy_to_host()[:, :count])


def _words(codes: Any) -> Any:
    """Packed codes as 32-bit words ``(n_blocks, groups, 32)``."""
    return codes.reshape(-1).view(np.uint32).reshape(codes.shape[0], codes.shape[1], 32)


def pq_scan(
    tables: FloatArray,
    codes: NDArray[np.uint8],
    k: int,
    accept: NDArray[np.bool_] | None = None,
    nbits: int = 8,
    n: int | None = None,
    exact_tables: bool = False,
) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.pq_scan.reference.pq_scan`; the same. ``codes`` may be on the device."""
    n = check_scan(tables, codes, nbits, n)
    check_accept(accept, n, k)
    scale, bias = np.ones(len(tables)), np.zeros(len(tables))
    entries: NDArray[Any] = tables
    if not exact_tables:
        entries, scale, bias = quantize_tables(tables)
    scores = pq_scores(entries.astype(np.float32), codes, nbits=nbits, n=n)
    size = min(k, n if accept is None else int(np.count_nonzero(accept)))
    totals, ordinals = np.empty((len(tables), size)), np.empty((len(tables), size), np.int64)
    for i, row in enumerate(scores):
        totals[i], ordinals[i] = topk(row, k, accept)
    return (totals * scale[:, None] + bias[:, None]).astype(np.float32), ordinals
