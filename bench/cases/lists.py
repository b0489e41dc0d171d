"""Cases of inverted lists: 1-bit codes of 384 dimensions, lists of about 200, and a scan of everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit, Peer
from retrieval.kernels.lists.prepared import prepare_centroids, prepare_lists

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
SIZE = 200


def _make_scan(
    n: int, m: int, n_queries: int, n_probe: int | None, depth: int, accepted: float | None = None
) -> Callable[[np.random.Generator, float], Arguments]:
    """``n_probe`` lists drawn for each query; None: everything is one list."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count = max(int(n * scale), 1)
        nlist = 1 if n_probe is None else max(count // SIZE, n_probe)
        starts = np.concatenate([[0], np.cumsum(rng.multinomial(count, np.full(nlist, 1 / nlist)))])
        blocks = rng.integers(0, 256, (-(-count // 32), -(-m // 8), 2, 64), dtype=np.uint8)
        scales = rng.random(count).astype(np.float32) + np.float32(0.5)
        ordinals = None if n_probe is None else rng.permutation(count).astype(np.uint32)
        lists = np.array([rng.permutation(nlist)[: n_probe or 1] for _ in range(n_queries)])
        bases = -np.sort(-rng.standard_normal(lists.shape).astype(np.float32), axis=1)
        tables = rng.standard_normal((n_queries, m, 16)).astype(np.float32)
        accept = None if accepted is None else rng.random(count) < accepted
        return tables, prepare_lists(blocks, starts, scales, None, ordinals), lists, bases, depth, accept

    return make


def _make_choice(n_queries: int, nlist: int, d: int, n_probe: int) -> Callable[..., Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count = max(int(nlist * scale), 2)
        centroids = rng.standard_normal((count, d)).astype(np.float32)
        queries = rng.standard_normal((n_queries, d)).astype(np.float32)
        return queries, prepare_centroids(centroids), n_probe

    return make


def _n_lookups(tables: Any, coded: Any, lists: Any, *_: Any) -> float:
    return float(tables.shape[1] * (coded.starts[lists + 1] - coded.starts[lists]).sum())


def _n_operations(*args: Any) -> float:
    return 2 * _n_lookups(*args)


def _n_bytes(tables: Any, coded: Any, *_: Any) -> float:
    return float(len(tables) * (coded.blocks.nbytes + coded.scales.nbytes))


def _n_products(queries: Any, coarse: Any, *_: Any) -> float:
    return float(len(queries) * coarse.centroids.size)


def _two_products(*args: Any) -> float:
    return 2 * _n_products(*args)


def _faiss_fast_scan(
    tables: Any, coded: Any, lists: Any, _bases: Any, depth: int, _accept: Any
) -> Callable[[], object]:
    """faiss's inverted lists of 4-bit codes, as many and as long; it also chooses and makes tables."""
    import faiss

    faiss.omp_set_num_threads(1)
    m, nlist, n_probe = tables.shape[1], len(coded.starts) - 1, lists.shape[1]
    rng = np.random.default_rng(0)
    quantizer = faiss.IndexFlatIP(2 * m)
    quantizer.add(rng.standard_normal((nlist, 2 * m), dtype=np.float32))
    index = faiss.IndexIVFPQFastScan(quantizer, 2 * m, nlist, m, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.train(rng.standard_normal((max(nlist, 1000), 2 * m), dtype=np.float32))
    vectors = rng.standard_normal((int(coded.starts[-1]), 2 * m), dtype=np.float32)
    index.add(vectors)
    index.nprobe = n_probe
    queries = rng.standard_normal((len(tables), 2 * m), dtype=np.float32)
    return lambda: index.search(queries, depth)


def _faiss_flat(queries: Any, coarse: Any, n_probe: int) -> Callable[[], object]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(queries.shape[1])
    index.add(np.array(coarse.centroids))
    return lambda: index.search(queries, n_probe)


def _numpy(queries: Any, coarse: Any, n_probe: int) -> Callable[[], object]:
    def run() -> object:
        scores = queries @ coarse.centroids.T
        best = np.argpartition(-scores, n_probe, axis=1)[:, :n_probe]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        return np.take_along_axis(best, order, 1)

    return run


def _scan(
    label: str,
    make: Callable[[np.random.Generator, float], Arguments],
    limit: Limit,
    peers: dict[str, Peer] | None = None,
    mark: float | None = None,
) -> Case:
    work = _n_bytes if limit == "read" else _n_operations
    return Case(
        "lists", "scan_lists", label, make, "look-ups", _n_lookups, limit, work, mark=mark, peers=peers or {}
    )


def _choice(n_queries: int, nlist: int, d: int, n_probe: int, mark: float | None = None) -> Case:
    return Case(
        "lists",
        "choose_lists",
        f"{n_probe} of {nlist} lists, {d} d, {n_queries} queries",
        _make_choice(n_queries, nlist, d, n_probe),
        "products",
        _n_products,
        "int8",
        _two_products,
        exact=False,
        mark=mark,
        peers={"faiss": _faiss_flat, "numpy": _numpy},
    )


FAST_SCAN: dict[str, Peer] = {"faiss IVF FastScan": _faiss_fast_scan}
MICROSECONDS = 12e-6

CASES: list[Case] = [
    _scan(
        "m 96, 32 lists of 200, 1 query",
        _make_scan(200_000, 96, 1, 32, 100),
        "int8",
        FAST_SCAN,
        mark=96 * 32 * SIZE / MICROSECONDS,
    ),
    _scan("m 96, 32 lists of 200, 16 queries", _make_scan(200_000, 96, 16, 32, 100), "int8", FAST_SCAN),
    _scan("m 96, 32 lists, 10 % accepted", _make_scan(200_000, 96, 4, 32, 100, 0.1), "int8"),
    _scan("m 12, 7 lists", _make_scan(100_003, 12, 3, 7, 10), "int8"),
    _scan("m 96, 20 000 in the cache, 1 query", _make_scan(20_000, 96, 1, None, 100), "int8", mark=90e9),
    _scan("m 96, all of 1 000 000, 1 query", _make_scan(1_000_000, 96, 1, None, 100), "read"),
    _choice(1, 1024, 384, 32, mark=1024 * 384 / MICROSECONDS),
    _choice(64, 1024, 384, 32),
    _choice(1, 4096, 384, 64),
]
