"""Hamming scan with 512-bit vectors, eight codes and one query or four at a time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from retrieval.kernels.hamming.eights import eight, eight4
from retrieval.kernels.hamming.selection import LIMIT, offer
from retrieval.kernels.simd.bits import mask_less_i64
from retrieval.kernels.simd.memory import load_i8, store_i64
from retrieval.kernels.simd.selection import splat_i64

__all__ = ["distances", "patterns", "permutation", "scan"]

BLOCK = 2**14
"""Codes that all queries see before the next ones are read: they stay in the second-level cache."""


def is_short(nbytes: int) -> bool:
    """Whether codes of this length are read as one stream."""
    return nbytes % 8 == 0 and nbytes <= 64


def patterns(queries: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the vectors of eight codes are compared with, ``(n_queries, whole vectors)``."""
    n_queries, nbytes = queries.shape
    if is_short(nbytes):
        return np.tile(queries, (1, 8))
    padded = np.zeros((n_queries, -(-nbytes // 64) * 64), np.uint8)
    padded[:, :nbytes] = queries
    return padded


def permutation(nbytes: int) -> NDArray[np.uint8]:
    """Which byte of the packed counts goes where, ``(64,)``: row c are the counts of code c."""
    if not is_short(nbytes):
        return np.arange(64, dtype=np.uint8).reshape(8, 8).T[::-1].copy().reshape(-1)
    words = nbytes // 8
    vector, lane = np.divmod(np.arange(8 * words).reshape(8, words), 8)
    order = np.full((8, 8), 7, np.uint8)  # byte 7 is 0 with fewer than eight vectors
    order[:, :words] = lane * 8 + words - 1 - vector
    return order.reshape(-1)


@njit(nogil=True, cache=True, error_model="numpy")
def distances(codes, patterns, order, short, out):  # type: ignore[no-untyped-def]
    """Distance of one query to every code of ``(n, nbytes)``, n a multiple of 8; ``out`` is int32."""
    n, nbytes = codes.shape
    scratch, p_order = np.empty(8, np.int64), load_i8(order, 0)
    for first in range(0, n, 8):
        store_i64(scratch, 0, eight(codes, first * nbytes, nbytes, short, patterns, 0, p_order))
        for j in range(8):
            out[first + j] = scratch[j]


@njit(nogil=True, error_model="numpy", _nrt=False)
def _offer8(found, mask, scratch, first, query, accept, held, k):  # type: ignore[no-untyped-def]
    """Offer the codes of ``mask``; the query's new limit in every lane."""
    store_i64(scratch, 0, found)
    for j in range(8):
        if (mask >> j) & 1 and (not len(accept) or accept[first + j]):
            offer(held, query, scratch[j], first + j, k)
    return splat_i64(held[0][query, LIMIT])


@njit(nogil=True, error_model="numpy", _nrt=False)
def _scan1(codes, first, last, short, patterns, query, order, accept, accept8, held, k, scratch):  # type: ignore[no-untyped-def]
    nbytes = codes.shape[1]
    limit = splat_i64(held[0][query, LIMIT])
    for i in range(first, last, 8):
        if len(accept) and accept8[i >> 3] == 0:
            continue
        found = eight(codes, i * nbytes, nbytes, short, patterns, query, order)
        mask = mask_less_i64(found, limit)
        if mask:
            limit = _offer8(found, mask, scratch, i, query, accept, held, k)


@njit(nogil=True, error_model="numpy", _nrt=False)
def _scan4(codes, first, last, short, patterns, query, order, accept, accept8, held, k, scratch):  # type: ignore[no-untyped-def]
    nbytes, state = codes.shape[1], held[0]
    l0, l1 = splat_i64(state[query, LIMIT]), splat_i64(state[query + 1, LIMIT])
    l2, l3 = splat_i64(state[query + 2, LIMIT]), splat_i64(state[query + 3, LIMIT])
    for i in range(first, last, 8):
        if len(accept) and accept8[i >> 3] == 0:
            continue
        d0, d1, d2, d3 = eight4(codes, i * nbytes, nbytes, short, patterns, query, order)
        m0, m1, m2, m3 = (
            mask_less_i64(d0, l0),
            mask_less_i64(d1, l1),
            mask_less_i64(d2, l2),
            mask_less_i64(d3, l3),
        )
        if m0 | m1 | m2 | m3:
            if m0:
                l0 = _offer8(d0, m0, scratch, i, query, accept, held, k)
            if m1:
                l1 = _offer8(d1, m1, scratch, i, query + 1, accept, held, k)
            if m2:
                l2 = _offer8(d2, m2, scratch, i, query + 2, accept, held, k)
            if m3:
                l3 = _offer8(d3, m3, scratch, i, query + 3, accept, held, k)


@njit(nogil=True, cache=True, error_model="numpy")
def scan(codes, patterns, order, short, accept, accept8, held, k):  # type: ignore[no-untyped-def]
    """Offer every accepted code of ``(n, nbytes)``, n a multiple of 8, for every query.

    ``patterns`` and ``held`` have a multiple of four queries, or one. ``accept8``: ``accept`` eight
    at a time; both empty: all are accepted.
    """
    n, p_order, scratch = len(codes), load_i8(order, 0), np.empty(8, np.int64)
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        if len(patterns) == 1:
            _scan1(codes, first, last, short, patterns, 0, p_order, accept, accept8, held, k, scratch)
        else:
            for query in range(0, len(patterns), 4):
                _scan4(codes, first, last, short, patterns, query, p_order, accept, accept8, held, k, scratch)
