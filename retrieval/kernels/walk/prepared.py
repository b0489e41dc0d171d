"""A graph and its queries as the walk reads them, checked once and not at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.types import FloatArray, IntArray

__all__ = [
    "MOST_DIMENSIONS",
    "SHORTEST",
    "Asked",
    "Coding",
    "Graph",
    "Layout",
    "aligned",
    "prepare_coding",
    "prepare_graph",
]

LINE = 64
"""Bytes of a cache line, and lanes of a vector of bytes."""
MOST_DIMENSIONS = 4096
"""Of which a 1-bit product, with what is added to make it positive, fits 16 bits."""
LANES = 16
SHORTEST = 16
"""Dimensions that are rotated by vectors."""
SLACK = 64
"""Bytes behind the links: a vector of them is read at once."""


class Layout(NamedTuple):
    """Where a vector of ``dim`` dimensions keeps what: its *line*, whole cache lines, begins with its bits;
    behind them are the factor of its estimates and its one more coordinate (float32), where its links start
    (uint32, counted in links), and how many these are (one byte)."""

    dim: int
    at_factor: int
    """First byte behind the bits."""
    length: int
    """Bytes of a line."""
    wide: int
    """Bytes of a code: zeros fill its last vector."""
    fours: int
    """Numbers of a query for the bits of a line: whole vectors of bits."""

    @classmethod
    def of(cls, dim: int) -> Layout:
        """That of vectors of ``dim`` dimensions."""
        at_factor = -(-dim // 32) * 4
        length = -(-(at_factor + 13) // LINE) * LINE
        return cls(dim, at_factor, length, -(-dim // LINE) * LINE, -(-at_factor // LINE) * LINE * 8)

    def floats(self, lines: NDArray[np.uint8]) -> FloatArray:
        """Factors and one more coordinates ``(n, 2)``, a view."""
        return lines[:, self.at_factor : self.at_factor + 8].view(np.float32)

    def starts(self, lines: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Where links start ``(n, 1)``, a view."""
        return lines[:, self.at_factor + 8 : self.at_factor + 12].view(np.uint32)

    def degrees(self, lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """How many links there are ``(n,)``, a view."""
        return lines[:, self.at_factor + 12]


class Coding(NamedTuple):
    """How vectors became bits and bytes; made by `prepare_coding`. ``signs`` ``(rounds, d)`` int8 rotate what
    lies around ``mean`` ``(d,)``; byte ``x`` of dimension ``j`` stands for ``offsets[j] + steps[j] x``."""

    layout: Layout
    signs: NDArray[np.int8]
    mean: FloatArray
    steps: FloatArray
    offsets: FloatArray


def prepare_coding(
    signs: NDArray[np.int8], mean: FloatArray, steps: FloatArray, offsets: FloatArray
) -> Coding:
    """A coding as `ask_walk` takes it.

    Raises:
        ValueError: a type or shape that does not fit.
    """
    dim = len(mean)
    if signs.dtype != np.int8 or signs.ndim != 2 or signs.shape[1] != dim or not dim:
        raise ValueError(f"signs are {signs.dtype} {signs.shape}: they must be int8 (rounds, {dim})")
    for name, array in (("mean", mean), ("steps", steps), ("offsets", offsets)):
        if array.dtype != np.float32 or array.shape != (dim,):
            raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be float32 ({dim},)")
    return Coding(Layout.of(dim), plain(signs), plain(mean), plain(steps), plain(offsets))


class Asked(NamedTuple):
    """Queries as the walk takes them. ``fours`` ``(n_q, Layout.fours)`` int8 from -7 to 7 for bits,
    ``octets`` ``(n_q, Layout.wide)`` int8 for codes, zeros behind ``dim`` in both; ``scalars`` ``(n_q, 7)``
    float32: the step of fours, what an estimate begins with, the step of octets, what a score begins with,
    the weight of the one more coordinate, the margin, and the sum of the fours."""

    fours: NDArray[np.int8]
    octets: NDArray[np.int8]
    scalars: FloatArray

    def part(self, start: int, stop: int) -> Asked:
        """Some of the queries."""
        return Asked(self.fours[start:stop], self.octets[start:stop], self.scalars[start:stop])


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """Vectors and their links; made by `prepare_graph`.

    ``lines`` ``(n, Layout.length)``, ``codes`` ``(n, Layout.wide)``; ``links`` are ordinals of ``size`` (3 or
    4) bytes, the lowest first. ``entries`` ``(e,)`` int32 are where a walk may begin, ``entry_lines`` their
    lines. ``places`` tells a kernel where all of them lie in memory, ``shape`` how large they are.
    """

    layout: Layout
    lines: NDArray[np.uint8]
    links: NDArray[np.uint8]
    size: int
    codes: NDArray[np.uint8]
    entries: NDArray[np.int32]
    entry_lines: NDArray[np.uint8]
    places: IntArray = field(init=False, repr=False)
    shape: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        arrays = self.lines, self.links, self.codes, self.entry_lines, self.entries
        places = np.array([[a.ctypes.data, a.nbytes // (4 if a is self.entries else 1)] for a in arrays])
        at = self.layout
        sizes = [len(self.lines), at.length, at.at_factor, at.wide, at.fours, self.size, len(self.entries)]
        object.__setattr__(self, "places", places.reshape(-1).astype(np.int64))
        object.__setattr__(self, "shape", np.array(sizes, np.int64))

    def linked(self, u: int) -> IntArray:
        """The links of vector ``u``."""
        start = int(self.layout.starts(self.lines)[u, 0]) * self.size
        count = int(self.layout.degrees(self.lines)[u])
        bytes_ = self.links[start : start + count * self.size].reshape(count, self.size).astype(np.int64)
        ordinals: IntArray = (bytes_ << (8 * np.arange(self.size))).sum(axis=1)
        return ordinals


def aligned(shape: tuple[int, int], slack: int = 0) -> NDArray[np.uint8]:
    """Zeros, each row beginning a cache line where rows are whole lines, with ``slack`` more bytes behind."""
    size = shape[0] * shape[1]
    room = np.zeros(size + slack + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + size].reshape(shape)


def prepare_graph(
    dim: int,
    lines: NDArray[np.uint8],
    links: NDArray[np.uint8],
    size: int,
    codes: NDArray[np.uint8],
    entries: NDArray[np.int32],
) -> Graph:
    """A graph as `walk` takes it; copied where it does not begin a cache line.

    Raises:
        ValueError: a type or shape that does not fit, links that lead out of the graph or lie outside of
            ``links``, an entry of no vector, or lines with numbers that are not finite.
    """
    layout, n = Layout.of(dim), len(lines)
    if not 1 <= dim <= MOST_DIMENSIONS:
        raise ValueError(f"vectors have {dim} dimensions: there must be 1 to {MOST_DIMENSIONS}")
    for name, array, shape in (("lines", lines, (n, layout.length)), ("codes", codes, (n, layout.wide))):
        if array.dtype != np.uint8 or array.shape != shape:
            raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be uint8 {shape}")
    if n * layout.length // 4 >= 2**31:
        raise ValueError(f"{n} vectors of {dim} dimensions are too many for one graph")
    if links.dtype != np.uint8 or links.ndim != 1 or size not in (3, 4) or len(links) % size:
        raise ValueError(f"links are {links.dtype} {links.shape}: they must be uint8, {size} bytes each")
    if entries.dtype != np.int32 or entries.ndim != 1 or not (len(entries) or n == 0):
        raise ValueError(f"entries are {entries.dtype} {entries.shape}: they must be int32 (e,)")
    _check_values(layout, lines, links, size, entries)
    whole = -(-len(entries) // LANES) * LANES
    first = aligned((whole, layout.length))
    first[: len(entries)] = lines[entries]
    behind = aligned((1, len(links)), SLACK)[0]
    behind[:] = links
    return Graph(layout, _lined(lines), behind, size, _lined(codes), entries.copy(), first)


def _lined(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.flags.carray and type(array) is np.ndarray and array.ctypes.data % LINE == 0:
        return array
    copy = aligned(array.shape)
    copy[:] = array
    return copy


def _check_values(
    layout: Layout, lines: NDArray[np.uint8], links: NDArray[np.uint8], size: int, entries: NDArray[np.int32]
) -> None:
    n, count = len(lines), len(links) // size
    if len(entries) and (entries.min() < 0 or entries.max() >= n):
        raise ValueError("entries lead out of the graph")
    if n == 0:
        return
    if not np.isfinite(layout.floats(lines)).all():
        raise ValueError("lines hold NaN or infinity")
    last = layout.starts(lines)[:, 0].astype(np.int64) + layout.degrees(lines)
    if last.max() > count:
        raise ValueError("lines have links that are not there")
    for first in range(0, count, 2**22):
        some: Any = links[first * size : (first + 2**22) * size].reshape(-1, size).astype(np.int64)
        if ((some << (8 * np.arange(size))).sum(axis=1) >= n).any():
            raise ValueError("links lead out of the graph")
