"""A rotation of the space: inner products stay, and what was in a few coordinates is spread over all.

Codes of few bits a coordinate need it: they assume that every coordinate is about as large as any other.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.kernels.rotate.cpu import rotate, unrotate
from retrieval.quantize.base import Arrays
from retrieval.quantize.trained import given, stored
from retrieval.types import FloatArray

__all__ = ["Rotation"]

ROUNDS = 4
"""Of sign flips and transforms. Measured on unit, constant and sparse vectors of 33 to 1023 dimensions:
coordinates have a Gaussian's kurtosis to within 0.15, and 1-bit estimates the error of a dense rotation."""
ORTHONORMAL = 1e-3
"""How far products of a given matrix's rows may be from those of an orthonormal one."""
SLAB = 64
"""Rows of a product with a matrix, or a multiple: what BLAS gives does not then depend on their number."""


class Rotation:
    """`kernels.rotate` with ``signs`` ``(rounds, d)`` int8, or a matrix ``(d, d)`` float32 (y = R x)."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    @classmethod
    def random(cls, dim: int, seed: int) -> Self:
        """A fast rotation of ``dim`` coordinates."""
        signs = np.random.default_rng(seed).integers(0, 2, (ROUNDS, dim), dtype=np.int8)
        return cls(2 * signs - np.int8(1))

    @classmethod
    def of(cls, array: Any) -> Self:
        """A rotation made elsewhere: signs of ``int8`` type, or an orthonormal matrix.

        Raises:
            ConfigError: signs that are not 1 and -1; a matrix that is not orthonormal.
        """
        if np.asarray(array).dtype == np.int8:
            signs = given(array, "signs", np.int8, (None, None))
            if not _are_signs(signs):
                raise ConfigError("signs has numbers other than 1 and -1")
            return cls(signs)
        matrix = given(array, "rotation", np.float32, (None, None))
        if matrix.shape[0] != matrix.shape[1]:
            raise ConfigError(f"rotation is {matrix.shape}: give as many rows as columns")
        if (off := _skew(matrix)) > ORTHONORMAL:
            raise ConfigError(f"rotation is not orthonormal: products of its rows are off by up to {off:.3g}")
        return cls(matrix)

    @classmethod
    def from_arrays(cls, arrays: Arrays, dim: int) -> Self:
        """The inverse of `arrays`.

        Raises:
            IndexDamagedError: neither signs nor an orthonormal matrix of this dimension.
        """
        if "signs" in arrays:
            signs = stored(arrays, "signs", np.int8, (None, dim))
            if not _are_signs(signs):
                raise IndexDamagedError(
                    "the codec's array 'signs' has numbers other than 1 and -1; restore the index from a copy"
                )
            return cls(signs)
        matrix = stored(arrays, "rotation", np.float32, (dim, dim))
        if _skew(matrix) > ORTHONORMAL:
            raise IndexDamagedError(
                "the codec's array 'rotation' is not orthonormal; restore the index from a copy"
            )
        return cls(matrix)

    @property
    def dim(self) -> int:
        """Coordinates."""
        return int(self._array.shape[1])

    @property
    def signs(self) -> NDArray[np.int8] | None:
        """What `kernels.rotate` takes; None where the rotation is a matrix."""
        return self._array if self._array.dtype == np.int8 else None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        return {"signs" if self._array.dtype == np.int8 else "rotation": self._array}

    def apply(self, values: FloatArray) -> FloatArray:
        """``(n, d)`` float32, turned."""
        if self._array.dtype == np.int8:
            return rotate(values, self._array)
        turned: FloatArray = values @ self._array.T
        return turned

    def apply_to_documents(self, values: FloatArray) -> FloatArray:
        """`apply`, giving a vector the same bits whatever vectors come with it."""
        if self._array.dtype == np.int8:
            return rotate(values, self._array)
        padded = np.pad(values, ((0, -len(values) % SLAB), (0, 0)))
        return self.apply(padded)[: len(values)]

    def undo(self, values: FloatArray) -> FloatArray:
        """The inverse of `apply`."""
        if self._array.dtype == np.int8:
            return unrotate(values, self._array)
        turned: FloatArray = values @ self._array
        return turned


def _are_signs(signs: NDArray[np.int8]) -> bool:
    return bool((np.abs(signs.astype(np.int16)) == 1).all())


def _skew(matrix: FloatArray) -> float:
    wide = matrix.astype(np.float64)
    return float(np.abs(wide @ wide.T - np.eye(len(matrix))).max())
