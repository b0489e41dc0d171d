"""Scan of product-quantised codes on the CPU."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import picks_bytes, simd_level
from retrieval.kernels.pq_scan.door import check_accept, check_scan, check_tables, refuse_entries
from retrieval.kernels.pq_scan.reference import BLOCK, pack_codes, unpack_codes
from retrieval.kernels.topk.cpu import topk
from retrieval.types import FloatArray, IntArray

__all__ = ["pack_codes", "pq_scan", "pq_scores", "quantize_tables", "unpack_codes"]


def quantize_tables(tables: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """See `retrieval.kernels.pq_scan.reference.quantize_tables`; the same."""
    from retrieval.kernels.pq_scan.portable import quantize

    check_tables(tables, tables.shape[-1])
    n_queries, m, _ = tables.shape
    out, low, scale = np.empty(tables.shape, np.uint8), np.empty((n_queries, m)), np.empty(n_queries)
    quantize(np.ascontiguousarray(tables), low, scale, out)
    return out, scale, np.add.accumulate(low, axis=1)[:, -1]


def pq_scores(
    tables: FloatArray, codes: NDArray[np.uint8], nbits: int = 8, n: int | None = None
) -> FloatArray:
    """See `retrieval.kernels.pq_scan.reference.pq_scores`; the same."""
    count = check_scan(tables, codes, nbits, n)
    if not count or not len(tables):
        return np.empty((len(tables), count), np.float32)
    if simd_level() != "avx512":
        from retrieval.kernels.pq_scan import portable

        out = np.empty((len(tables), count if nbits == 8 else len(codes) * BLOCK), np.float32)
        loops = portable.scores_8 if nbits == 8 else portable.scores_4
        loops(np.ascontiguousarray(tables), _frozen(codes), out)
    elif nbits == 8:
        from retrieval.kernels.pq_scan.octets import scores

        out = np.empty((len(tables), -(-count // 64) * 64), np.float32)
        scores(np.ascontiguousarray(tables).reshape(-1), *_rows(codes), tables.shape[1], out)
    else:
        from retrieval.kernels.pq_scan.nibbles import scores

        out = np.empty((len(tables), len(codes) * BLOCK), np.float32)
        scores(_with_room(tables), _frozen(codes).reshape(-1), out)
    return out[:, :count]


def pq_scan(
    tables: FloatArray,
    codes: NDArray[np.uint8],
    k: int,
    accept: NDArray[np.bool_] | None = None,
    nbits: int = 8,
    n: int | None = None,
    exact_tables: bool = False,
) -> tuple[FloatArray, IntArray]:
    """See `retrieval.kernels.pq_scan.reference.pq_scan`; the same."""
    fast = simd_level() == "avx512" and not exact_tables
    count = check_scan(tables, codes, nbits, n, entries=not fast)
    mask = check_accept(accept, count, k)
    if fast and min(k, count, len(tables)) > 0:
        return _scan(np.ascontiguousarray(tables), codes, k, mask, nbits, count)
    if exact_tables:
        return _rank(pq_scores(tables, codes, nbits=nbits, n=count), k, accept)
    entries, scale, bias = quantize_tables(tables)
    totals, ordinals = _rank(_totals(entries, codes, nbits, count), k, accept)
    return (totals * scale[:, None] + bias[:, None]).astype(np.float32), ordinals


def _totals(entries: NDArray[np.uint8], codes: NDArray[np.uint8], nbits: int, n: int) -> FloatArray:
    """`pq_scores` of tables of bytes, whose sums float32 holds in any order."""
    if nbits == 4 and picks_bytes():
        from retrieval.kernels.pq_scan.halves import totals

        return totals(entries, _frozen(codes))[:, :n]
    return pq_scores(entries.astype(np.float32), codes, nbits=nbits, n=n)


def _rank(scores: FloatArray, k: int, accept: NDArray[np.bool_] | None) -> tuple[FloatArray, IntArray]:
    """`topk` of every row."""
    size = min(k, scores.shape[1] if accept is None else int(np.count_nonzero(accept)))
    best, ordinals = np.empty((len(scores), size), np.float32), np.empty((len(scores), size), np.int64)
    for row, row_best, row_ordinals in zip(scores, best, ordinals, strict=True):
        row_best[:], row_ordinals[:] = topk(row, k, accept)
    return best, ordinals


def _scan(
    tables: FloatArray, codes: NDArray[np.uint8], k: int, accept: NDArray[np.uint8], nbits: int, n: int
) -> tuple[FloatArray, IntArray]:
    """Scores and ordinals of each query's best, by kernels that quantise the tables."""
    shape, scaling = (len(tables), min(k, n)), np.empty((2, len(tables)))
    best, keys = np.empty(shape, np.float32), np.empty(shape, np.int64)
    last = (1 << n % 64) - 1
    if accept.size:
        last = int.from_bytes(np.packbits(accept[n // 64 * 64 :], bitorder="little").tobytes(), "little")
    kernels = _kernels(nbits)
    stored = (_frozen(codes.reshape(-1)),) if nbits == 4 else _rows(codes)
    found = kernels.scan(tables, *stored, n, k, accept, np.uint64(last), scaling, keys, best)
    if found < 0:
        refuse_entries()
    return (best, keys) if found == shape[1] else (best[:, :found], keys[:, :found])


@cache
def _kernels(nbits: int) -> Any:
    return import_module(f"retrieval.kernels.pq_scan.{'nibbles' if nbits == 4 else 'octets'}")


def _rows(codes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """``codes`` as bytes; the rows at the end, with room to read beyond them; and where those begin."""
    n, m = codes.shape
    direct = max(0, (n - 80) // 64 + 1) * 64
    end = np.zeros(128 * m + 16, np.uint8)
    end[: (n - direct) * m] = codes[direct:].reshape(-1)
    return _frozen(codes).reshape(-1), _frozen(end), direct


def _frozen(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A contiguous read-only view, so that kernels are compiled for one kind of array."""
    view = np.ascontiguousarray(codes).view()
    view.flags.writeable = False
    return view


def _with_room(tables: FloatArray) -> FloatArray:
    """Tables ``(n_queries, m, 16)`` as rows with ``m`` rounded up to a multiple of 8, aligned to 64 bytes."""
    n_queries, m, ksub = tables.shape
    size = n_queries * -(-m // 8) * 8 * ksub
    room = np.zeros(size + 16, np.float32)
    start = -room.__array_interface__["data"][0] % 64 // 4
    rows: FloatArray = room[start : start + size].reshape(n_queries, -1)
    rows[:, : m * ksub] = tables.reshape(n_queries, -1)
    return rows
