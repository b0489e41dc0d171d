"""Hamming distance and nearest codes on the processor, by whichever instructions it has."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.hamming import portable
from retrieval.kernels.hamming.selection import Held, make_held, take
from retrieval.kernels.host import simd_level
from retrieval.types import IntArray

__all__ = ["hamming", "hamming_distances"]

LONGEST = 1024
"""Bytes of a code at most."""
_GROUP, _TILE = 8, 4
_ALL = np.empty(0, np.bool_)


@cache
def _vectors() -> ModuleType | None:
    """The kernels of this machine's vectors, if it has them."""
    if simd_level() != "avx512":
        return None
    from retrieval.kernels.hamming import avx512

    return avx512


def hamming_distances(query: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """See `retrieval.kernels.hamming.reference.hamming_distances`; the same."""
    _check(query, codes)
    codes = _frozen(codes)
    out = np.empty(len(codes), np.int32)
    whole = 0
    if vectors := _vectors():
        whole = len(codes) // _GROUP * _GROUP
        patterns, order, short = _prepare(vectors, query[None])
        vectors.distances(codes[:whole], patterns, order, short, out)
    rest = codes[whole:].reshape(-1)
    portable.distances(portable.query_words(query[None]), rest, codes.shape[1], out[whole:])
    return out


def hamming(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int32], IntArray]:
    """See `retrieval.kernels.hamming.reference.hamming`; the same.

    Four queries share a pass over the codes, and all queries see a block of codes while it is in
    the cache.
    """
    if queries.ndim != 2:
        raise ValueError(f"queries: {queries.shape}, not (n_queries, nbytes)")
    _check(queries[:1].reshape(-1) if len(queries) else np.empty(codes.shape[-1], np.uint8), codes)
    _check_type("queries", queries)
    if accept is not None and (accept.shape != (len(codes),) or accept.dtype != np.bool_):
        raise ValueError(f"accept: {accept.dtype}{accept.shape}, not bool({len(codes)},)")
    if k < 0:
        raise ValueError(f"k={k}: not a number of results")
    k = min(k, len(codes) if accept is None else int(np.count_nonzero(accept)))
    distances, ordinals = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
    if distances.size:
        accept = _ALL if accept is None else np.ascontiguousarray(accept)
        held = _scan(queries, _frozen(codes), k, _frozen(accept))
        take(held, k, distances, ordinals)
    return distances, ordinals


def _scan(queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, accept: NDArray[np.bool_]) -> Held:
    """What each query holds after all codes."""
    whole, vectors = 0, _vectors()
    tiled = queries
    if vectors and len(queries) > 1:  # whole tiles: the last query again
        tiled = np.pad(queries, ((0, -len(queries) % _TILE), (0, 0)), mode="edge")
    held = make_held(len(tiled), k, 8 * codes.shape[1])
    if vectors:
        whole = len(codes) // _GROUP * _GROUP
        accept8 = accept[:whole].view(np.int64)
        vectors.scan(codes[:whole], *_prepare(vectors, tiled), accept[:whole], accept8, held, k)
    n, (state, counts, distances, ordinals) = len(queries), held
    held = state[:n], counts[:n], distances[:n], ordinals[:n]
    portable.scan(portable.query_words(queries), codes.reshape(-1), codes.shape[1], whole, accept, held, k)
    return held


def _prepare(vectors: ModuleType, queries: NDArray[np.uint8]) -> tuple[Any, Any, bool]:
    nbytes = queries.shape[1]
    return vectors.patterns(queries), vectors.permutation(nbytes), vectors.is_short(nbytes)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: one compiled kernel serves memory maps and arrays alike."""
    view = array.view()
    view.flags.writeable = False
    return view


def _check_type(name: str, array: NDArray[np.uint8]) -> None:
    if array.dtype != np.uint8:
        raise ValueError(f"{name}: {array.dtype}, not uint8")


def _check(query: NDArray[np.uint8], codes: NDArray[np.uint8]) -> None:
    _check_type("query", query)
    _check_type("codes", codes)
    if codes.ndim != 2 or not codes.flags.c_contiguous:
        raise ValueError(f"codes: {codes.shape}, strides {codes.strides}: not contiguous rows")
    if not 1 <= codes.shape[1] <= LONGEST:
        raise ValueError(f"codes of {codes.shape[1]} bytes: from 1 to {LONGEST} can be compared")
    if query.shape != codes.shape[1:]:
        raise ValueError(f"queries of shape {query.shape} against codes of {codes.shape[1]} bytes")
