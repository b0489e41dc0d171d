"""The shape of a cloud of vectors, and whether it has one at all.

A model that maps every text to nearly the same vector (a broken checkpoint, the wrong pooling) ranks
by noise; no codec keeps that noise, and no measure of recall would show what is wrong.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrieval.errors import CollapsedError
from retrieval.types import FloatArray

__all__ = ["Geometry", "check_geometry", "geometry_of"]

LARGEST_COSINE = 0.98
"""Mean cosine of two documents above which a space counts as collapsed; anisotropic models that
work reach about 0.9."""
SMALLEST_RANK = 3.0
"""Effective rank below which it does; real collections have tens."""
FEW = 256
"""Documents below which a sample says nothing about rank."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """``mean_cosine`` of two different documents; ``effective_rank``, the exponential of the entropy of
    the covariance's eigenvalues as shares (Roy and Vetterli, The effective rank, EUSIPCO 2007); the
    mean and the coefficient of variation of the lengths; and of how many documents."""

    documents: int
    mean_cosine: float
    effective_rank: float
    mean_norm: float
    norm_variation: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)


def geometry_of(sample: FloatArray) -> Geometry:
    """Measure documents' vectors ``(n, d)``."""
    n = len(sample)
    wide = sample.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    unit = wide / np.where(norms > 0, norms, 1)[:, None]
    total = unit.sum(axis=0)
    # The sum over all pairs of two different ones, without forming them.
    cosine = (total @ total - (unit * unit).sum()) / max(n * (n - 1), 1)
    shares = (
        np.linalg.eigvalsh(np.cov(wide, rowvar=False).reshape(wide.shape[1], -1)) if n > 1 else np.zeros(1)
    )
    shares = np.clip(shares, 0, None)
    rank = 0.0
    if shares.sum() > 0:
        shares = shares[shares > 0] / shares.sum()
        rank = float(np.exp(-(shares * np.log(shares)).sum()))
    mean = float(norms.mean()) if n else 0.0
    return Geometry(n, float(cosine), rank, mean, float(norms.std() / mean) if mean else 0.0)


def check_geometry(geometry: Geometry) -> None:
    """Refuse a collapsed space.

    Raises:
        CollapsedError: documents cannot be told apart by their vectors.
    """
    remedy = "check the model, its pooling and its prompts, or use --force (in Python: force=True)"
    if geometry.documents >= 2 and geometry.mean_cosine > LARGEST_COSINE:
        raise CollapsedError(
            f"{geometry.documents} vectors have a mean cosine of "
            f"{geometry.mean_cosine:.3f}: they hardly differ, and no index can tell them apart; {remedy}"
        )
    if geometry.documents >= FEW and geometry.effective_rank < SMALLEST_RANK:
        raise CollapsedError(
            f"{geometry.documents} vectors have an effective rank of "
            f"{geometry.effective_rank:.1f}: they lie on a line or a plane; {remedy}"
        )
