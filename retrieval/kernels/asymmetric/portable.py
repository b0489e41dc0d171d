"""Scores in plain loops: of int8 queries, and of float queries; also run as plain Python.

Documents are decoded into the cache. In float, two queries share what is read of four of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.asymmetric.query import Documents, IntegerQuery, by_parts
from retrieval.types import FloatArray

__all__ = ["ExactScorer", "Scorer"]

ROWS = 4
FAST = {"reassoc", "contract", "nsz"}


class Scorer:
    """Queries rounded to bytes; sums are integers and equal on every machine."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        query = IntegerQuery.of(queries, bits)
        self._packed, self._factors = query.packed.reshape(len(queries), -1).astype(np.int16), query.factors
        self._parts = 8 // bits

    def score(self, documents: Documents, first: int, last: int, out: FloatArray) -> None:
        """Scores of rows ``first`` to ``last`` into ``out[:, : last - first]``."""
        _integer(*documents.rows(first, last), self._parts, self._packed, self._factors, out)


class ExactScorer:
    """Queries as they are, in float32."""

    def __init__(self, queries: FloatArray, bits: int) -> None:
        packed = by_parts(queries, bits).reshape(len(queries), -1)
        self._packed = packed if len(packed) < 2 else np.pad(packed, ((0, len(packed) % 2), (0, 0)))
        self._parts = 8 // bits
        self._sums = queries.sum(axis=1, dtype=np.float64).astype(np.float32)

    def score(self, documents: Documents, first: int, last: int, out: FloatArray) -> None:
        """Scores of rows ``first`` to ``last`` into ``out[:, : last - first]``."""
        _floating(*documents.rows(first, last), self._parts, self._packed, self._sums, out)


@njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
def _decode_part(row, shift, mask, values):  # type: ignore[no-untyped-def]
    """Inlined where the shift is a constant: then whole vectors are shifted."""
    for j in range(len(row)):
        values[j] = (row[j] >> shift) & mask


@njit(nogil=True, error_model="numpy", _nrt=False)
def _decode(row, values):  # type: ignore[no-untyped-def]
    """One document's codes, ``(nbytes,)`` to ``(parts, nbytes)``."""
    parts = len(values)
    if parts == 1:
        _decode_part(row, 0, 255, values[0])
    elif parts == 2:
        _decode_part(row, 0, 15, values[0])
        _decode_part(row, 4, 15, values[1])
    elif parts == 4:
        _decode_part(row, 0, 3, values[0])
        _decode_part(row, 2, 3, values[1])
        _decode_part(row, 4, 3, values[2])
        _decode_part(row, 6, 3, values[3])
    else:
        _decode_part(row, 0, 1, values[0])
        _decode_part(row, 1, 1, values[1])
        _decode_part(row, 2, 1, values[2])
        _decode_part(row, 3, 1, values[3])
        _decode_part(row, 4, 1, values[4])
        _decode_part(row, 5, 1, values[5])
        _decode_part(row, 6, 1, values[6])
        _decode_part(row, 7, 1, values[7])


@njit(nogil=True, error_model="numpy", _nrt=False)
def _dot_integer(values, x):  # type: ignore[no-untyped-def]
    """One sum at a time: several at once are not made pairs of 16-bit products."""
    total = np.int32(0)
    for j in range(len(x)):
        total = np.int32(total + np.int32(values[j]) * np.int32(x[j]))
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _integer(codes, scales, offsets, parts, packed, factors, out):  # type: ignore[no-untyped-def]
    values = np.empty((parts, codes.shape[1]), np.uint8)
    flat = values.reshape(-1)
    for i in range(len(codes)):
        _decode(codes[i], values)
        for query in range(len(packed)):
            step, lost, whole = factors[query, 0], factors[query, 1], factors[query, 2]
            dot = np.float32(_dot_integer(flat, packed[query]))
            out[query, i] = offsets[i] * whole + scales[i] * (dot * step + lost)


@njit(nogil=True, error_model="numpy", _nrt=False, fastmath=FAST)
def _dots_one(values, x, dots):  # type: ignore[no-untyped-def]
    """Dot products of one query with four documents."""
    a, b, c, d = values[0], values[1], values[2], values[3]
    s0 = s1 = s2 = s3 = np.float32(0)
    for j in range(len(x)):
        s0, s1, s2, s3 = s0 + a[j] * x[j], s1 + b[j] * x[j], s2 + c[j] * x[j], s3 + d[j] * x[j]
    dots[0, 0], dots[0, 1], dots[0, 2], dots[0, 3] = s0, s1, s2, s3


@njit(nogil=True, error_model="numpy", _nrt=False, fastmath=FAST)
def _dots_two(values, x, y, dots):  # type: ignore[no-untyped-def]
    """Dot products of two queries with four documents."""
    a, b, c, d = values[0], values[1], values[2], values[3]
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = np.float32(0)
    for j in range(len(x)):
        s0, s1, s2, s3 = s0 + a[j] * x[j], s1 + b[j] * x[j], s2 + c[j] * x[j], s3 + d[j] * x[j]
        t0, t1, t2, t3 = t0 + a[j] * y[j], t1 + b[j] * y[j], t2 + c[j] * y[j], t3 + d[j] * y[j]
    dots[0, 0], dots[0, 1], dots[0, 2], dots[0, 3] = s0, s1, s2, s3
    dots[1, 0], dots[1, 1], dots[1, 2], dots[1, 3] = t0, t1, t2, t3


@njit(nogil=True, cache=True, error_model="numpy")
def _floating(codes, scales, offsets, parts, packed, sums, out):  # type: ignore[no-untyped-def]
    """Four documents become floats once, in the first-level cache, for all queries."""
    values = np.zeros((ROWS, parts, codes.shape[1]), np.float32)
    flat, dots = values.reshape(ROWS, -1), np.empty((2, ROWS), np.float32)
    for i in range(0, len(codes), ROWS):
        rows = min(ROWS, len(codes) - i)
        for row in range(rows):
            _decode(codes[i + row], values[row])
        for query in range(0, len(sums), 2):
            if len(packed) == 1:
                _dots_one(flat, packed[0], dots)
            else:
                _dots_two(flat, packed[query], packed[query + 1], dots)
            for q in range(query, min(query + 2, len(sums))):
                for row in range(rows):
                    score = scales[i + row] * dots[q - query, row]
                    out[q, i + row] = offsets[i + row] * sums[q] + score
