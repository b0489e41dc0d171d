"""A threshold to begin with, with AVX-512.

Each lane of a few vectors keeps the largest of the scores dealt to it: the maxima of different lanes
are different scores, so what ``k`` of them reach, the best ``k`` scores reach. Dealt in turns and not in
stretches, neighbours fall into different lanes, and an ascending order is as good as a random one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.simd import arithmetic as v
from retrieval.kernels.simd import memory as mem
from retrieval.kernels.simd import selection as pick

__all__ = ["n_groups", "reached_by", "sampled_bound"]

LANES = 4
"""Maxima for each of the ``k``: with four, about 1.15 ``k`` scores of a random order reach the threshold."""

MANY = 256
"""Half as many for a ``k`` above twice this: the maxima themselves take time."""

SAMPLE = 1024
"""Vectors of 16 scores to look at: all of a small array, some of a large one."""


@njit(nogil=True, cache=True, error_model="numpy")
def n_groups(k):  # type: ignore[no-untyped-def]
    """How many vectors of maxima to keep; enough that none waits for the one before."""
    return max(8, LANES * min(k, MANY) // 16, LANES * k // 32)


@njit(nogil=True, cache=True, error_model="numpy")
def reached_by(maxima, k):  # type: ignore[no-untyped-def]
    """A number that ``k`` or slightly more of the int32 ``maxima`` reach; their count a multiple of 16."""
    least, most = mem.load_i32(maxima, 0), mem.load_i32(maxima, 0)
    for i in range(16, len(maxima), 16):
        x = mem.load_i32(maxima, i)
        least, most = v.minimum_i32(least, x), v.maximum_i32(most, x)
    low = ~np.int64(v.largest_i32(v.bit_xor(least, v.splat_i32(-1))))
    high = np.int64(v.largest_i32(most))
    while low < high:
        middle = low + ((high - low + 1) >> 1)
        below, count = v.splat_i32(middle - 1), 0
        for i in range(0, len(maxima), 16):
            count += pick.count_bits(v.mask_greater_i32(mem.load_i32(maxima, i), below))
        if count < k:
            high = middle - 1
        else:
            low = middle
            if count <= k + k // 8:
                break
    return low


@njit(nogil=True, cache=True, error_model="numpy")
def sampled_bound(scores, k):  # type: ignore[no-untyped-def]
    """A float in every lane that at least ``k`` of the scores are above; NaN where it is not worth it.

    If one of the scores is NaN the bound may be anything.
    """
    groups, n_vectors = n_groups(k), len(scores) // 16
    step = max(1, n_vectors // max(SAMPLE, 4 * groups))
    bound = v.splat_f32(np.nan)
    if n_vectors < 2 * groups:
        return bound
    best, order = np.empty(groups * 16, np.float32), np.empty(groups * 16, np.int32)
    for g in range(groups):
        mem.store_f32(best, g * 16, mem.load_f32(scores, g * step * 16))
    for first in range(groups * step, n_vectors, groups * step):
        n_left = (n_vectors - first + step - 1) // step
        for g in range(min(groups, n_left)):
            x = mem.load_f32(scores, (first + g * step) * 16)
            mem.store_f32(best, g * 16, v.maximum_f32(x, mem.load_f32(best, g * 16)))
    for i in range(0, groups * 16, 16):
        mem.store_i32(order, i, pick.order_bits_f32(mem.load_f32(best, i)))
    below = reached_by(order, k) - 1
    if below == -1:
        below = -2  # -1 stands for -0.0, which zero is not above
    return v.as_f32(v.splat_i32(below ^ ((below >> 31) & 0x7FFFFFFF)))
