"""What the scan of lists and their choice accept, on every processor."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.lists.prepared import Coarse, Lists
from retrieval.kernels.pq_scan.door import MAX_TOTAL
from retrieval.kernels.tables.prepared import Grid
from retrieval.types import FloatArray, IntArray

__all__ = [
    "BAD_DOCUMENT",
    "BAD_ENTRY",
    "BAD_LIST",
    "DOUBLE_LIST",
    "NOT_FINITE",
    "check_choice",
    "check_mask",
    "check_probe",
    "check_scan",
    "refuse",
]

BAD_ENTRY, BAD_LIST, DOUBLE_LIST, BAD_DOCUMENT, NOT_FINITE = 1, 2, 3, 4, 5
"""What a scan may find wrong on its way, and a choice."""

_FLOAT, _INT, _BOOL = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


_ALL = _frozen(np.empty(0, np.uint8))
_NO_ORIGIN, _NO_TABLES = np.empty(0, np.float32), np.empty((0, 0, 16), np.float32)


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array as kernels are compiled for: contiguous, aligned and writable; else a copy."""
    return array if array.flags.carray and type(array) is np.ndarray else np.array(array, order="C")


def check_scan(
    tables: FloatArray, coded: Lists, lists: IntArray, bases: FloatArray, depth: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    """The arrays of a query as kernels take them.

    Raises:
        ValueError: a type or shape that does not fit.
    """
    if tables.dtype != _FLOAT or tables.ndim != 3 or tables.shape[2] != 16:
        raise ValueError(f"tables are {tables.dtype} {tables.shape}: they must be float32 (n_q, m, 16)")
    n_queries = len(tables)
    _check_pieces(tables.shape[1], coded)
    if lists.dtype != _INT or lists.ndim != 2 or len(lists) != n_queries:
        raise ValueError(f"lists are {lists.dtype} {lists.shape}: they must be int64 ({n_queries}, n_probe)")
    if bases.dtype != _FLOAT or bases.shape != lists.shape:
        raise ValueError(f"bases are {bases.dtype} {bases.shape}: they must be float32 {lists.shape}")
    if depth < 1:
        raise ValueError(f"depth is {depth}: it must be at least 1")
    return _own(tables), _own(lists), _own(bases)


def _check_pieces(m: int, coded: Lists) -> None:
    groups = coded.blocks.shape[1]
    if not m or (m + 7) // 8 != groups or m * 255 >= MAX_TOTAL:
        raise ValueError(f"tables have {m} subquantisers: the codes are of {groups * 8 - 7} to {groups * 8}")


def check_mask(accept: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """The mask as bytes; empty for none.

    Raises:
        ValueError: not a vector of bool.
    """
    if accept is None:
        return _ALL
    if accept.dtype != _BOOL or accept.ndim != 1:
        raise ValueError(f"accept is {accept.dtype} {accept.shape}: it must be bool (n_docs,)")
    if type(accept) is not np.ndarray or not accept.flags.c_contiguous:
        accept = np.array(accept, order="C")
    return _frozen(accept.view(np.uint8))


def refuse(wrong: int, lists: IntArray, coded: Lists, n_documents: int) -> NoReturn:
    """Say what a scan stopped at.

    Raises:
        ValueError: always.
    """
    nlist = len(coded.starts) - 1
    if wrong == NOT_FINITE:
        raise ValueError("queries hold NaN or infinite numbers")
    if wrong == BAD_ENTRY:
        raise ValueError("an entry of the tables is not finite")
    if wrong == BAD_LIST:
        unknown = lists[(lists < -1) | (lists >= nlist)]
        if len(unknown):
            raise ValueError(f"list {unknown[0]}: there are {nlist}, and -1 for none")
        raise ValueError("the starts of the lists changed after they were prepared: a list leaves the codes")
    if wrong == DOUBLE_LIST:
        raise ValueError("a list comes twice in the lists of a query")
    raise ValueError(f"the codes are of more documents than the {n_documents} of accept")


def check_choice(queries: FloatArray, coarse: Coarse, n_probe: int) -> FloatArray:
    """The queries as kernels take them; whether they are finite is left to the kernel.

    Raises:
        ValueError: a type, shape or number that does not fit.
    """
    dim = coarse.centroids.shape[1]
    if queries.dtype != _FLOAT or queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries are {queries.dtype} {queries.shape}: they must be float32 (n_q, {dim})")
    if n_probe < 1:
        raise ValueError(f"n_probe is {n_probe}: it must be at least 1")
    return _own(queries)


def check_probe(
    n_queries: int,
    coarse: Coarse,
    coded: Lists,
    depth: int,
    tables: FloatArray | Grid,
    origin: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Tables and origin as kernels take them, empty for none: tables are none where there is a `Grid`.

    Raises:
        ValueError: a type, shape or number that does not fit.
    """
    nlist, dim = coarse.centroids.shape
    if len(coded.starts) != nlist + 1:
        raise ValueError(f"there are {len(coded.starts) - 1} lists: there are {nlist} centroids")
    if depth < 1:
        raise ValueError(f"depth is {depth}: it must be at least 1")
    given = _NO_TABLES
    if isinstance(tables, Grid):
        if tables.dim != dim:
            raise ValueError(f"the grid is of {tables.dim} dimensions: the centroids are of {dim}")
        _check_pieces(tables.pieces, coded)
    else:
        if tables.dtype != _FLOAT or tables.ndim != 3 or tables.shape[::2] != (n_queries, 16):
            told = f"tables are {tables.dtype} {tables.shape}"
            raise ValueError(f"{told}: they must be float32 ({n_queries}, m, 16)")
        _check_pieces(tables.shape[1], coded)
        given = _own(tables)
    if origin is None:
        return given, _NO_ORIGIN
    if origin.dtype != _FLOAT or origin.shape != (dim,):
        raise ValueError(f"origin is {origin.dtype} {origin.shape}: it must be float32 ({dim},)")
    return given, _own(origin)
