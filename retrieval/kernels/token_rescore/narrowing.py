"""What is known of a document's best tokens, made exact: the tokens that were picked by products of bytes are
multiplied in float64, and what that leaves to be looked at is told in bytes again.
"""

from __future__ import annotations

import numpy as np

from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.maxsim.lanes import load_sums
from retrieval.kernels.maxsim.packing import LANES
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd.memory import load_f32
from retrieval.kernels.simd.selection import count_bits
from retrieval.kernels.token_rescore.exact import decode, product
from retrieval.kernels.token_rescore.query import FAR

__all__ = ["guess", "narrow", "raise_exact"]


@inner
def guess(best, units):  # type: ignore[no-untyped-def]
    """About what the largest products of two groups of query tokens add to a score."""
    low, high = v.to_f32(load_sums(best, 0)), v.to_f32(load_sums(best, 1))
    return v.sum_f32(v.fma(low, load_f32(units, 0), v.multiply(high, load_f32(units, LANES))))


@inner
def narrow(first, n_asked, lines, best, exact, limits):  # type: ignore[no-untyped-def]
    """Above which product of bytes a token may be the best, now that the exact product of one is known."""
    for i in range(min(n_asked, 2 * LANES)):
        needed = exact[first + i] * lines[first + i, 0] - lines[first + i, 1]
        # Where it is NaN, nothing is needed.
        limits[i] = np.int32(min(needed, np.float64(best[i]))) if needed > -FAR else -FAR


@inner
def raise_exact(values, start, count, group, dims, span, low, asked, tokens, masks, wide, exact):  # type: ignore[no-untyped-def]
    """Raise ``exact`` to the largest product of each query token, in float64; NaN if there is one."""
    dim, width = dims[0], dims[1]
    for i in range(count):
        decode(values, start + tokens[i], dim, span, low, wide)
        mask = masks[i]
        while mask:
            bit = mask & -mask
            mask ^= bit
            q = LANES * group + count_bits(np.uint32(bit - 1))
            x = product(asked, q, width, wide)
            if x > exact[q] or x != x:  # noqa: PLR0124
                exact[q] = x
