"""What codes a residual, and nothing that does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.residuals.reference import Around
from retrieval.kernels.residuals.words import Words, word_values
from retrieval.quantize.base import Arrays
from retrieval.types import FloatArray

__all__ = ["NoResiduals", "ResidualCoder"]


class ResidualCoder(Protocol):
    """Residuals ``(n, d)`` to packed codes and back. ``name`` is its word in recipes."""

    name: ClassVar[str]

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int, threads: int) -> Self:
        """Train on residuals ``(n, d)``."""

    @property
    def nbytes(self) -> int:
        """Bytes of a code."""

    def encode(self, residuals: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` float32, contiguous, to ``(n, nbytes)``."""

    def decode(self, codes: NDArray[np.uint8], around: Around | None = None) -> FloatArray:
        """``(n, nbytes)`` to ``(n, d)``, or tokens ``around`` centroids."""

    def table(self, query: FloatArray) -> FloatArray:
        """``(pieces, 16 or 256, n_q)``: what each piece of a code adds to inner products with ``query``
        ``(n_q, d)``."""

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """All that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays, dim: int) -> Self:
        """The inverse of `state`."""


class NoResiduals:
    """Tokens are their centroids."""

    name: ClassVar[str] = "none"
    nbytes = 0

    def __init__(self, dim: int) -> None:
        self.dim = dim

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int, threads: int) -> Self:  # noqa: ARG003
        """Nothing to train."""
        return cls(sample.shape[1])

    def encode(self, residuals: FloatArray) -> NDArray[np.uint8]:
        """``(n, 0)``."""
        return np.empty((len(residuals), 0), np.uint8)

    def decode(self, codes: NDArray[np.uint8], around: Around | None = None) -> FloatArray:
        """Zeros ``(n, d)``, or the centroids as long as the tokens are."""
        return word_values(codes, self._words, around)

    @cached_property
    def _words(self) -> Words:
        return Words(np.empty((0, 256, 1), np.float32), np.zeros(1, np.int64), 8, self.dim, 1)

    def table(self, query: FloatArray) -> FloatArray:
        """``(0, 16, n_q)``."""
        return np.empty((0, 16, len(query)), np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Nothing."""
        return {}, {}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays, dim: int) -> Self:  # noqa: ARG003
        """See `fit`."""
        return cls(dim)
