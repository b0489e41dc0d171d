"""Plain floats: float32 as they are, float16 in half the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, EncoderError, IndexFormatError
from retrieval.types import FloatArray, Precision

__all__ = ["FloatCodec", "check_precision"]

FLOATS = ("float32", "float16")


def check_precision(precision: object) -> None:
    """Refuse what vectors cannot be stored as.

    Raises:
        ConfigError: not float32, float16 or int8.
    """
    _refuse_unless(precision, get_args(Precision))


def _refuse_unless(precision: object, known: tuple[str, ...]) -> None:
    if precision not in known:
        raise ConfigError(f"the precision is {precision!r}; choose {' or '.join(known)}")


class FloatCodec:
    """Store vectors as float32 or float16. Nothing is trained.

    Raises:
        ConfigError: another precision. (int8 needs a calibration: `retrieval.quantize.int8`.)
    """

    name: ClassVar[str] = "float"

    def __init__(self, precision: Precision) -> None:
        _refuse_unless(precision, FLOATS)
        self.precision = precision

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return np.dtype(self.precision)

    def width(self, dim: int) -> int:
        """As many numbers as dimensions."""
        return dim

    def encode(self, values: FloatArray) -> NDArray[Any]:
        """``(n, d)`` float32 to the stored type.

        Raises:
            EncoderError: a value is too large for float16; it would become infinite.
        """
        if self.precision == "float16" and len(values):
            largest = float(np.abs(values).max())
            if largest > float(np.finfo(np.float16).max):
                raise EncoderError(
                    f"the encoder gave the value {largest:g}, too large for float16; use precision float32"
                )
        return values.astype(self.dtype, copy=False)

    def decode(self, codes: NDArray[Any]) -> FloatArray:
        """The stored type to float32; exact."""
        return codes.astype(np.float32, copy=False)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and (no) arrays."""
        return {"precision": self.precision}, {}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:  # noqa: ARG003
        """The inverse of `state`.

        Raises:
            IndexFormatError: a precision that this version does not know.
        """
        precision = config.get("precision")
        try:
            return cls(precision)  # type: ignore[arg-type]  # it is checked there
        except ConfigError:
            raise IndexFormatError(
                f"the index stores vectors as {precision!r}, unknown to this version; upgrade"
            ) from None
