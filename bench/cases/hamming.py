"""Scans of 1-bit codes: one query at the read limit, four in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Peer

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
K = 10


def _make(
    n: int, nbytes: int, n_queries: int, accepted: float | None = None
) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count = max(int(n * scale), 1)
        codes = rng.integers(0, 256, (count, nbytes), dtype=np.uint8)
        queries = rng.integers(0, 256, (n_queries, nbytes), dtype=np.uint8)
        return queries, codes, K, None if accepted is None else rng.random(count) < accepted

    return make


def _make_distances(n: int, nbytes: int) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        queries, codes, *_ = _make(n, nbytes, 1)(rng, scale)
        return queries[0], codes

    return make


def _faiss(queries: Any, codes: Any, k: int, accept: Any) -> Callable[[], object]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    if accept is None:
        return lambda: index.search(queries, k)
    bitmap = np.packbits(accept, bitorder="little")  # the selector only points to it
    parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
    return lambda: (bitmap, index.search(queries, k, params=parameters))


def _usearch(queries: Any, codes: Any, k: int, _accept: Any) -> Callable[[], object]:
    from usearch.index import MetricKind, search

    return lambda: search(codes, queries, k, MetricKind.Hamming, exact=True, threads=1, dtype="b1")


def _bytes_compared(queries: Any, codes: Any, *_: Any) -> float:
    return float(codes.size * (len(queries) if queries.ndim == 2 else 1))


def _bytes_read(_queries: Any, codes: Any, *_: Any) -> float:
    return float(codes.size)


PEERS: dict[str, Peer] = {"faiss": _faiss, "usearch": _usearch}


def _case(label: str, make: Any, mark: float | None = None, peers: dict[str, Peer] | None = None) -> Case:
    return Case(
        operation="hamming",
        function="hamming",
        label=label,
        make=make,
        unit="B",
        units=_bytes_compared,
        limit="read",
        work=_bytes_read,
        mark=mark,
        peers=PEERS if peers is None else peers,
    )


CASES = [
    _case("384 bits, 1 query", _make(4_000_000, 48, 1), mark=30e9),
    _case("384 bits, 4 queries", _make(4_000_000, 48, 4), mark=96e9),
    _case("1024 bits, 1 query", _make(1_500_000, 128, 1), mark=30e9),
    _case("1024 bits, 4 queries", _make(1_500_000, 128, 4), mark=96e9),
    _case("128 bits, 4 queries", _make(8_000_000, 16, 4), mark=96e9),
    _case("in cache, 384 bits, 32 queries", _make(20_000, 48, 32)),
    _case("384 bits, 10 % accepted", _make(4_000_000, 48, 4, accepted=0.1), peers={"faiss": _faiss}),
    _case("awkward: 67 bytes, 3 queries", _make(1_000_003, 67, 3), peers={"faiss": _faiss}),
    Case(
        operation="hamming",
        function="hamming_distances",
        label="384 bits, all distances",
        make=_make_distances(4_000_000, 48),
        unit="B",
        units=_bytes_compared,
        limit="read",
        work=_bytes_read,
    ),
]
