"""A whole search of inverted lists in one call, with AVX-512.

A query of a small segment takes tens of microseconds. Each call from Python costs several, and as
many again to hand its answer to the next; and whatever runs in between drives out of the cache what
the next step reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from retrieval.kernels.lists.choose import choose
from retrieval.kernels.lists.door import NOT_FINITE
from retrieval.kernels.lists.places import floats_at, words_at
from retrieval.kernels.lists.scan import scan
from retrieval.kernels.tables.vectors import turn_and_fill

__all__ = ["probe", "rebase"]

_FAST: Any = {"contract", "reassoc"}


@njit(nogil=True, error_model="numpy", _nrt=False, fastmath=_FAST)
def _product(query, origin):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(origin)):
        total += query[j] * origin[j]
    return total


@njit(nogil=True, error_model="numpy")
def rebase(queries, origin, coded, coarse, lists, bases):  # type: ignore[no-untyped-def]
    """Bases as codes need them: products with the origin, or without the bias of a list."""
    own = len(floats_at(coded, 3)) > 0
    biases = floats_at(coarse, 1)
    for q in range(len(queries)):
        if len(origin):
            bases[q, :] = _product(queries[q], origin)
        elif own:
            for i in range(lists.shape[1]):
                if lists[q, i] >= 0:
                    bases[q, i] -= biases[lists[q, i]]


@njit(nogil=True, error_model="numpy")
def _pass_on(coded, ordinals, errors, counts):  # type: ignore[no-untyped-def]
    """Documents in the place of their positions, and their errors."""
    documents, own = words_at(coded, 4), floats_at(coded, 5)
    for q in range(len(ordinals)):
        for i in range(ordinals.shape[1]):
            found, place = i < counts[0, q], ordinals[q, i]
            if errors.shape[1]:
                errors[q, i] = own[place] if found else np.float32(np.inf)
            if found and len(documents):
                ordinals[q, i] = np.int64(documents[place])


@njit(nogil=True, cache=True, error_model="numpy")
def probe(  # type: ignore[no-untyped-def]
    queries,
    tables,
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
    origin,
    accept,
    estimates,
    ordinals,
    errors,
    counts,
):
    """`reference.probe_lists` into the last four: 0, or what is wrong.

    ``coarse`` and ``coded`` are the places of a `Coarse` and of `Lists`. ``tables`` is empty where they are
    made of ``signs``, ``size`` and ``levels``; ``origin`` and ``accept`` are empty for none.
    """
    n_queries, dim = queries.shape
    lists, bases = np.empty((n_queries, n_probe), np.int64), np.empty((n_queries, n_probe), np.float32)
    if not choose(queries, coarse, step, enough, reach, n_least, lists, bases):
        return NOT_FINITE
    rebase(queries, origin, coded, coarse, lists, bases)
    if not len(tables):
        tables = np.empty((n_queries, (dim + len(levels) - 1) // len(levels), 16), np.float32)
        turn_and_fill(queries, signs, size, levels, tables)
    wrong = scan(tables, coded, lists, bases, accept, estimates, ordinals, counts)
    if wrong == 0:
        _pass_on(coded, ordinals, errors, counts)
    return wrong
