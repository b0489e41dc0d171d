"""A search of inverted lists step by step: what `probe_lists` is, whoever takes the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.prepared import NEAREST, Coarse, Lists
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray, IntArray

__all__ = ["Probed", "n_within", "step_by_step"]


class Probed(NamedTuple):
    """Estimates, documents and their errors ``(n_q, depth)``, best first; ``(n_q,)`` how many were found
    and how many codes were seen. ``errors`` has no column where the lists have none."""

    estimates: FloatArray
    ordinals: IntArray
    errors: FloatArray
    found: IntArray
    scanned: IntArray


def n_within(scores: FloatArray, length: np.float32, reach: float, least: int) -> int:
    """How many of some lists, best first, ``least`` at least, score no more than ``reach`` times the query's
    ``length`` below the mean of the `NEAREST` first ones."""
    if not len(scores) or np.isinf(reach):  # of a query of length 0, too
        return len(scores)
    near = scores >= scores[:NEAREST].mean(dtype=np.float32) - length * np.float32(reach)
    return max(int(np.count_nonzero(near)), min(least, len(scores)))


def step_by_step(
    choose_lists: Callable[..., Any],
    grid_tables: Callable[..., Any],
    scan_lists: Callable[..., Any],
    queries: FloatArray,
    coarse: Coarse,
    coded: Lists,
    n_probe: int,
    depth: int,
    tables: FloatArray | Grid,
    origin: FloatArray | None,
    accept: NDArray[np.bool_] | None,
    n_members: int | None,
    reach: float,
    n_least: int,
) -> Probed:
    """`retrieval.kernels.lists.reference.probe_lists` by three functions of one backend."""
    lists, bases = choose_lists(queries, coarse, n_probe, n_members, reach, n_least)
    if origin is not None:
        bases = np.repeat((queries @ origin)[:, None], lists.shape[1], axis=1)
    elif len(coded.biases):
        bases = bases - coarse.biases[lists]  # a document's own bias takes its place
    if isinstance(tables, Grid):
        tables = grid_tables(queries, tables.bits, tables.signs)
    estimates, positions, found, scanned = scan_lists(tables, coded, lists, bases, depth, accept)
    there, ordinals, errors = positions >= 0, positions, np.empty((len(queries), 0), np.float32)
    if len(coded.ordinals):
        ordinals = np.where(there, coded.ordinals[positions].astype(np.int64), -1)
    if len(coded.errors):
        errors = np.where(there, coded.errors[positions], np.float32(np.inf))
    return Probed(estimates, ordinals, errors, found, scanned)
