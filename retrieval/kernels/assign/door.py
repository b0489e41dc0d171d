"""What every backend of the assignment refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from retrieval.types import FloatArray

__all__ = ["check", "check_finite"]


def check(values: Any, centroids: Any, metric: str) -> None:
    """Raise `ValueError` unless both are float32 of one d, with a centroid at least, all finite."""
    for name, array in (("values", values), ("centroids", centroids)):
        if array.dtype != np.float32 or array.ndim != 2:
            raise ValueError(f"{name} must be float32 (rows, d), got {array.dtype} {array.shape}")
    if len(centroids) == 0 or values.shape[1] != centroids.shape[1] or values.shape[1] == 0:
        raise ValueError(
            f"values {values.shape} and centroids {centroids.shape} must share d, with a centroid"
        )
    if metric not in ("dot", "l2"):
        raise ValueError(f"metric {metric!r} must be dot or l2")
    check_finite(centroids, "centroids")


def check_finite(block: FloatArray, name: str = "values") -> None:
    """Raise `ValueError` at NaN or infinity. Blocks of a large array are checked one by one."""
    if not np.isfinite(block).all():
        raise ValueError(f"{name} has NaN or infinity")
