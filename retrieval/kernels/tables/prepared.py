"""How the tables of a codec are made, checked once a codec and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.tables.reference import TABLE_BITS, levels
from retrieval.types import FloatArray

__all__ = ["Grid"]


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """The arguments of `grid_tables`: ``bits`` a dimension, and ``signs`` ``(rounds, d)`` int8.

    ``levels`` are those of the bits, ``size`` is that of `kernels.rotate`'s windows.

    Raises:
        ValueError: another number of bits, or signs of another type or without any.
    """

    bits: int
    signs: NDArray[np.int8]
    levels: FloatArray = field(init=False, repr=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        if self.bits not in TABLE_BITS:
            raise ValueError(f"bits={self.bits}: there are tables of {TABLE_BITS}")
        if self.signs.dtype != np.int8 or self.signs.ndim != 2 or not self.signs.size:
            raise ValueError(f"signs: {self.signs.dtype}{self.signs.shape}, not int8(rounds, d)")
        made: dict[str, Any] = {
            "signs": plain(self.signs),
            "levels": plain(levels(self.bits)),
            "size": 1 << (self.dim.bit_length() - 1),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Dimensions of a query."""
        return self.signs.shape[1]

    @property
    def pieces(self) -> int:
        """Tables of a query."""
        return -(-self.signs.shape[1] * self.bits // 4)
