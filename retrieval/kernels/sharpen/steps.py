"""A search of inverted lists by fewer and then by all bits, step by step: what `probe_whole` is, whoever
takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.prepared import Coarse, Lists
from retrieval.kernels.sharpen.prepared import PackedRows
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray, IntArray

__all__ = ["Steps", "step_by_step"]


class Steps(NamedTuple):
    """The kernels of one backend."""

    choose_lists: Callable[..., Any]
    rotate: Callable[..., Any]
    grid_tables: Callable[..., Any]
    scan_lists: Callable[..., Any]
    sharpen: Callable[..., Any]


def step_by_step(
    steps: Steps,
    queries: FloatArray,
    coarse: Coarse,
    coded: Lists,
    whole: PackedRows,
    n_probe: int,
    several: int,
    depth: int,
    grid: Grid,
    origin: FloatArray | None,
    accept: NDArray[np.bool_] | None,
    n_members: int | None,
    reach: float,
    n_least: int,
) -> tuple[Any, IntArray]:
    """`retrieval.kernels.sharpen.reference.probe_whole` by the functions of one backend."""
    lists, bases = steps.choose_lists(queries, coarse, n_probe, n_members, reach, n_least)
    if origin is not None:
        bases = np.repeat((queries @ origin)[:, None], lists.shape[1], axis=1)
    elif len(coded.biases):
        bases = bases - coarse.biases[lists]  # a document's own bias takes its place
    turned = steps.rotate(queries, grid.signs)
    tables = steps.grid_tables(turned, grid.bits)
    _, positions, _, scanned = steps.scan_lists(tables, coded, lists, bases, several, accept)
    return steps.sharpen(turned, whole, positions, lists, bases, depth), scanned
