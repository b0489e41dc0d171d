"""Estimates from all bits of a code, in plain NumPy: the definition.

A code of several bits a dimension contains coarser ones: its highest bits. Those are scanned for all
documents of the lists (`retrieval.kernels.lists`); of the best of them the whole codes are read here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.asymmetric.reference import unpack
from retrieval.kernels.lists.prepared import Coarse, Lists
from retrieval.kernels.lists.reference import choose_lists, scan_lists
from retrieval.kernels.rotate.reference import rotate
from retrieval.kernels.sharpen.prepared import PackedRows, prepare_packed_rows
from retrieval.kernels.sharpen.steps import Steps, step_by_step
from retrieval.kernels.tables.prepared import Grid
from retrieval.kernels.tables.reference import grid_tables
from retrieval.types import FloatArray, IntArray

__all__ = ["PackedRows", "Sharpened", "prepare_packed_rows", "probe_whole", "sharpen"]


class Sharpened(NamedTuple):
    """Estimates, documents, their errors, and their places among the positions that were given
    ``(n_q, depth)``, best first; ``(n_q,)`` how many were found."""

    estimates: FloatArray
    ordinals: IntArray
    errors: FloatArray
    places: IntArray
    found: IntArray


def sharpen(
    queries: FloatArray, rows: PackedRows, positions: IntArray, lists: IntArray, bases: FloatArray, depth: int
) -> Sharpened:
    """The best ``depth`` documents of some positions: `Sharpened`.

    ``queries`` ``(n_q, d)`` float32, rotated as the codes are; ``positions`` ``(n_q, n)`` int64, -1 for none;
    ``lists`` ``(n_q, n_probe)`` int64, -1 for none, and their ``bases`` float32. The estimate of position
    ``p`` in one of the lists is

        base of the list + (biases[p] + scale[p] * sum_j q_j (u_pj - c))

    summed in float32, here in float64. Documents are ranked by estimate descending, then ordinal; an
    estimate of NaN, and a position in none of the lists, is never found. A position that comes twice
    is found twice. What is not filled has ordinal and place -1, minus infinity and an infinite error.

    Raises:
        ValueError: a type or shape that does not fit, a position or a list that does not exist, ``depth``
            below 1.
    """
    shape, centre = (len(queries), depth), (2**rows.bits - 1) / 2
    estimates, errors = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    ordinals, ranks = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    found = np.zeros(len(queries), np.int64)
    for q, query in enumerate(queries.astype(np.float64)):
        own = np.full(len(rows.starts) - 1, np.nan, np.float32)
        own[lists[q][lists[q] >= 0]] = bases[q][lists[q] >= 0]
        given = np.flatnonzero(positions[q] >= 0)
        places = positions[q][given]
        dots = (unpack(rows.codes[places], rows.bits, rows.dim) - centre) @ query
        scores = (rows.factors[places, 0] * dots).astype(np.float32)
        if len(rows.biases):
            scores = rows.biases[places] + scores
        scores = own[np.searchsorted(rows.starts, places, "right") - 1] + scores
        valid = ~np.isnan(scores)
        given, places, scores = given[valid], places[valid], scores[valid]
        documents = rows.ordinals[places].astype(np.int64) if len(rows.ordinals) else places
        best = np.lexsort((documents, -scores))[:depth]
        found[q] = n = len(best)
        estimates[q, :n], ordinals[q, :n] = scores[best], documents[best]
        errors[q, :n], ranks[q, :n] = rows.factors[places[best], 1], given[best]
    return Sharpened(estimates, ordinals, errors, ranks, found)


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
    """`retrieval.kernels.lists.reference.probe_lists` to the best ``several`` documents by the codes
    ``coded``, whose tables are those of ``grid``, and of these the best ``depth`` by `sharpen`: the ``whole``
    codes have the same lists, biases and documents. Also how many codes were seen ``(n_q,)``.

    Raises:
        ValueError: as `probe_lists` and `sharpen`; codes and whole codes that do not fit each other.
    """
    steps = Steps(choose_lists, rotate, grid_tables, scan_lists, sharpen)
    which = queries, coarse, coded, whole, n_probe, several, depth, grid, origin, accept
    return step_by_step(steps, *which, n_members, reach, n_least)
