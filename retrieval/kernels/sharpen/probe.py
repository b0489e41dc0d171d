"""A whole search of inverted lists by fewer and then by all bits in one call, with AVX-512; see
`retrieval.kernels.lists.probe`."""

from __future__ import annotations

import numpy as np
from numba import njit

from retrieval.kernels.lists.choose import choose
from retrieval.kernels.lists.door import BAD_LIST, NOT_FINITE
from retrieval.kernels.lists.probe import rebase
from retrieval.kernels.lists.scan import scan
from retrieval.kernels.rotate.vectors import turn_long
from retrieval.kernels.sharpen.avx512 import sharpen
from retrieval.kernels.tables.vectors import fill

__all__ = ["probe"]


@njit(nogil=True, cache=True, error_model="numpy")
def probe(  # type: ignore[no-untyped-def]
    queries,
    signs,
    size,
    levels,
    coarse,
    step,
    enough,
    reach,
    n_least,
    n_probe,
    coded,
    whole,
    bits,
    several,
    origin,
    accept,
    estimates,
    ordinals,
    errors,
    ranks,
    found,
    counts,
):
    """`reference.probe_whole` into the last six, the codes seen into the second row of ``counts``: 0, or
    what is wrong. Arguments as in `retrieval.kernels.lists.probe.probe`; ``whole`` are the places of
    `PackedRows` of ``bits``."""
    n_queries, dim = queries.shape
    lists, bases = np.empty((n_queries, n_probe), np.int64), np.empty((n_queries, n_probe), np.float32)
    if not choose(queries, coarse, step, enough, reach, n_least, lists, bases):
        return NOT_FINITE
    rebase(queries, origin, coded, coarse, lists, bases)
    turned = np.empty_like(queries)
    turn_long(queries, signs, size, turned)
    tables = np.empty((n_queries, (dim + len(levels) - 1) // len(levels), 16), np.float32)
    fill(turned, levels, tables)
    rough, positions = np.empty((n_queries, several), np.float32), np.empty((n_queries, several), np.int64)
    wrong = scan(tables, coded, lists, bases, accept, rough, positions, counts)
    if wrong == 0 and not sharpen(
        whole, turned, bits, positions, lists, bases, estimates, ordinals, errors, ranks, found
    ):
        return BAD_LIST
    return wrong
