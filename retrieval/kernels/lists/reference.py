"""Inverted lists in plain NumPy: the definition.

An inverted file keeps the codes of vectors in lists, one for each centroid, and looks into the lists of
the nearest centroids only. Jegou, Douze, Schmid, Product quantization for nearest neighbor search (2011),
section IV; tables of bytes as in `retrieval.kernels.pq_scan`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.prepared import (
    Coarse,
    Groups,
    Lists,
    prepare_centroids,
    prepare_lists,
)
from retrieval.kernels.lists.steps import Probed, n_within, step_by_step
from retrieval.kernels.pq_scan.reference import quantize_tables, unpack_codes
from retrieval.kernels.tables.prepared import Grid
from retrieval.kernels.tables.reference import grid_tables
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

Scanned = tuple[FloatArray, IntArray, IntArray, IntArray]
"""Estimates and positions ``(n_q, depth)``, best first; how many were found; how many codes were seen."""


def n_looked_at(n_probe: int, nlist: int) -> int:
    """How many lists the groups must have together that are visited for ``n_probe``, by default."""
    return max(8 * n_probe, nlist // 8)


def choose_lists(
    queries: FloatArray,
    coarse: Coarse,
    n_probe: int,
    n_members: int | None = None,
    reach: float = np.inf,
    n_least: int = 1,
) -> tuple[IntArray, FloatArray]:
    """The ``n_probe`` lists of highest ``q . c + bias + |q| spread``: ``(lists (n_q, n_probe) int64, bases
    float32)``.

    Best first, ties by list; ``n_probe`` is cut to the number of lists. Bases are float32 products with the
    bias, without the spread. Left out are lists, all but ``n_least``, that lie further than ``|q| reach``
    below the mean of the first four: a query that is far from most lists visits fewer of them. Their places
    (with groups: also those beyond what the visited groups have) are -1, with a base of minus infinity. With
    groups only the lists of the best groups are looked at, so many that they have at least
    ``n_members`` (default: `n_looked_at`).

    Raises:
        ValueError: queries that are not finite float32 ``(n_q, d)``, ``n_probe`` below 1.
    """
    nlist, n_queries = len(coarse.centroids), len(queries)
    size = min(n_probe, nlist)
    lists, bases = np.full((n_queries, size), -1, np.int64), np.full((n_queries, size), -np.inf, np.float32)
    for q, query in enumerate(queries):
        seen = coarse.members[coarse.members >= 0]
        if len(coarse.supers):
            enough = max(n_looked_at(size, nlist) if n_members is None else n_members, 1)
            order = np.argsort(-(coarse.supers @ query + coarse.super_biases), kind="stable")
            before = np.cumsum(coarse.sizes[order]) - coarse.sizes[order]
            parts = [
                coarse.members[16 * coarse.runs[r] : 16 * coarse.runs[r + 1]] for r in order[before < enough]
            ]
            seen = np.concatenate(parts)
        seen = np.sort(seen[seen >= 0])
        length = np.float32(np.sqrt(query @ query))
        own = coarse.centroids[seen] @ query + coarse.biases[seen]
        scores = own + length * coarse.spreads[seen]
        best = np.argsort(-scores, kind="stable")[:size]
        best = best[: n_within(scores[best], length, reach, n_least)]
        lists[q, : len(best)], bases[q, : len(best)] = seen[best], own[best]
    return lists, bases


def scan_lists(
    tables: FloatArray,
    coded: Lists,
    lists: IntArray,
    bases: FloatArray,
    depth: int,
    accept: NDArray[np.bool_] | None = None,
) -> Scanned:
    """The best ``depth`` positions of each query's lists: `Scanned`.

    ``tables`` ``(n_q, m, 16)`` float32; ``lists`` ``(n_q, n_probe)`` int64, best first, no list twice,
    -1 for none, ``depth`` at least 1; ``bases`` ``(n_q, n_probe)`` float32. The estimate of position ``p`` is

        bases[list] + (biases[p] + scales[p] * (scale * total[p] + bias))

    with ``scale``, ``bias`` and the integer total of `pq_scan.quantize_tables`, every operation in
    float32. Positions are ranked by estimate descending, then document ascending; an estimate of NaN is
    never found. Places that are not filled have position -1 and minus infinity.

    ``accept`` ``(n_docs,)`` bool is a mask over documents.

    Raises:
        ValueError: a type or shape that does not fit, table entries that are not finite, a list that does
            not exist or comes twice, a document that ``accept`` has no entry for.
    """
    n_queries, m, _ = tables.shape
    entries, scales, shifts = quantize_tables(tables) if n_queries else (tables, tables, tables)
    codes = unpack_codes(coded.blocks, int(coded.starts[-1]), m)
    estimates, places = (
        np.full((n_queries, depth), -np.inf, np.float32),
        np.full((n_queries, depth), -1, np.int64),
    )
    found, scanned = np.zeros(n_queries, np.int64), np.zeros(n_queries, np.int64)
    for q in range(n_queries):
        best, at = np.empty(0, np.float32), np.empty(0, np.int64)
        for place, one in enumerate(lists[q]):
            base = bases[q, place]
            if one < 0:
                continue
            positions = np.arange(coded.starts[one], coded.starts[one + 1])
            scanned[q] += len(positions)
            totals = entries[q, np.arange(m), codes[positions]].sum(axis=1, dtype=np.int64)
            scores = np.float32(scales[q]) * totals.astype(np.float32) + np.float32(shifts[q])
            scores = base + _finish(scores, coded, positions)
            documents = positions if not len(coded.ordinals) else coded.ordinals[positions].astype(np.int64)
            kept = ~np.isnan(scores)
            if accept is not None:
                kept &= accept[documents]
            best, at = np.concatenate([best, scores[kept]]), np.concatenate([at, positions[kept]])
            documents = at if not len(coded.ordinals) else coded.ordinals[at].astype(np.int64)
            order = np.lexsort((at, documents, -best))[:depth]
            best, at = best[order], at[order]
        found[q] = len(best)
        estimates[q, : len(best)], places[q, : len(best)] = best, at
    return estimates, places, found, scanned


def _finish(scores: FloatArray, coded: Lists, positions: IntArray) -> FloatArray:
    if len(coded.scales):
        scores = coded.scales[positions] * scores
    if len(coded.biases):
        scores = coded.biases[positions] + scores
    return scores


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
    """`choose_lists`, the tables of a `Grid` unless they are given, and `scan_lists`: the best ``depth``
    documents of the nearest lists.

    A list's base is its product with the query as `choose_lists` gives it, less the list's bias where
    documents have biases of their own; with ``origin`` ``(d,)`` float32 the query's product with it.
    Places that are not filled have document -1, minus infinity and an infinite error.

    Raises:
        ValueError: as `choose_lists` and `scan_lists`; centroids, lists and tables that do not fit each
            other.
    """
    steps, how_many = (choose_lists, grid_tables, scan_lists), (n_members, reach, n_least)
    return step_by_step(*steps, queries, coarse, coded, n_probe, depth, tables, origin, accept, *how_many)
