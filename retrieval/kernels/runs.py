"""Documents as runs of coded tokens: what every kernel over them checks at the door, and on the way.

Checking a whole index at every call would cost more than scoring some of it, so the arrays' shapes
and types are checked at the door, and each chosen document's run by the kernel when it gets there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.types import IntArray

__all__ = ["as_runs", "half_bits", "is_damaged", "refuse"]


def as_runs(
    centroids: NDArray[Any], offsets: NDArray[Any], ordinals: NDArray[Any] | None
) -> tuple[NDArray[Any], IntArray, IntArray, bool]:
    """``(centroids, offsets, ordinals, listed)`` as the kernels take them; not listed: all documents.

    Raises:
        ValueError: a wrong shape or type, or an ordinal of no document.
    """
    if centroids.ndim != 1 or centroids.dtype not in (np.uint16, np.uint32):
        raise ValueError(
            f"centroids are {centroids.ndim}-d {centroids.dtype}: give one uint16 or uint32 a token"
        )
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        raise ValueError(
            f"offsets are {offsets.shape} {offsets.dtype}: give one integer a document and one more"
        )
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    if ordinals is None:
        return np.ascontiguousarray(centroids), offsets, np.empty(0, dtype=np.int64), False
    ordinals = np.asarray(ordinals)
    if ordinals.ndim != 1 or (len(ordinals) and ordinals.dtype.kind not in "iu"):
        raise ValueError(f"ordinals are {ordinals.ndim}-d {ordinals.dtype}: give a list of integers")
    ordinals = np.ascontiguousarray(ordinals, dtype=np.int64)
    n = len(offsets) - 1
    if len(ordinals) and not (ordinals.min() >= 0 and ordinals.max() < n):
        wrong = ordinals[(ordinals < 0) | (ordinals >= n)][0]
        raise ValueError(f"ordinal {wrong}: there are {n} documents")
    return np.ascontiguousarray(centroids), offsets, ordinals, True


def half_bits(values: NDArray[Any]) -> NDArray[Any]:
    """float16 as the uint16 of its bits, which compiled code can hold; float32 as it is."""
    values = np.ascontiguousarray(values)
    return values.view(np.uint16) if values.dtype == np.float16 else values


@njit(nogil=True, error_model="numpy", _nrt=False)
def is_damaged(centroids, start, stop, n_centroids):  # type: ignore[no-untyped-def]
    """Whether a run leaves the arrays: tokens that are not there, centroids that do not exist."""
    if start < 0 or stop < start or stop > len(centroids):
        return True
    run, wrong = centroids[start:stop], np.uint8(0)
    for token in range(len(run)):  # of bytes LLVM's vectors leave fewer over than of the ids' maximum
        wrong |= np.uint8(run[token] >= n_centroids)
    return wrong != 0


def refuse(
    position: int,
    centroids: NDArray[Any],
    offsets: IntArray,
    ordinals: IntArray,
    listed: bool,
    n_centroids: int,
) -> None:
    """Say what is wrong with the document that a kernel stopped at; nothing if ``position`` is -1.

    Raises:
        ValueError: always, for a position.
    """
    if position < 0:
        return
    ordinal = int(ordinals[position]) if listed else position
    start, stop = int(offsets[ordinal]), int(offsets[ordinal + 1])
    if not 0 <= start <= stop <= len(centroids):
        raise ValueError(f"document {ordinal} is tokens {start} to {stop}: there are {len(centroids)} tokens")
    largest = int(centroids[start:stop].max())
    if largest >= n_centroids:
        raise ValueError(
            f"document {ordinal} has a token of centroid {largest}: there are {n_centroids} centroids"
        )
    raise ValueError(f"document {ordinal} has an inverse norm that is not a finite number")
