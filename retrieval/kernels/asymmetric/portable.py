"""Scores in plain loops: of int8 queries, and of float queries; also run as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.asymmetric.query import Documents, IntegerQuery, by_parts
from retrieval.types import FloatArray

__all__ = ["ExactScorer", "Scorer"]


class Scorer:
    """Queries rounded to bytes; sums are integers and equal on every machine."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        self._query, self._bits = IntegerQuery.of(queries, bits), bits

    def score(self, documents: Documents, first: int, last: int, out: FloatArray) -> None:
        """Scores of rows ``first`` to ``last`` into ``out[:, : last - first]``."""
        codes, scales, offsets = documents.rows(first, last)
        query = self._query
        _integer(codes, scales, offsets, self._bits, query.packed, query.factors, out)


class ExactScorer:
    """Queries as they are, in float32."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        self._packed, self._bits = by_parts(queries, bits), bits
        self._sums = queries.sum(axis=1, dtype=np.float64).astype(np.float32)

    def score(self, documents: Documents, first: int, last: int, out: FloatArray) -> None:
        """Scores of rows ``first`` to ``last`` into ``out[:, : last - first]``."""
        codes, scales, offsets = documents.rows(first, last)
        _floating(codes, scales, offsets, self._bits, self._packed, self._sums, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _integer(codes, scales, offsets, bits, packed, factors, out):  # type: ignore[no-untyped-def]
    n, nbytes = codes.shape
    mask = 2**bits - 1
    for i in range(n):
        for query in range(len(packed)):
            total = np.int32(0)
            for part in range(packed.shape[1]):
                for j in range(nbytes):
                    code = (np.int32(codes[i, j]) >> (bits * part)) & mask
                    total += np.int32(code) * np.int32(packed[query, part, j])
            step, lost, whole = factors[query]
            out[query, i] = offsets[i] * whole + scales[i] * (np.float32(total) * step + lost)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _floating(codes, scales, offsets, bits, packed, sums, out):  # type: ignore[no-untyped-def]
    """A document becomes floats once, in the first-level cache, for all queries."""
    n, nbytes = codes.shape
    parts, mask = packed.shape[1], 2**bits - 1
    document = np.empty(parts * nbytes, np.float32)
    for i in range(n):
        for part in range(parts):
            for j in range(nbytes):
                document[part * nbytes + j] = (np.int32(codes[i, j]) >> (bits * part)) & mask
        for query in range(len(packed)):
            dot = _dot(packed[query].reshape(-1), document)
            out[query, i] = offsets[i] * sums[query] + scales[i] * dot
