"""Arrays of a segment or a codec, checked before anything relies on them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError, IndexFormatError
from retrieval.index.base import Arrays

__all__ = ["check_keys", "check_starts", "take", "take_permutation", "under"]


def take(arrays: Arrays, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array of this name; floats in it are finite.

    Raises:
        IndexDamagedError: it is missing, or of another type or shape, or holds NaN or infinity.
    """
    if name not in arrays:
        raise IndexDamagedError(f"the index lacks its array {name!r}; run verify, then repair")
    array = np.asarray(arrays[name])  # no subclass: mapped arrays are slow to index
    if array.dtype != dtype or array.shape != shape:
        raise IndexDamagedError(
            f"the array {name!r} is {array.dtype} {array.shape} instead of {np.dtype(dtype)} {shape}; "
            "run verify, then repair"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise IndexDamagedError(f"the array {name!r} holds NaN or infinity; run verify, then repair")
    return array


def take_permutation(arrays: Arrays, name: str, dtype: Any, n: int) -> NDArray[Any]:
    """An array that holds each of ``range(n)`` once.

    Raises:
        IndexDamagedError: it does not.
    """
    array = take(arrays, name, dtype, (n,))
    seen = np.zeros(n, dtype=np.bool_)
    if n and int(array.min()) >= 0 and int(array.max()) < n:
        seen[array] = True
    if not seen.all():
        raise IndexDamagedError(f"the array {name!r} does not hold each of 0 to {n - 1} once; run verify")
    return array


def check_starts(starts: NDArray[Any], name: str, n: int) -> None:
    """Whether ``starts`` cut ``range(n)`` into runs.

    Raises:
        IndexDamagedError: they do not.
    """
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
        raise IndexDamagedError(f"the array {name!r} does not grow from 0 to {n}; run verify, then repair")


def check_keys(config: Mapping[str, Any], known: Set[str], what: str) -> None:
    """Whether a stored configuration is one that this version wrote.

    Raises:
        IndexFormatError: a key that is unknown, or one that is missing.
    """
    if unknown := sorted(set(config) - known):
        raise IndexFormatError(f"the {what} has {unknown[0]!r}, unknown to this version; upgrade")
    if missing := sorted(known - set(config)):
        raise IndexFormatError(f"the {what} lacks {missing[0]!r}; it was not written by this version")


def under(arrays: Arrays, group: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with ``group/``, without that."""
    start = f"{group}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
