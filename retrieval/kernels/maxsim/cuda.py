"""MaxSim on a CUDA device: a block of threads takes a document.

Tiles of 32 query tokens and 32 document tokens, 32 dimensions at a time, go through shared memory;
loads run along the dimensions and so are coalesced. A thread owns one query token and four document
tokens of the tile.
"""
# One function without helpers, `min` or `isnan`: those compile only where a driver is. A comparison
# with itself finds NaN, and nothing among integers.
# ruff: noqa: PLR0124

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, types
from numpy.typing import NDArray

from retrieval.kernels.maxsim.arguments import check_documents, check_float_query, check_i8_query
from retrieval.types import FloatArray, IntArray

__all__ = ["PTX_SIGNATURES", "maxsim", "maxsim_i8"]

TILE = 32
PITCH = TILE + 1
"""A tile's row in shared memory: one more, so that a column lies in all banks."""
ROWS = 8
"""Threads along a tile's document tokens; each has ``TILE / ROWS`` of them."""
MAX_BLOCKS = 65_535


def _make_kernel(number: Any, shared: Any, lowest: float, shift: int) -> Callable[..., None]:
    """The kernel for one type of sums; ``shift`` is subtracted from stored values."""

    def score(query, values, offsets, ordinals, scores):  # type: ignore[no-untyped-def]
        queries = cuda.shared.array((TILE, PITCH), shared)
        tokens = cuda.shared.array((TILE, PITCH), shared)
        bests = cuda.shared.array((ROWS, TILE), shared)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        n_q, d = query.shape
        for i in range(cuda.blockIdx.x, len(ordinals), cuda.gridDim.x):
            start, stop = offsets[ordinals[i]], offsets[ordinals[i] + 1]
            total = number(0)
            for first_q in range(0, n_q, TILE):
                best = number(lowest)
                for first in range(start, stop, TILE):
                    s0, s1, s2, s3 = number(0), number(0), number(0), number(0)
                    for first_k in range(0, d, TILE):
                        k = first_k + x
                        for row in range(y, TILE, ROWS):
                            queries[row, x] = number(0)
                            tokens[row, x] = number(0)
                            if k < d and first_q + row < n_q:
                                queries[row, x] = number(query[first_q + row, k])
                            if k < d and first + row < stop:
                                tokens[row, x] = number(number(values[first + row, k]) - number(shift))
                        cuda.syncthreads()
                        for j in range(TILE):
                            q = queries[x, j]
                            s0 = number(s0 + q * tokens[y, j])
                            s1 = number(s1 + q * tokens[y + ROWS, j])
                            s2 = number(s2 + q * tokens[y + 2 * ROWS, j])
                            s3 = number(s3 + q * tokens[y + 3 * ROWS, j])
                        cuda.syncthreads()
                    # Rows beyond the document are zeros, not tokens. A NaN stays to the end.
                    if first + y < stop and (s0 > best or s0 != s0):
                        best = s0
                    if first + y + ROWS < stop and (s1 > best or s1 != s1):
                        best = s1
                    if first + y + 2 * ROWS < stop and (s2 > best or s2 != s2):
                        best = s2
                    if first + y + 3 * ROWS < stop and (s3 > best or s3 != s3):
                        best = s3
                bests[y, x] = best
                cuda.syncthreads()
                if x == 0 and y == 0 and stop > start:
                    for q_row in range(n_q - first_q if n_q - first_q < TILE else TILE):
                        best = bests[0, q_row]
                        for row in range(1, ROWS):
                            s0 = bests[row, q_row]
                            if s0 > best or s0 != s0:
                                best = s0
                        total = number(total + best)
                cuda.syncthreads()
            if x == 0 and y == 0:
                scores[i] = total

    return score


_score_floats = _make_kernel(np.float32, types.float32, -np.inf, 0)
_score_octets = _make_kernel(np.int32, types.int32, -(2**31), 128)

_OFFSETS = types.Array(types.int64, 1, "C")
PTX_SIGNATURES = [
    (
        function,
        (
            types.Array(query, 2, "C"),
            types.Array(values, 2, "C"),
            _OFFSETS,
            _OFFSETS,
            types.Array(out, 1, "C"),
        ),
    )
    for function, query, values, out in (
        (_score_floats, types.float32, types.float32, types.float32),
        (_score_floats, types.float32, types.float16, types.float32),
        (_score_octets, types.int8, types.uint8, types.int32),
    )
]
"""Plain kernel functions and the signatures that this module calls them with."""


def maxsim(query: FloatArray, values: Any, offsets: IntArray, ordinals: IntArray | None = None) -> FloatArray:
    """See `retrieval.kernels.maxsim.reference.maxsim`; the same up to rounding.

    ``values`` may be an array on the device already.

    Raises:
        ValueError: a shape, dtype or range does not fit, or the query is not finite.
    """
    query = check_float_query(query)
    offsets, ordinals, n = check_documents(values, ("float32", "float16"), query.shape[1], offsets, ordinals)
    return _run(_score_floats, query, values, offsets, ordinals, np.empty(n, dtype=np.float32))


def maxsim_i8(
    query_i8: NDArray[np.int8],
    values_u8: Any,
    offsets: IntArray,
    ordinals: IntArray | None = None,
    threads: int = 1,
) -> NDArray[np.int32]:
    """See `retrieval.kernels.maxsim.reference.maxsim_i8`; equal.

    ``values_u8`` may be an array on the device already.

    Raises:
        ValueError: a shape, dtype or range does not fit, or a score may leave int32.
    """
    query_i8 = check_i8_query(query_i8)
    offsets, ordinals, n = check_documents(values_u8, ("uint8",), query_i8.shape[1], offsets, ordinals)
    return _run(_score_octets, query_i8, values_u8, offsets, ordinals, np.empty(n, dtype=np.int32))


@cache
def _compiled(function: Callable[..., None]) -> Any:
    return cuda.jit(function)


def _run(
    function: Callable[..., None],
    query: NDArray[Any],
    values: Any,
    offsets: IntArray,
    ordinals: IntArray,
    scores: NDArray[Any],
) -> NDArray[Any]:
    n = len(scores)
    if not n:
        return scores
    if not len(ordinals):
        ordinals = np.arange(n)
    if not values.size:  # nothing to copy to a device, which takes no empty arrays
        return np.zeros_like(scores)
    documents = cuda.to_device(values) if isinstance(values, np.ndarray) else values
    found = cuda.device_array(n, dtype=scores.dtype)
    inputs = [cuda.to_device(array) for array in (offsets, ordinals)]
    _compiled(function)[min(n, MAX_BLOCKS), (TILE, ROWS)](cuda.to_device(query), documents, *inputs, found)
    found.copy_to_host(scores)
    return scores
