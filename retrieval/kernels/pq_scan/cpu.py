"""Scan of product-quantised codes on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.host import simd_level
from retrieval.kernels.pq_scan.door import check_accept, check_scan, check_tables
from retrieval.kernels.pq_scan.reference import BLOCK, pack_codes, unpack_codes
from retrieval.kernels.topk.cpu import topk
from retrieval.types import FloatArray, IntArray

__all__ = ["pack_codes", "pq_scan", "pq_scores", "quantize_tables", "unpack_codes"]


def quantize_tables(tables: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """See `retrieval.kernels.pq_scan.reference.quantize_tables`; the same."""
    check_tables(tables, tables.shape[-1])
    return _quantize(tables, np.empty(tables.shape, np.uint8))


def _quantize(
    tables: FloatArray, out: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """`quantize_tables`, not checked, into ``out`` of as many subspaces or more."""
    from retrieval.kernels.pq_scan.portable import quantize

    n_queries, m, _ = tables.shape
    low, scale = np.empty((n_queries, m)), np.empty(n_queries)
    quantize(np.ascontiguousarray(tables), low, scale, out)
    return out, scale, low.sum(axis=1)


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
        rows = _room(tables.shape, 8, np.float32)
        rows[:, : tables.shape[1]] = tables
        scores(rows.reshape(len(rows), -1), _frozen(codes).reshape(-1), out)
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
    n = check_scan(tables, codes, nbits, n)
    mask = check_accept(accept, n, k)
    if exact_tables:
        return _rank(pq_scores(tables, codes, nbits=nbits, n=n), k, accept)
    totals: NDArray[Any]
    if simd_level() != "avx512" or min(k, n, len(tables)) == 0:
        entries, scale, bias = _quantize(tables, np.empty(tables.shape, np.uint8))
        totals, ordinals = _rank(pq_scores(entries.astype(np.float32), codes, nbits=nbits, n=n), k, accept)
    else:
        entries, scale, bias = _quantize(tables, _room(tables.shape, 8 if nbits == 4 else 16, np.uint8))
        totals, ordinals = _scan(entries, codes, k, mask, nbits, n)
    return (totals * scale[:, None] + bias[:, None]).astype(np.float32), ordinals


def _rank(scores: FloatArray, k: int, accept: NDArray[np.bool_] | None) -> tuple[FloatArray, IntArray]:
    """`topk` of every row."""
    size = min(k, scores.shape[1] if accept is None else int(np.count_nonzero(accept)))
    best, ordinals = np.empty((len(scores), size), np.float32), np.empty((len(scores), size), np.int64)
    for row, row_best, row_ordinals in zip(scores, best, ordinals, strict=True):
        row_best[:], row_ordinals[:] = topk(row, k, accept)
    return best, ordinals


def _scan(
    tables: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, mask: NDArray[np.uint8], nbits: int, n: int
) -> tuple[NDArray[np.int64], IntArray]:
    """Integer totals and ordinals of each query's best, by tables with room (`_room`)."""
    keys = np.empty((len(tables), min(k, n)), np.int64)
    last = (1 << n % 64) - 1
    if len(mask):
        last = int.from_bytes(np.packbits(mask[n // 64 * 64 :], bitorder="little").tobytes(), "little")
    scan = _scan_nibbles if nbits == 4 else _scan_octets
    found = scan(tables, codes, n, k, mask, np.uint64(last), keys)
    keys = np.sort(keys[:, :found], axis=1)
    return ~(keys >> 32), keys & 0xFFFFFFFF


def _scan_nibbles(
    tables: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    n: int,
    k: int,
    mask: NDArray[np.uint8],
    last: np.uint64,
    keys: IntArray,
) -> int:
    from retrieval.kernels.pq_scan.nibbles import scan_four, scan_one

    rows, flat, found, n_queries, q = (
        tables.reshape(len(tables), -1),
        _frozen(codes).reshape(-1),
        0,
        len(tables),
        0,
    )
    while q < n_queries:
        if n_queries >= 4 and n_queries - q >= 3:
            q = min(q, n_queries - 4)  # three that are left go with one more
            found = scan_four(rows[q : q + 4], flat, n, k, mask, last, keys[q : q + 4])
            q += 4
        else:
            found = scan_one(rows[q : q + 1], flat, n, k, mask, last, keys[q : q + 1])
            q += 1
    return int(found)


def _scan_octets(
    tables: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    n: int,
    k: int,
    mask: NDArray[np.uint8],
    last: np.uint64,
    keys: IntArray,
) -> int:
    from retrieval.kernels.pq_scan.octets import scan

    return int(scan(tables.reshape(-1), *_rows(codes), codes.shape[1], n, k, mask, last, keys))


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


def _room(shape: tuple[int, ...], multiple: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Zeros for tables ``(n_queries, m, ksub)`` with ``m`` rounded up, aligned to 64 bytes."""
    n_queries, m, ksub = shape
    width = -(-m // multiple) * multiple
    size = n_queries * width * ksub * np.dtype(dtype).itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.__array_interface__["data"][0] % 64
    return room[start : start + size].view(dtype).reshape(n_queries, width, ksub)
