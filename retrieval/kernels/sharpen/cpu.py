"""Estimates from all bits of a code on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.lists.cpu import choose_lists, scan_lists
from retrieval.kernels.lists.door import check_choice, check_mask, check_probe, refuse
from retrieval.kernels.lists.prepared import Coarse, Lists
from retrieval.kernels.lists.reference import n_looked_at
from retrieval.kernels.rotate.cpu import rotate
from retrieval.kernels.sharpen.prepared import PackedRows, check_whole, prepare_packed_rows
from retrieval.kernels.sharpen.reference import Sharpened
from retrieval.kernels.sharpen.steps import Steps, step_by_step
from retrieval.kernels.tables.cpu import SHORTEST, grid_tables
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray, IntArray

__all__ = ["PackedRows", "Sharpened", "prepare_packed_rows", "probe_whole", "sharpen"]

_FLOAT, _INT = np.dtype(np.float32), np.dtype(np.int64)


def sharpen(
    queries: FloatArray, rows: PackedRows, positions: IntArray, lists: IntArray, bases: FloatArray, depth: int
) -> Sharpened:
    """See `retrieval.kernels.sharpen.reference.sharpen`; the same up to rounding."""
    if queries.dtype != _FLOAT or queries.ndim != 2 or queries.shape[1] != rows.dim:
        raise ValueError(
            f"queries are {queries.dtype} {queries.shape}: they must be float32 (n_q, {rows.dim})"
        )
    n_queries = len(queries)
    for name, array in (("positions", positions), ("lists", lists)):
        if array.dtype != _INT or array.ndim != 2 or len(array) != n_queries:
            raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be int64 ({n_queries}, n)")
    if bases.dtype != _FLOAT or bases.shape != lists.shape:
        raise ValueError(f"bases are {bases.dtype} {bases.shape}: they must be float32 {lists.shape}")
    if depth < 1:
        raise ValueError(f"depth is {depth}: it must be at least 1")
    out = _room(n_queries, depth)
    if n_queries:
        given = _own(queries), rows.bits, _own(positions), _own(lists), _own(bases)
        level = simd_level()
        where = rows.places if level == "avx512" else rows.read()
        if not _kernel(level)(where, *given, *out):
            _refuse(rows, positions, lists)
    return out


def _room(n_queries: int, depth: int) -> Sharpened:
    shape = n_queries, depth
    estimates, errors = np.empty(shape, np.float32), np.empty(shape, np.float32)
    ordinals, places = np.empty(shape, np.int64), np.empty(shape, np.int64)
    return Sharpened(estimates, ordinals, errors, places, np.empty(n_queries, np.int64))


def probe_whole(
    queries: FloatArray,
    coarse: Coarse,
    coded: Lists,
    whole: PackedRows,
    n_probe: int,
    several: int,
    depth: int,
    grid: Grid,
    origin: FloatArray | None = None,
    accept: NDArray[np.bool_] | None = None,
    n_members: int | None = None,
    reach: float = np.inf,
    n_least: int = 1,
) -> tuple[Sharpened, IntArray]:
    """See `retrieval.kernels.sharpen.reference.probe_whole`; the same up to rounding."""
    queries = check_choice(queries, coarse, n_probe)
    _, start = check_probe(len(queries), coarse, coded, min(several, depth), grid, origin)
    check_whole(whole, coded, grid)
    if simd_level() != "avx512" or grid.dim < SHORTEST or not len(queries):
        steps = Steps(choose_lists, rotate, grid_tables, scan_lists, sharpen)
        which = queries, coarse, coded, whole, n_probe, several, depth, grid, origin, accept
        return step_by_step(steps, *which, n_members, reach, n_least)
    n_queries, size = len(queries), min(n_probe, len(coarse.centroids))
    enough = max(n_looked_at(size, len(coarse.centroids)) if n_members is None else n_members, 1)
    mask, out, counts = check_mask(accept), _room(n_queries, depth), np.empty((2, n_queries), np.int64)
    turn = grid.signs, grid.size, grid.levels
    choice = coarse.places, coarse.step, enough, reach, n_least, size
    where = *choice, coded.places, whole.places, whole.bits, several
    wrong = _probe()(queries, *turn, *where, start, mask, *out, counts)
    if wrong:
        refuse(wrong, np.empty((0, 0), np.int64), coded, len(mask))
    return out, counts[1]


@cache
def _probe() -> Any:
    return import_module("retrieval.kernels.sharpen.probe").probe


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels are compiled for: contiguous, aligned and writable; else a copy."""
    return array if array.flags.carray and type(array) is np.ndarray else np.array(array, order="C")


def _refuse(rows: PackedRows, positions: IntArray, lists: IntArray) -> None:
    """Name a position or a list that there is not.

    Raises:
        ValueError: always.
    """
    for name, array, n in (("position", positions, len(rows.codes)), ("list", lists, len(rows.starts) - 1)):
        wrong = array[(array < -1) | (array >= n)]
        if len(wrong):
            raise ValueError(f"{name} {wrong[0]}: there are {n}, and -1 for none")


@cache
def _kernel(level: str) -> Any:
    return import_module(f"retrieval.kernels.sharpen.{level}").sharpen
