"""The sign of every coordinate, compared by Hamming distance, as binary embeddings are.

Bit 1 is a value above 0; the first coordinate is in the highest bit of the first byte, as in
sentence-transformers' ``ubinary``. The query becomes bits too, and the estimate is

    |q| * length * (1 - 2 * hamming / d)

with ``length`` the mean length of the sample: the inner product of ``|q| sign(q) / sqrt(d)`` with what
`decode` gives, ``length * sign(x) / sqrt(d)``. It has the order of the distance and the size of an inner
product, so that it can be added to a bias; a vector's own length is not in its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.kernels.hamming.cpu import hamming, hamming_distances
from retrieval.quantize.base import Arrays
from retrieval.quantize.trained import check_dim
from retrieval.types import FloatArray, IntArray

__all__ = ["SignCodec"]


class SignCodec:
    """See above. Nothing is trained but ``length``; nothing is rotated."""

    name: ClassVar[str] = "sign"

    def __init__(self, dim: int, length: float) -> None:
        self.dim, self.length = dim, length

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        options: Mapping[str, Any],  # noqa: ARG003  # there are none
        seed: int = 0,  # noqa: ARG003  # nothing is random
        threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """The mean length of ``(n, d)``; 1 for an empty sample."""
        lengths = np.linalg.norm(sample.astype(np.float64), axis=1)
        return cls(sample.shape[1], float(lengths.mean()) if len(lengths) else 1.0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes of eight bits."""
        return np.dtype(np.uint8)

    def width(self, dim: int) -> int:
        """An eighth of the dimensions, rounded up."""
        return -(-dim // 8)

    def encode(self, values: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` float32 to ``(n, ceil(d / 8))`` bytes; bits beyond ``d`` are 0."""
        check_dim(values, self.dim)
        return np.packbits(values > 0, axis=1)

    def decode(self, codes: NDArray[np.uint8]) -> FloatArray:
        """Plus or minus ``length / sqrt(d)`` in every coordinate."""
        check_dim(codes, self.width(self.dim))
        signs = 2 * np.unpackbits(codes, axis=1, count=self.dim).astype(np.float32) - 1
        return signs * np.float32(self.length / np.sqrt(self.dim))

    def scores(self, queries: FloatArray, codes: NDArray[np.uint8]) -> FloatArray:
        """Estimates ``(n_queries, n)`` as above: of the query's signs, not of the query."""
        bits, codes = self.encode(queries), np.ascontiguousarray(codes)
        distances = [hamming_distances(row, codes) for row in bits]
        return self._estimates(queries, np.array(distances, np.int32).reshape(len(queries), len(codes)))

    def topk(
        self, queries: FloatArray, codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The nearest ``k`` of each query, ties by ordinal."""
        distances, ordinals = hamming(self.encode(queries), np.ascontiguousarray(codes), k, accept)
        return self._estimates(queries, distances), ordinals

    def _estimates(self, queries: FloatArray, distances: NDArray[np.int32]) -> FloatArray:
        sizes = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True) * self.length
        estimates: FloatArray = (sizes * (1 - 2 / self.dim * distances)).astype(np.float32)
        return estimates

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Dimension and mean length, and no arrays."""
        return {"dim": self.dim, "length": self.length}, {}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """The inverse of `state`.

        Raises:
            IndexDamagedError: a length that is none.
        """
        dim, length = int(config["dim"]), float(config["length"])
        if dim < 1 or not (np.isfinite(length) and length >= 0):
            raise IndexDamagedError(
                f"the codec has dimension {dim} and length {length}; restore the index from a copy"
            )
        return cls(dim, length)
