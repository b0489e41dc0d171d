"""Half the bytes of float32, to search: `FloatCodec` with scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.quantize.base import Arrays
from retrieval.quantize.best import best_of_blocks
from retrieval.quantize.floats import FloatCodec
from retrieval.quantize.trained import check_dim
from retrieval.types import FloatArray, IntArray

__all__ = ["Float16Codec"]


class Float16Codec(FloatCodec):
    """Vectors as float16. Nothing is trained but their dimension."""

    name: ClassVar[str] = "float16"

    def __init__(self, dim: int) -> None:
        super().__init__("float16")
        self.dim = dim

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        options: Mapping[str, Any],  # noqa: ARG003  # there are none
        seed: int = 0,  # noqa: ARG003  # nothing is random
        threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """For vectors like ``(n, d)``."""
        return cls(sample.shape[1])

    def scores(self, queries: FloatArray, codes: NDArray[Any]) -> FloatArray:
        """Inner products ``(n_queries, n)``, by BLAS."""
        check_dim(queries, self.dim)
        products: FloatArray = queries @ self.decode(codes).T
        return products

    def topk(
        self, queries: FloatArray, codes: NDArray[Any], k: int, accept: NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The best ``k`` of each query, ties by ordinal; scores of a block are those of `scores` up to
        rounding."""

        def score(first: int, last: int) -> FloatArray:
            return self.scores(queries, codes[first:last])

        return best_of_blocks(score, len(queries), len(codes), k, accept)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The dimension, and no arrays."""
        return {"dim": self.dim}, {}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """The inverse of `state`."""
        return cls(int(config["dim"]))
