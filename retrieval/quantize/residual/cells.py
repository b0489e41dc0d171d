"""The centroid of a token: one of a few thousand by comparing all, one of many by looking into few *cells*.

Above `ONE_LEVEL` centroids lie in cells, which have centroids of their own. A token is compared with the
centroids of its `VISITED` nearest cells. Everything is a function of the token alone: which cells it
visits is decided in float, one token after the other, and its distances are compared as 8-bit products
(`kernels.assign`), which are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.kernels.assign.cpu import assign_prepared, prepare_centroids
from retrieval.kernels.assign.tile import Problem
from retrieval.kernels.blocks import over_blocks
from retrieval.kernels.lists.cpu import Coarse, choose_lists
from retrieval.kernels.lists.cpu import prepare_centroids as prepare_cells
from retrieval.quantize.trained import stored
from retrieval.types import FloatArray, IntArray

__all__ = ["ONE_LEVEL", "Cells", "Centroids"]

ONE_LEVEL = 16384
"""Centroids that are all compared."""
VISITED = 6
"""Cells that a token visits. Measured on MiniLM's tokens (128 d) with 16,384 centroids in 128 cells and with
32,768 in 181: 98.5 to 99 % get the nearest centroid of all, and squared distances are 0.3 to 0.6 % longer
(of 4 cells: a percentage point fewer; of 8: 0.3 more, at three quarters of the speed). Where cells are no
more than cuts through noise (random prototypes, 65,536 centroids), it is 87 % and 7 % longer."""
ROWS = 8192
"""Tokens that visit cells together: a cell should get more than a tile of them."""


class Cells:
    """``centroids`` ``(n_cells, d)`` of centroids; cell ``c`` has those from ``starts[c]`` to
    ``starts[c + 1]``, at least one."""

    def __init__(self, centroids: FloatArray, starts: IntArray) -> None:
        self.centroids, self.starts = centroids, starts

    @cached_property
    def coarse(self) -> Coarse:
        """Made ready to find the nearest by l2."""
        biases = (-0.5 * (self.centroids.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
        return prepare_cells(self.centroids, biases)


class Centroids:
    """``values`` ``(K, d)`` float32, in ``cells`` or all in one."""

    def __init__(self, values: FloatArray, cells: Cells | None = None) -> None:
        self.values, self._cells = values, cells

    def moved(self, values: FloatArray) -> Self:
        """Other centroids in the same cells."""
        return type(self)(values, self._cells)

    def nearest(self, values: FloatArray, threads: int = 1) -> IntArray:
        """Ordinals ``(n,)`` int64 for ``values`` ``(n, d)`` float32.

        Raises:
            ValueError: another shape or type; NaN or infinity.
        """
        self.prepare()
        if self._cells is None:
            return assign_prepared(values, self._problems[0], threads).ordinals

        def work(start: int, stop: int) -> IntArray:
            return self._by_cells(values[start:stop])

        found = over_blocks(work, len(values), ROWS, threads)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _by_cells(self, values: FloatArray) -> IntArray:
        assert self._cells is not None
        starts = self._cells.starts
        cells, _ = choose_lists(values, self._cells.coarse, min(VISITED, len(starts) - 1))
        rows, columns = np.divmod(np.argsort(cells, axis=None, kind="stable"), cells.shape[1])
        bounds = np.searchsorted(cells[rows, columns], np.arange(len(starts)))
        scores, ordinals = np.empty(cells.shape, np.float32), np.empty(cells.shape, np.int64)
        for cell in np.flatnonzero(np.diff(bounds)):
            some = slice(bounds[cell], bounds[cell + 1])
            found = assign_prepared(values[rows[some]], self._problems[cell])
            scores[rows[some], columns[some]] = found.scores
            ordinals[rows[some], columns[some]] = found.ordinals + starts[cell]
        # The nearest cells come first, and of equal scores the first is taken.
        best: IntArray = ordinals[np.arange(len(values)), scores.argmax(axis=1)]
        return best

    def prepare(self) -> None:
        """Make what threads share, before there are any."""
        _ = self._problems, self._cells and self._cells.coarse

    @cached_property
    def _problems(self) -> list[Problem]:
        """The centroids of each cell, made ready to be compared."""
        bounds = [0, len(self.values)] if self._cells is None else self._cells.starts.tolist()
        return [
            prepare_centroids(self.values[first:last], "l2", exact=False) for first, last in pairwise(bounds)
        ]

    def state(self) -> dict[str, NDArray[Any]]:
        """All arrays."""
        arrays: dict[str, NDArray[Any]] = {"centroids": self.values}
        if self._cells is not None:
            arrays |= {"cells/centroids": self._cells.centroids, "cells/starts": self._cells.starts}
        return arrays

    @classmethod
    def from_state(cls, arrays: Mapping[str, NDArray[Any]], dim: int) -> Self:
        """The inverse of `state`.

        Raises:
            IndexDamagedError: arrays that are no centroids of ``dim`` dimensions, or no cells of them.
        """
        values = stored(arrays, "centroids", np.float32, (None, dim))
        if "cells/centroids" not in arrays and "cells/starts" not in arrays:
            return cls(values)
        centers = stored(arrays, "cells/centroids", np.float32, (None, dim))
        starts = stored(arrays, "cells/starts", np.int64, (len(centers) + 1,))
        if starts[0] != 0 or starts[-1] != len(values) or (np.diff(starts) < 1).any():
            raise IndexDamagedError(
                "the codec's array 'cells/starts' does not divide its centroids; "
                "restore the index from a copy"
            )
        return cls(values, Cells(centers, starts))
