"""Made-up vectors with a decaying spectrum, as embeddings have, and queries that look elsewhere."""

from __future__ import annotations

import numpy as np

from retrieval.types import FloatArray


def rotation(dim: int, seed: int) -> FloatArray:
    """A random orthonormal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0].astype(np.float32)


def vectors(
    n: int, dim: int, seed: int, axes: int = 0, decay: float = 1.0, mean: float = 0.0, unit: bool = False
) -> FloatArray:
    """``(n, dim)``: axis i, of those that ``axes`` seeds, has variance i^-decay; ``mean`` is the length of a
    common direction as a share of the whole length."""
    spread = np.arange(1, dim + 1) ** (-decay / 2)
    values = np.random.default_rng(seed).standard_normal((n, dim)) * spread / np.linalg.norm(spread)
    values = values @ rotation(dim, axes).T
    values = np.sqrt(1 - mean**2) * values + mean * rotation(dim, 1234)[0]
    if unit:
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)
