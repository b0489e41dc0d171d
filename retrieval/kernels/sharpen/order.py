"""Candidates as keys: the estimate's bits, ordered so that a smaller key is better, above the place among
the candidates, which keeps keys different. Also runs as plain Python."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.sharpen.prepared import SPACING

__all__ = ["estimate_of", "inline", "key_of", "list_of", "next_tie", "spread"]

_PLACE, _SIGN = 0xFFFFFFFF, 0x7FFFFFFF

inline = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


@inline
def key_of(word, place):  # type: ignore[no-untyped-def]
    """The key of an estimate with these bits (int32; of 0 and -0 the same ones)."""
    order = np.int64(word ^ ((word >> np.int32(31)) & np.int32(_SIGN)))
    return (~order << 32) | place


@inline
def estimate_of(key):  # type: ignore[no-untyped-def]
    """The bits of the estimate in a key."""
    order = np.int32(~(key >> 32))
    return order ^ ((order >> np.int32(31)) & np.int32(_SIGN))


@inline
def list_of(starts, hints, position):  # type: ignore[no-untyped-def]
    """The list of a position: a few steps from what `PackedRows` knows; halving all lists takes more time
    than the products do."""
    found = np.int64(hints[position // SPACING])
    while starts[found + 1] <= position:
        found += 1
    return found


@inline
def next_tie(keys, first):  # type: ignore[no-untyped-def]
    """Where the keys of the same estimate as ``keys[first]`` end."""
    last = first + 1
    while last < len(keys) and keys[last] >> 32 == keys[first] >> 32:
        last += 1
    return last


@njit(nogil=True, error_model="numpy", _nrt=False)
def spread(query, parts, stride, packed):  # type: ignore[no-untyped-def]
    """The query in the order of the codes' bits, zeros after its end: dimension ``parts * i + p`` to place
    ``p * stride + i``. The sum of it."""
    total = np.float32(0)
    packed[:] = 0
    for j in range(len(query)):
        packed[j % parts * stride + j // parts] = query[j]
        total += query[j]
    return total
