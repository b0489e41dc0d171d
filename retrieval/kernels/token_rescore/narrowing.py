"""What is known of a document's best tokens, made exact: the tokens that were picked by products of bytes are
multiplied in float64, and what that leaves to be looked at is told in bytes again. Nothing here is likely:
who is left out cannot be what is looked for.
"""

# Numba matches a choice with its function by the arguments' names, used or not.
# ruff: noqa: ARG001, ARG005, PLW0108

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from retrieval.kernels.maxsim.blocks import inner
from retrieval.kernels.maxsim.lanes import load_sums
from retrieval.kernels.maxsim.packing import LANES
from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd.memory import load_f32
from retrieval.kernels.simd.selection import count_bits
from retrieval.kernels.token_rescore.exact import decode, product
from retrieval.kernels.token_rescore.query import FAR

__all__ = ["NARROWED", "narrow", "raise_exact", "reach"]

NARROWED = 2 * LANES
"""Query tokens up to which all products of a document are known before any is made exact."""


def reach(best: Any, units: Any) -> Any:
    """What the largest products of two groups of query tokens add to a score at most, less what `bound_each`
    says; of float products nothing is known."""
    raise NotImplementedError


@inner
def _reach_bytes(best, units):  # type: ignore[no-untyped-def]
    low, high = v.to_f32(load_sums(best, 0)), v.to_f32(load_sums(best, 1))
    return v.sum_f32(v.fma(low, load_f32(units, 0), v.multiply(high, load_f32(units, LANES))))


@overload(reach, strict=False)
def _choose_reach(best: Any, units: Any) -> Callable[..., Any]:
    if best.dtype == types.float32:
        return lambda best, units: np.float32(np.inf)
    return lambda best, units: _reach_bytes(best, units)


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
