"""What a codec is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

__all__ = ["Arrays", "Codec"]

Arrays = Mapping[str, NDArray[Any]]


class Codec(Protocol):
    """Vectors to stored codes and back. ``name`` is its word in the registry and in indexes."""

    name: ClassVar[str]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a code's elements on disk."""

    def encode(self, values: FloatArray) -> NDArray[Any]:
        """``(n, d)`` float32 values to ``(n, ...)`` codes."""

    def decode(self, codes: NDArray[Any]) -> FloatArray:
        """Codes to ``(n, d)`` float32 values."""

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """JSON configuration and trained arrays: all that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`."""
