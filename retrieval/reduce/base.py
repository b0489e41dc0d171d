"""What a reducer is: fewer numbers, nearly the same inner products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import NDArray

from retrieval.types import FloatArray

__all__ = ["Arrays", "FittableReducer", "Reducer"]

Arrays = Mapping[str, NDArray[Any]]


class Reducer(Protocol):
    """Maps vectors to shorter ones: ``A(q) . B(x)`` stays near ``q . x``.

    ``name`` is its word in the registry and in indexes. Nothing is learned after it is made.
    """

    name: ClassVar[str]

    @property
    def input_dim(self) -> int:
        """Dimension of what it takes."""

    @property
    def output_dim(self) -> int:
        """Dimension of what it gives."""

    def transform_documents(self, values: FloatArray) -> FloatArray:
        """``(n, input_dim)`` to ``(n, output_dim)`` float32: the map B.

        Raises:
            ValueError: another shape.
        """

    def transform_queries(self, values: FloatArray) -> FloatArray:
        """``(n, input_dim)`` to ``(n, output_dim)`` float32: the map A.

        Raises:
            ValueError: another shape.
        """

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays: all that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: options that this version does not know.
            IndexDamagedError: arrays that are missing, or do not have their shape and finite values.
        """


class FittableReducer(Reducer, Protocol):
    """A reducer that one word and one number ask for (``pca:128``); a chain is made of these."""

    @classmethod
    def fit(
        cls, sample: FloatArray, output_dim: int, queries: FloatArray | None = None, seed: int = 0
    ) -> Self:
        """Learn from documents ``(n, d)``, n >= 1, and, where it helps, queries ``(m, d)``.

        Raises:
            ConfigError: ``output_dim`` is not from 1 to d.
            ValueError: a wrong shape, no documents, or values that are not finite.
        """
