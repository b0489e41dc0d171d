"""Births as numbers: origin and ordinal in one int64, so that a segment's are a sorted array."""

from __future__ import annotations

import numpy as np

from retrieval.types import IntArray

__all__ = ["all_born_here", "birth_keys", "find_births"]


def birth_keys(births: IntArray) -> IntArray:
    """``(n, 2)`` origins and ordinals to ``(n,)`` keys, in the same order."""
    keys: IntArray = (births[:, 0] << 32) | births[:, 1]
    return keys


def all_born_here(origin: int, n: int) -> IntArray:
    """Keys of ``n`` documents that came to the index in this segment."""
    return (np.int64(origin) << 32) | np.arange(n, dtype=np.int64)


def find_births(held: IntArray, wanted: IntArray) -> IntArray:
    """Ordinals in a segment that holds the keys ``held`` of those among ``wanted`` that it holds."""
    places = np.searchsorted(held, wanted)
    inside = places < len(held)
    places, wanted = places[inside], wanted[inside]
    found: IntArray = places[held[places] == wanted]
    return found
