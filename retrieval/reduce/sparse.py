"""A sparse random projection: no training at all."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from retrieval.reduce.door import check_fit
from retrieval.reduce.linear import LinearReducer
from retrieval.types import FloatArray

__all__ = ["SparseProjection"]


class SparseProjection(LinearReducer):
    """A random matrix, mostly zeros: needs no training and keeps inner products right on average.

    Each input dimension goes, with random signs, to ``output_dim / sqrt(input_dim)`` random output
    dimensions. The matrix is stored, so that no generator of random numbers need stay as it is.
    Source: Li, Hastie & Church, Very Sparse Random Projections (KDD 2006), for the density; that each row
    has exactly as many entries, so that no dimension is lost: Kane & Nelson, Sparser Johnson-Lindenstrauss
    Transforms (JACM 2014).
    """

    name: ClassVar[str] = "sparse"

    @classmethod
    def fit(
        cls, sample: FloatArray, output_dim: int, queries: FloatArray | None = None, seed: int = 0
    ) -> Self:
        """See `FittableReducer.fit`; of the sample only the dimension is used."""
        check_fit(cls.name, sample, output_dim, queries)
        dim = sample.shape[1]
        entries = max(1, round(output_dim / np.sqrt(dim)))
        random = np.random.default_rng(seed)
        matrix = np.zeros((dim, output_dim), np.float32)
        places = random.random((dim, output_dim)).argsort(axis=1)[:, :entries]
        signs = random.choice(np.array([-1, 1], np.float32), size=places.shape)
        np.put_along_axis(matrix, places, signs / np.float32(np.sqrt(entries)), axis=1)
        return cls(matrix)
