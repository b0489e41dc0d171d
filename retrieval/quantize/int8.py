"""One byte a dimension, calibrated on a sample: from its least to its greatest value in 255 steps.

As faiss's ``ScalarQuantizer(QT_8bit)``, bit for bit: with ``t = (x - low) / span``, limited to 0 and 1,
the code is ``floor(255 t)`` and stands for ``low + (code + 0.5) / 255 * span``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.kernels.asymmetric.cpu import asymmetric, asymmetric_topk
from retrieval.quantize.base import Arrays
from retrieval.quantize.trained import check_dim, stored
from retrieval.types import FloatArray, IntArray, Precision

__all__ = ["Int8Codec"]

_LEVELS = (np.arange(256, dtype=np.float32) + np.float32(0.5)) / np.float32(255)


class Int8Codec:
    """Values beyond the sample's range are clipped; a dimension that is constant in it stays so.

    ``low`` and ``span`` are ``(d,)`` float32: the least value, and from there to the greatest. ``step`` is
    what one more in a code adds.
    """

    name: ClassVar[str] = "int8"
    precision: ClassVar[Precision] = "int8"

    def __init__(self, low: FloatArray, span: FloatArray) -> None:
        self.low, self.span = low, span
        self.step: FloatArray = span / np.float32(255)
        self._middle = low.astype(np.float64) + 0.5 / 255 * span.astype(np.float64)
        self._divisor = np.where(span > 0, span, np.float32(1)).astype(np.float32)

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        options: Mapping[str, Any] | None = None,  # noqa: ARG003  # there are none
        seed: int = 0,  # noqa: ARG003  # nothing is random
        threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """Calibrate on ``(n, d)``.

        Raises:
            ConfigError: an empty sample, or one with a number that is not finite or too large.
        """
        if not len(sample):
            raise ConfigError(
                "int8 is calibrated on documents, and there are none: give some, or choose float16"
            )
        low = sample.min(axis=0).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # found below
            span = sample.max(axis=0).astype(np.float32) - low
        if not np.isfinite(span).all():
            raise ConfigError(f"dimension {int(np.argmin(np.isfinite(span)))} of the sample is not finite")
        return cls(low, span)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Unsigned bytes."""
        return np.dtype(np.uint8)

    @property
    def dim(self) -> int:
        """Dimension of what is coded."""
        return len(self.low)

    def width(self, dim: int) -> int:
        """As many bytes as dimensions."""
        return dim

    def encode(self, values: FloatArray) -> NDArray[np.uint8]:
        """``(n, d)`` float32 to bytes; NaN becomes the least value."""
        check_dim(values, self.dim)
        with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN are limited next
            shares = (values - self.low) / self._divisor
        np.fmax(shares, 0, out=shares)  # the other one where one is NaN
        np.minimum(shares, 1, out=shares)
        shares[:, self.span == 0] = 0
        return (shares * np.float32(255)).astype(np.uint8)

    def count_beyond(self, values: FloatArray) -> int:
        """How many numbers of ``(n, d)`` `encode` would cut off."""
        check_dim(values, self.dim)
        with np.errstate(over="ignore", invalid="ignore"):
            above = values - self.low
        return int(np.count_nonzero(~((above >= 0) & (above <= self.span))))

    def decode(self, codes: NDArray[np.uint8]) -> FloatArray:
        """Bytes to ``(n, d)`` float32: the middle of each step."""
        check_dim(codes, self.dim)
        values: FloatArray = np.take(_LEVELS, codes)  # half the time of _LEVELS[codes]
        values *= self.span
        values += self.low
        return values

    @property
    def offsets(self) -> FloatArray:
        """What code 0 stands for, ``(d,)``."""
        return self._middle.astype(np.float32)

    def fold(self, queries: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Queries ``(n, d)`` for codes as plain numbers: ``(folded (n, d), constants (n,))``, and
        ``<q, decode(code)> = <folded, code> + constant``."""
        check_dim(queries, self.dim)
        return queries * self.step, (queries @ self._middle).astype(np.float32)

    def scores(self, queries: FloatArray, codes: NDArray[np.uint8]) -> FloatArray:
        """Inner products ``(n_queries, n)`` with what codes stand for."""
        folded, constants = self.fold(queries)
        return asymmetric(folded, *_plain(codes), 8, exact=True) + constants[:, None]

    def topk(
        self, queries: FloatArray, codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The best ``k`` of each query by `scores`, ties by ordinal (of scores before the query's constant is
        added, which may round two to the same number)."""
        folded, constants = self.fold(queries)
        scores, ordinals = asymmetric_topk(folded, *_plain(codes), 8, k, accept, exact=True)
        return scores + constants[:, None], ordinals

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and calibration."""
        return {"precision": self.precision}, {"low": self.low, "span": self.span}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:  # noqa: ARG003
        """The inverse of `state`.

        Raises:
            IndexDamagedError: arrays that are no calibration.
        """
        low = stored(arrays, "low", np.float32, (None,))
        span = stored(arrays, "span", np.float32, low.shape)
        if (span < 0).any():
            raise IndexDamagedError("the codec's array 'span' is negative; restore the index from a copy")
        return cls(low, span)


def _plain(codes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """Codes as numbers: scale 1, offset 0."""
    n = len(codes)
    return np.ascontiguousarray(codes), np.ones(n, np.float32), np.zeros(n, np.float32)
