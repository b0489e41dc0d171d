"""Inverted lists on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.host import simd_level
from retrieval.kernels.lists.door import (
    check_choice,
    check_mask,
    check_probe,
    check_scan,
    refuse,
)
from retrieval.kernels.lists.prepared import Coarse, Groups, Lists, prepare_centroids, prepare_lists
from retrieval.kernels.lists.reference import Scanned, n_looked_at
from retrieval.kernels.lists.steps import Probed, step_by_step
from retrieval.kernels.tables.cpu import SHORTEST, grid_tables
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray, IntArray

__all__ = [
    "Coarse",
    "Groups",
    "Lists",
    "Probed",
    "Scanned",
    "choose_lists",
    "n_looked_at",
    "prepare_centroids",
    "prepare_lists",
    "probe_lists",
    "scan_lists",
]

_NO_TURN = plain(np.empty((0, 0), np.int8)), 0, plain(np.empty((0, 16), np.float32))


def scan_lists(
    tables: FloatArray,
    coded: Lists,
    lists: IntArray,
    bases: FloatArray,
    depth: int,
    accept: NDArray[np.bool_] | None = None,
) -> Scanned:
    """See `retrieval.kernels.lists.reference.scan_lists`; the same."""
    tables, lists, bases = check_scan(tables, coded, lists, bases, depth)
    mask = check_mask(accept)
    n_queries = len(tables)
    estimates, positions = np.empty((n_queries, depth), np.float32), np.empty((n_queries, depth), np.int64)
    counts = np.empty((2, n_queries), np.int64)
    if n_queries:
        rest = lists, bases, mask, estimates, positions, counts
        if simd_level() == "avx512":
            wrong = _vectors("scan")(tables, coded.places, *rest)
        else:
            wrong = _portable("scan")(tables, coded, *rest)
        if wrong:
            refuse(wrong, lists, coded, len(mask))
    return estimates, positions, counts[0], counts[1]


def choose_lists(
    queries: FloatArray,
    coarse: Coarse,
    n_probe: int,
    n_members: int | None = None,
    reach: float = np.inf,
    n_least: int = 1,
) -> tuple[IntArray, FloatArray]:
    """See `retrieval.kernels.lists.reference.choose_lists`; the same up to rounding.

    With AVX-512 half as many lists again and some more are taken by products of bytes, and scored in float:
    a list could only be missed by those whose products differ less than the bytes' rounding.
    """
    queries = check_choice(queries, coarse, n_probe)
    nlist, n_queries = len(coarse.centroids), len(queries)
    size = min(n_probe, nlist)
    lists, bases = np.empty((n_queries, size), np.int64), np.empty((n_queries, size), np.float32)
    enough = max(n_looked_at(size, nlist) if n_members is None else n_members, 1)
    if simd_level() == "avx512":
        finite = _vectors("choose")(queries, coarse.places, coarse.step, enough, reach, n_least, lists, bases)
    else:
        finite = _portable("choose")(queries, coarse, enough, reach, n_least, lists, bases)
    if not finite:
        raise ValueError("queries hold NaN or infinite numbers")
    return lists, bases


def probe_lists(
    queries: FloatArray,
    coarse: Coarse,
    coded: Lists,
    n_probe: int,
    depth: int,
    tables: FloatArray | Grid,
    origin: FloatArray | None = None,
    accept: NDArray[np.bool_] | None = None,
    n_members: int | None = None,
    reach: float = np.inf,
    n_least: int = 1,
) -> Probed:
    """See `retrieval.kernels.lists.reference.probe_lists`; the same up to rounding."""
    queries = check_choice(queries, coarse, n_probe)
    given, start = check_probe(len(queries), coarse, coded, depth, tables, origin)
    turn = (tables.signs, tables.size, tables.levels) if isinstance(tables, Grid) else _NO_TURN
    is_short = isinstance(tables, Grid) and tables.dim < SHORTEST
    if simd_level() != "avx512" or is_short or not len(queries):
        steps, how_many = (choose_lists, grid_tables, scan_lists), (n_members, reach, n_least)
        return step_by_step(*steps, queries, coarse, coded, n_probe, depth, tables, origin, accept, *how_many)
    n_queries, size = len(queries), min(n_probe, len(coarse.centroids))
    enough = max(n_looked_at(size, len(coarse.centroids)) if n_members is None else n_members, 1)
    mask = check_mask(accept)
    estimates, ordinals = np.empty((n_queries, depth), np.float32), np.empty((n_queries, depth), np.int64)
    errors = np.empty((n_queries, depth if len(coded.errors) else 0), np.float32)
    counts = np.empty((2, n_queries), np.int64)
    wrong = _vectors("probe")(
        queries,
        given,
        *turn,
        coarse.places,
        coarse.step,
        enough,
        reach,
        n_least,
        size,
        coded.places,
        start,
        mask,
        estimates,
        ordinals,
        errors,
        counts,
    )
    if wrong:
        refuse(wrong, np.empty((0, 0), np.int64), coded, len(mask))
    return Probed(estimates, ordinals, errors, counts[0], counts[1])


@cache
def _vectors(function: str) -> Any:
    return getattr(import_module(f"retrieval.kernels.lists.{function}"), function)


@cache
def _portable(function: str) -> Any:
    return getattr(import_module("retrieval.kernels.lists.portable"), function)
