"""What every backend of the centroids' scores refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["check", "check_centroids"]

MAX_CENTROIDS, MAX_DIM = 2**31 - 64, 2**16
"""Ids have 31 bits, and sums of products of bytes must fit 32."""


def check_centroids(centroids: Any) -> None:
    """Raise `ValueError` unless they are finite float32 ``(K, d)``, one at least."""
    if centroids.ndim != 2 or centroids.dtype != np.float32 or 0 in centroids.shape:
        raise ValueError(
            f"centroids are {centroids.dtype} {centroids.shape}: give float32 (K, d), one at least"
        )
    if len(centroids) > MAX_CENTROIDS or centroids.shape[1] > MAX_DIM:
        raise ValueError(
            f"centroids are {centroids.shape}: give at most {MAX_CENTROIDS} of {MAX_DIM} dimensions"
        )
    if not np.isfinite(centroids).all():
        raise ValueError("centroids have NaN or infinity")


def check(query: Any, centroids: Any, nprobe: int, row_unit: float | None) -> None:
    """Raise `ValueError` for what does not fit; whether the query is finite is for the kernels to see."""
    codes, n, dim = centroids.codes, centroids.n, len(centroids.center)
    if query.ndim != 2 or query.dtype != np.float32 or query.shape[1] != dim or len(query) == 0:
        raise ValueError(
            f"query is {query.dtype} {query.shape}: give float32 (query tokens, {dim}), one at least"
        )
    if codes.dtype != np.uint8 or codes.shape != (-(-n // 8) * 8, -(-dim // 4) * 4) or n < 1:
        raise ValueError(
            f"codes are {codes.dtype} {codes.shape} of {n} centroids: make them by prepare_centroids"
        )
    if nprobe < 0:
        raise ValueError(f"nprobe is {nprobe}: it must not be negative")
    if row_unit is not None and not (math.isfinite(row_unit) and row_unit > 0):
        raise ValueError(f"row_unit is {row_unit}: it must be above 0")
