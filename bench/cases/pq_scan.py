"""Scans of product-quantised codes: from memory and from cache, one query and several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit, Peer

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
K = 10


def _make(
    nbits: int, n: int, m: int, n_queries: int, accepted: float | None = None, exact: bool = False
) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count = max(int(n * scale), 1)
        shape = (count, m) if nbits == 8 else (-(-count // 32), -(-m // 8), 2, 64)
        codes = rng.integers(0, 256, shape, dtype=np.uint8)
        tables = rng.standard_normal((n_queries, m, 2**nbits), dtype=np.float32)
        accept = None if accepted is None else rng.random(count) < accepted
        return tables, codes, K, accept, nbits, count, exact

    return make


def _index(tables: Any, codes: Any, nbits: int, n: int) -> tuple[Any, Any]:
    """A faiss index with as many random codes, and queries for it."""
    import faiss

    faiss.omp_set_num_threads(1)
    n_queries, m, ksub = tables.shape
    rng = np.random.default_rng(0)
    index = faiss.IndexPQ(2 * m, m, nbits, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(rng.standard_normal(m * ksub * 2, dtype=np.float32), index.pq.centroids)
    index.is_trained = True
    stored = np.ascontiguousarray(codes.reshape(-1)[: n * index.code_size])
    faiss.copy_array_to_vector(stored, index.codes)
    index.ntotal = n
    return index, rng.standard_normal((n_queries, 2 * m), dtype=np.float32)


def _faiss_fast_scan(
    tables: Any, codes: Any, k: int, _accept: Any, nbits: int, n: int, _exact: bool
) -> Callable[[], object]:
    import faiss

    plain, queries = _index(tables, codes, nbits, n)
    index = faiss.IndexPQFastScan(plain)
    return lambda: index.search(queries, k)


def _faiss(
    tables: Any, codes: Any, k: int, _accept: Any, nbits: int, n: int, _exact: bool
) -> Callable[[], object]:
    index, queries = _index(tables, codes, nbits, n)
    return lambda: index.search(queries, k)


def _n_lookups(tables: Any, _codes: Any, _k: int, _accept: Any, _nbits: int, n: int, _exact: bool) -> float:
    return float(tables.shape[0] * tables.shape[1] * n)


def _bytes(_tables: Any, codes: Any, *_: Any) -> float:
    return float(codes.size)


def _operations(*args: Any) -> float:
    return 2 * _n_lookups(*args)


def _case(
    label: str,
    make: Callable[[np.random.Generator, float], Arguments],
    limit: Limit,
    peers: dict[str, Peer] | None = None,
    mark: float | None = None,
) -> Case:
    return Case(
        operation="pq_scan",
        function="pq_scan",
        label=label,
        make=make,
        unit="look-ups",
        units=_n_lookups,
        limit=limit,
        work=_bytes if limit == "read" else _operations,
        mark=mark,
        peers=peers or {},
    )


FAST_SCAN: dict[str, Peer] = {"faiss FastScan": _faiss_fast_scan}
PLAIN: dict[str, Peer] = {"faiss PQ": _faiss}

CASES: list[Case] = [
    _case("4 bits, m 32, memory, 1 query", _make(4, 4_000_000, 32, 1), "read", FAST_SCAN, 50e9),
    _case("4 bits, m 32, memory, 4 queries", _make(4, 4_000_000, 32, 4), "read", FAST_SCAN),
    _case("4 bits, m 32, memory, 16 queries", _make(4, 4_000_000, 32, 16), "int8", FAST_SCAN),
    _case("4 bits, m 64, memory, 1 query", _make(4, 2_000_000, 64, 1), "read", FAST_SCAN),
    _case("4 bits, m 32, cache, 1 query", _make(4, 60_000, 32, 1), "int8", FAST_SCAN, 112e9),
    _case("4 bits, m 32, cache, 16 queries", _make(4, 60_000, 32, 16), "int8", FAST_SCAN),
    _case("4 bits, m 12, 1 % accepted", _make(4, 1_000_001, 12, 5, accepted=0.01), "int8"),
    _case("4 bits, m 32, float tables", _make(4, 1_000_000, 32, 1, exact=True), "read"),
    _case("8 bits, m 32, memory, 1 query", _make(8, 1_000_000, 32, 1), "read", PLAIN),
    _case("8 bits, m 32, memory, 16 queries", _make(8, 1_000_000, 32, 16), "int8", PLAIN),
    _case("8 bits, m 13, a third accepted", _make(8, 100_003, 13, 3, accepted=1 / 3), "int8"),
    _case("8 bits, m 32, float tables", _make(8, 200_000, 32, 1, exact=True), "read", PLAIN),
]
