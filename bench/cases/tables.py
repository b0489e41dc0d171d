"""Tables of one query and of many, for codes of bits and for product quantisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case

__all__ = ["CASES"]

Arguments = tuple[Any, ...]


def _make_grid(
    n: int, dim: int, bits: int, turned: bool = False
) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        queries = rng.standard_normal((max(int(n * scale), 1), dim), dtype=np.float32)
        signs = (2 * rng.integers(0, 2, (4, dim)) - 1).astype(np.int8)
        return queries, bits, signs if turned else None

    return make


def _make_pq(n: int, m: int, ksub: int, dsub: int) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        queries = rng.standard_normal((max(int(n * scale), 1), m * dsub), dtype=np.float32)
        return queries, rng.standard_normal((m, dsub, ksub), dtype=np.float32)

    return make


def _faiss(queries: Any, columns: Any) -> Callable[[], object]:
    import faiss

    m, dsub, ksub = columns.shape
    quantizer = faiss.ProductQuantizer(m * dsub, m, ksub.bit_length() - 1)
    faiss.copy_array_to_vector(columns.transpose(0, 2, 1).reshape(-1), quantizer.centroids)
    out = np.empty((len(queries), m, ksub), np.float32)
    pointers = faiss.swig_ptr(queries), faiss.swig_ptr(out)
    return lambda: quantizer.compute_inner_prod_tables(len(queries), *pointers)


def _queries(queries: Any, *_: Any) -> float:
    return float(len(queries))


def _grid_operations(queries: Any, *_: Any) -> float:
    return 2.0 * queries.size * 16


def _pq_operations(queries: Any, columns: Any) -> float:
    return 2.0 * len(queries) * columns.size


def _grid(label: str, make: Any, mark: float | None = None) -> Case:
    return Case(
        operation="tables",
        function="grid_tables",
        label=label,
        make=make,
        unit="queries",
        units=_queries,
        limit="fp32",
        work=_grid_operations,
        exact=False,
        mark=mark,
    )


def _pq(label: str, make: Any) -> Case:
    return Case(
        operation="tables",
        function="pq_tables",
        label=label,
        make=make,
        unit="queries",
        units=_queries,
        limit="fp32",
        work=_pq_operations,
        exact=False,
        peers={"faiss": _faiss},
    )


CASES = [
    _grid("1 bit, 1 x 384", _make_grid(1, 384, 1)),
    _grid("1 bit, 1 x 384, turned", _make_grid(1, 384, 1, turned=True), mark=250e3),
    _grid("1 bit, 1,000 x 384, turned", _make_grid(1_000, 384, 1, turned=True)),
    _grid("4 bits, 1 x 384, turned", _make_grid(1, 384, 4, turned=True)),
    _grid("awkward: 2 bits, 100 x 333", _make_grid(100, 333, 2)),
    _pq("PQ 96 x 4 bits, 1 query", _make_pq(1, 96, 16, 4)),
    _pq("PQ 48 x 8 bits, 1 query", _make_pq(1, 48, 256, 8)),
    _pq("awkward: PQ 7 x 8 bits of 5, 33 queries", _make_pq(33, 7, 256, 5)),
]
