"""Coded tokens: as arrays for kernels, and as rows of bytes for the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NORM_BYTES", "TokenCodes", "id_bytes", "id_type", "join", "split"]

NORM_BYTES = 2


@dataclass(frozen=True)
class TokenCodes:
    """What kernels read of ``n`` tokens.

    ``centroids`` ``(n,)`` is uint16 for up to 65,536 of them, else uint32; ``codes`` ``(n, nbytes)`` uint8
    the residuals; ``inv_norms`` ``(n,)`` float16 what centroid plus residual is multiplied with.
    """

    centroids: NDArray[Any]
    codes: NDArray[np.uint8]
    inv_norms: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.centroids)


def id_type(ncentroids: int) -> np.dtype[Any]:
    """Of `TokenCodes.centroids`."""
    return np.dtype(np.uint16 if ncentroids <= 2**16 else np.uint32)


def id_bytes(ncentroids: int) -> int:
    """Bytes that tell centroids apart: none for one."""
    return -(-(ncentroids - 1).bit_length() // 8)


def join(tokens: TokenCodes, ncentroids: int) -> NDArray[np.uint8]:
    """Rows ``[centroid | inverse norm | code]``, ``(n, id_bytes + 2 + nbytes)``, little-endian."""
    ids = tokens.centroids.astype("<u4").reshape(-1, 1).view(np.uint8)[:, : id_bytes(ncentroids)]
    norms = tokens.inv_norms.astype("<f2").reshape(-1, 1).view(np.uint8)
    return np.concatenate([ids, norms, tokens.codes], axis=1)


def split(rows: NDArray[np.uint8], ncentroids: int) -> TokenCodes:
    """The inverse of `join`. Whether there are such centroids is checked where they are used."""
    first = id_bytes(ncentroids)
    last = first + NORM_BYTES
    wide = np.zeros((len(rows), 4), np.uint8)
    wide[:, :first] = rows[:, :first]
    return TokenCodes(
        wide.view("<u4").reshape(-1).astype(id_type(ncentroids)),
        np.ascontiguousarray(rows[:, last:]),
        np.ascontiguousarray(rows[:, first:last]).view("<f2").reshape(-1).astype(np.float16, copy=False),
    )
