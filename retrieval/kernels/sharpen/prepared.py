"""Whole codes as kernels read them, checked once a segment and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.lists.prepared import Lists
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray, IntArray

__all__ = ["BITS", "SPACING", "PackedRows", "check_whole", "prepare_packed_rows"]

BITS = (2, 4, 8)
SPACING = 64
"""Positions from one whose list is known to the next."""


@dataclass(frozen=True, eq=False, slots=True)
class PackedRows:
    """Grid points of ``bits`` bits a dimension, a contiguous row of bytes each, sorted by list; made by
    `prepare_packed_rows`.

    ``codes`` ``(n, ceil(dim * bits / 8))`` are packed as `kernels.asymmetric` has it. Position ``p``
    stands for ``scale * (u - c)`` with ``c = (2**bits - 1) / 2``; its scale and its error are
    ``factors[p]``. List ``l`` owns the positions ``starts[l]:starts[l + 1]``. ``biases`` (float32) and
    ``ordinals`` (uint32, the document at each position) have one entry a position, or none at all.
    ``hints`` are the lists of every 64th position, ``places`` tells a kernel where the arrays lie in memory.
    """

    codes: NDArray[np.uint8]
    factors: FloatArray
    starts: IntArray
    biases: FloatArray
    ordinals: NDArray[np.uint32]
    bits: int
    dim: int
    hints: NDArray[np.uint32] = field(init=False, repr=False)
    places: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        known = np.arange(0, len(self.codes), SPACING)
        hints = np.searchsorted(self.starts, known, side="right") - 1
        object.__setattr__(self, "hints", plain(hints.astype(np.uint32)))
        spans = [(a.__array_interface__["data"][0], a.size) for a in self.read()]
        object.__setattr__(self, "places", np.array(spans, np.int64).reshape(-1))

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What it was made of: codes, factors, starts, biases and ordinals."""
        return self.codes, self.factors, self.starts, self.biases, self.ordinals

    def read(self) -> tuple[NDArray[Any], ...]:
        """What kernels read."""
        return *self.arrays(), self.hints

    def __reduce__(self) -> tuple[Any, ...]:  # a copy's arrays lie elsewhere
        return PackedRows, (*self.arrays(), self.bits, self.dim)


def prepare_packed_rows(
    codes: NDArray[np.uint8],
    factors: FloatArray,
    starts: IntArray,
    biases: FloatArray | None,
    ordinals: NDArray[np.uint32] | None,
    bits: int,
    dim: int,
) -> PackedRows:
    """Check the arrays of `PackedRows`; nothing is copied that is contiguous.

    Raises:
        ValueError: a type or shape that does not fit.
    """
    own_biases = np.empty(0, np.float32) if biases is None else biases
    own_ordinals = np.empty(0, np.uint32) if ordinals is None else ordinals
    codes, factors, starts = plain(codes), plain(factors), plain(starts)
    return PackedRows(codes, factors, starts, plain(own_biases), plain(own_ordinals), bits, dim)


def check_whole(whole: PackedRows, coded: Lists, grid: Grid) -> None:
    """Raises ValueError: codes and whole codes that do not fit each other."""
    fits = len(whole.codes) == coded.starts[-1] and len(whole.starts) == len(coded.starts)
    if not fits or whole.dim != grid.dim:
        raise ValueError(
            f"there are {len(whole.codes)} whole codes of {whole.dim} dimensions in {len(whole.starts) - 1} "
            f"lists, and {coded.starts[-1]} codes of {grid.dim} in {len(coded.starts) - 1}"
        )


def _check(rows: PackedRows) -> None:
    """So much that no kernel can leave the arrays."""
    if rows.bits not in BITS or rows.dim < 1:
        raise ValueError(f"bits={rows.bits}, dim={rows.dim}: bits are of {BITS}, dimensions from 1 on")
    n, starts = len(rows.codes), rows.starts
    if starts.dtype != np.int64 or starts.ndim != 1 or not len(starts):
        raise ValueError(f"starts are {starts.dtype} {starts.shape}: they must be int64 (nlist + 1,)")
    if starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any() or n >= 2**31:
        raise ValueError(f"starts must grow from 0 to the {n} codes, and less than 2**31")
    for name, array, dtype, shapes in (
        ("codes", rows.codes, np.uint8, {(n, -(-rows.dim * rows.bits // 8))}),
        ("factors", rows.factors, np.float32, {(n, 2)}),
        ("biases", rows.biases, np.float32, {(n,), (0,)}),
        ("ordinals", rows.ordinals, np.uint32, {(n,), (0,)}),
    ):
        if array.dtype != dtype or array.shape not in shapes or not array.flags.c_contiguous:
            wanted = " or ".join(str(shape) for shape in sorted(shapes, reverse=True))
            raise ValueError(
                f"{name} are {array.dtype} {array.shape}: they must be {np.dtype(dtype)} {wanted}"
            )
    if len(rows.ordinals) and rows.ordinals.max() >= 2**31:
        raise ValueError(f"an ordinal is {rows.ordinals.max()}: they must be less than 2**31")
