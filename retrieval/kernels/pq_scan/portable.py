"""Plain loops: float scores through float tables, and the tables' quantisation."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["quantize", "scores_4", "scores_8"]


@njit(nogil=True, cache=True, error_model="numpy")
def quantize(tables, low, scale, out):  # type: ignore[no-untyped-def]
    """Bytes ``out``, minima ``low`` ``(n_queries, m)`` and ``scale`` ``(n_queries,)`` of float tables.

    The same float64 operations as in the reference, so the same bytes.
    """
    for q in range(len(tables)):
        widest = 0.0
        for s in range(tables.shape[1]):
            least, most = tables[q, s, 0], tables[q, s, 0]
            for x in tables[q, s]:
                least, most = min(least, x), max(most, x)
            low[q, s] = least
            widest = max(widest, np.float64(most) - low[q, s])
        scale[q] = widest / 255
        inverse = 1 / scale[q] if scale[q] > 0 else 1.0
        for s in range(tables.shape[1]):
            for i in range(tables.shape[2]):
                out[q, s, i] = np.uint8(np.rint((np.float64(tables[q, s, i]) - low[q, s]) * inverse))


@njit(nogil=True, cache=True, error_model="numpy")
def scores_8(tables, codes, out):  # type: ignore[no-untyped-def]
    """``tables`` ``(n_queries, m, 256)``, ``codes`` ``(n, m)``, ``out`` ``(n_queries, n)``.

    Four vectors at a time, so that an addition need not wait for the one before.
    """
    n, m = codes.shape
    zero = tables.dtype.type(0)
    for q in range(len(tables)):
        table = tables[q]
        for i in range(0, n - 3, 4):
            a, b, c, d = zero, zero, zero, zero
            for s in range(m):
                a += table[s, codes[i, s]]
                b += table[s, codes[i + 1, s]]
                c += table[s, codes[i + 2, s]]
                d += table[s, codes[i + 3, s]]
            out[q, i], out[q, i + 1], out[q, i + 2], out[q, i + 3] = a, b, c, d
        for i in range(n // 4 * 4, n):
            a = zero
            for s in range(m):
                a += table[s, codes[i, s]]
            out[q, i] = a


@njit(nogil=True, cache=True, error_model="numpy")
def scores_4(tables, packed, out):  # type: ignore[no-untyped-def]
    """``tables`` ``(n_queries, m, 16)``, packed codes, ``out`` ``(n_queries, n_blocks * 32)``."""
    for block in range(len(packed)):
        for q in range(len(tables)):
            row = out[q, block * 32 : block * 32 + 32]
            row[:] = 0
            for s in range(tables.shape[1]):
                table, shift = tables[q, s], s % 8 // 4 * 4
                for half in range(2):
                    codes = packed[block, s // 8, half]
                    for i in range(16):
                        row[half * 16 + i] += table[(codes[4 * i + s % 4] >> shift) & 15]
