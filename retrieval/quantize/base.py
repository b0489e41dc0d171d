"""What a codec is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["Arrays", "Codec", "Factors", "SearchCodec", "TableCodec"]

Arrays = Mapping[str, NDArray[Any]]


class Codec(Protocol):
    """Vectors to stored codes and back. ``name`` is its word in the registry and in indexes."""

    name: ClassVar[str]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a code's elements on disk."""

    def width(self, dim: int) -> int:
        """Elements of one vector's code, for vectors of ``dim``."""

    def encode(self, values: FloatArray) -> NDArray[Any]:
        """``(n, d)`` float32 values to ``(n, width)`` codes, each complete in itself."""

    def decode(self, codes: NDArray[Any]) -> FloatArray:
        """Codes to ``(n, d)`` float32 values."""

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays: all that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`."""


@runtime_checkable
class SearchCodec(Codec, Protocol):
    """A codec whose codes can be searched without decoding: float query, compressed documents."""

    @classmethod
    def fit(cls, sample: FloatArray, options: Mapping[str, Any], seed: int = 0, threads: int = 1) -> Self:
        """Train on ``(n, d)``; ``options`` are those of the recipe that this codec knows."""

    def scores(self, queries: FloatArray, codes: NDArray[Any]) -> FloatArray:
        """Estimated inner products ``(n_queries, n)`` float32."""

    def topk(
        self,
        queries: FloatArray,
        codes: NDArray[Any],
        k: int,
        accept: NDArray[np.bool_] | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """The best ``k`` by `scores` or better, by the fastest kernel: scores and ordinals,
        ``(n_queries, min(k, accepted))``, ties by ordinal."""


class Factors(NamedTuple):
    """What belongs to single vectors of a `TableCodec`: the estimate is ``scale * sum of table entries``.

    ``scales`` is ``(n,)`` float32, None for 1; ``errors`` ``(n,)`` float32 is the standard deviation
    of the estimate for a query of length 1, None where it is unknown.
    """

    scales: NDArray[np.float32] | None
    errors: NDArray[np.float32] | None


@runtime_checkable
class TableCodec(SearchCodec, Protocol):
    """A codec of 4-bit pieces, scored by one look-up in a table of 16 a piece (`kernels.lists`)."""

    def nibbles(self, codes: NDArray[Any]) -> NDArray[np.uint8]:
        """Codes to ``(n, m)`` numbers from 0 to 15."""

    def factors(self, codes: NDArray[Any]) -> Factors:
        """What goes with the look-ups."""

    def tables(self, queries: FloatArray) -> FloatArray:
        """``(n_queries, m, 16)`` float32: what a piece adds to the inner product."""
