"""Four rows of int16 against 16 tokens of a query, dimensions two at a time, sums in registers.

Eight sums leave half of AVX2's 16 registers to what is multiplied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.simd.arithmetic import add
from retrieval.kernels.simd.halves import broadcast_pair, load_16i16, multiply_pairs

__all__ = ["GROUP", "inner", "multiply_four", "pack_pairs", "pack_rows"]

GROUP = 16
"""Query tokens that are multiplied together: two vectors of sums."""

inner = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


def pack_pairs(query: NDArray[Any]) -> NDArray[np.int16]:
    """``(n_q, d)`` integers -> flat int16, ``[groups of 16][ceil(d / 2)][16 tokens][2]``, else zeros."""
    n_q, d = query.shape
    packed = np.empty(-(-n_q // GROUP) * GROUP * (d + d % 2), np.int16)
    pack_rows(query, n_q, d + d % 2, packed)
    return packed


@njit(nogil=True, cache=True, error_model="numpy")
def pack_rows(rows, count, width, packed):  # type: ignore[no-untyped-def]
    """The first ``count`` of ``rows`` to ``packed``, in the order of `pack_pairs`; an even ``width``."""
    for t in range(len(packed) // width):
        at = t // GROUP * GROUP * width + t % GROUP * 2
        for j in range(width):
            known = t < count and j < rows.shape[1]
            packed[at + (j >> 1) * 2 * GROUP + (j & 1)] = rows[t, j] if known else 0


@inner
def _step(a, b, rows, at, k, packed, q):  # type: ignore[no-untyped-def]
    """Dimensions ``k`` and ``k + 1``."""
    qa, qb = load_16i16(packed, q), load_16i16(packed, q + GROUP)
    t = broadcast_pair(rows, at[0] + k)
    a0, b0 = add(a[0], multiply_pairs(t, qa)), add(b[0], multiply_pairs(t, qb))
    t = broadcast_pair(rows, at[1] + k)
    a1, b1 = add(a[1], multiply_pairs(t, qa)), add(b[1], multiply_pairs(t, qb))
    t = broadcast_pair(rows, at[2] + k)
    a2, b2 = add(a[2], multiply_pairs(t, qa)), add(b[2], multiply_pairs(t, qb))
    t = broadcast_pair(rows, at[3] + k)
    a3, b3 = add(a[3], multiply_pairs(t, qa)), add(b[3], multiply_pairs(t, qb))
    return (a0, a1, a2, a3), (b0, b1, b2, b3)


@inner
def multiply_four(a, b, rows, at, width, packed, group):  # type: ignore[no-untyped-def]
    """Add four rows' inner products to ``a`` (the group's first eight tokens) and ``b``, four vectors each.

    ``rows`` is flat int16, ``at`` where each row begins, ``width`` their even length; ``packed`` a query
    by `pack_pairs`.
    """
    q = group * GROUP * width
    for k in range(0, width, 2):
        a, b = _step(a, b, rows, at, k, packed, q + GROUP * k)
    return a, b
