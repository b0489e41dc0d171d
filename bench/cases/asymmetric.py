"""Float queries against documents of 1 to 8 bits a dimension: one query, a few, a tile."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit, Peer

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
K = 10


def _make(
    n: int, dim: int, bits: int, n_queries: int, exact: bool = False, best: bool = False
) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count = max(int(n * scale), 1)
        codes = rng.integers(0, 256, (count, -(-dim * bits // 8)), dtype=np.uint8)
        queries = rng.standard_normal((n_queries, dim), dtype=np.float32)
        scales = rng.uniform(0.5, 1.5, count).astype(np.float32) / 2**bits
        offsets = -scales * (2**bits - 1) / 2
        return (queries, codes, scales, offsets, bits, *((K, None) if best else ()), exact)

    return make


def _index(queries: Any, codes: Any, bits: int) -> Any:
    """A faiss index with as many random vectors of as many bits."""
    import faiss

    faiss.omp_set_num_threads(1)
    n, dim = len(codes), queries.shape[1]
    metric, types = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    if bits == 1:
        index = faiss.IndexRaBitQFastScan(dim, metric)
    else:
        index = faiss.IndexScalarQuantizer(dim, {4: types.QT_4bit, 8: types.QT_8bit}[bits], metric)
    rng = np.random.default_rng(0)
    index.train(rng.standard_normal((2000, dim), dtype=np.float32))
    for first in range(0, n, 50_000):
        index.add(rng.standard_normal((min(50_000, n - first), dim), dtype=np.float32))
    return index


def _faiss(queries: Any, codes: Any, _scales: Any, _offsets: Any, bits: int, *_: Any) -> Callable[[], object]:
    index = _index(queries, codes, bits)
    return lambda: index.search(queries, K)


def _torch(queries: Any, codes: Any, *_: Any) -> Callable[[], object]:
    """The documents as floats, ready in memory."""
    import torch

    values = torch.randn(len(codes), queries.shape[1])
    asked = torch.from_numpy(queries)
    return lambda: asked @ values.T


def _scann(queries: Any, codes: Any, _scales: Any, _offsets: Any, bits: int, *_: Any) -> Callable[[], object]:
    """8 bits: bytes against float queries. 4 bits: a codebook a dimension, tables looked up in registers."""
    from scann.scann_ops.py import scann_ops_pybind as scann

    rng = np.random.default_rng(0)
    values = rng.standard_normal((len(codes), queries.shape[1]), dtype=np.float32)
    builder = scann.builder(values, K, "dot_product").set_n_training_threads(1)
    if bits == 8:
        builder = builder.score_brute_force(quantize=True)
    else:
        builder = builder.score_ah(1, hash_type="lut16", training_sample_size=2000, training_iterations=1)
    searcher = builder.build()
    return lambda: searcher.search_batched(queries)


def _turbovec(
    queries: Any, codes: Any, _scales: Any, _offsets: Any, bits: int, *_: Any
) -> Callable[[], object]:
    """As many random vectors of 2 or 4 bits, every one of them scored.

    Left to itself it looks for candidates in part of the bits first (version 1.1), and then misses
    1 to 3 of the 10 that its own codes make best: less work than ours.
    """
    os.environ["RAYON_NUM_THREADS"] = "1"  # both are read when it starts
    os.environ["TURBOVEC_NO_VECTOR_MAJOR"] = "1"
    from turbovec import TurboQuantIndex

    index = TurboQuantIndex(dim=queries.shape[1], bit_width=bits)
    index.add(np.random.default_rng(0).standard_normal((len(codes), queries.shape[1]), dtype=np.float32))
    index.prepare()
    return lambda: index.search(queries, K)


def _scores(queries: Any, codes: Any, *_: Any) -> float:
    return float(len(queries) * len(codes))


def _bytes(_queries: Any, codes: Any, *_: Any) -> float:
    """Codes, scales, offsets; the scores of one query are written."""
    return float(codes.size + 12 * len(codes))


def _operations(queries: Any, codes: Any, *_: Any) -> float:
    return 2.0 * queries.size * len(codes)


def _case(
    label: str,
    n: int,
    dim: int,
    bits: int,
    n_queries: int,
    exact: bool = False,
    best: bool = False,
    peers: dict[str, Peer] | None = None,
) -> Case:
    many: Limit = "fp32" if exact else "int8"
    return Case(
        operation="asymmetric",
        function="asymmetric_topk" if best else "asymmetric",
        label=label,
        make=_make(n, dim, bits, n_queries, exact, best),
        unit="scores",
        units=_scores,
        limit="read" if n_queries == 1 else many,
        work=_bytes if n_queries == 1 else _operations,
        exact=False,
        peers=peers or {},
    )


BOTH: dict[str, Peer] = {"faiss": _faiss, "torch": _torch}
BY_BITS: dict[int, dict[str, Peer]] = {
    1: BOTH,
    2: {"turbovec": _turbovec, "torch": _torch},
    4: {**BOTH, "turbovec": _turbovec, "scann": _scann},
    8: {**BOTH, "scann": _scann},
}
CASES = [
    *(_case(f"{bits} bits, 1 query", 200_000, 384, bits, 1, peers=BY_BITS[bits]) for bits in BY_BITS),
    *(_case(f"{bits} bits, 4 queries", 200_000, 384, bits, 4, peers=BY_BITS[bits]) for bits in BY_BITS),
    *(_case(f"{bits} bits, 64 queries", 20_000, 384, bits, 64, peers=BY_BITS[bits]) for bits in BY_BITS),
    _case("1 bit, 1 query, d = 128", 2_000_000, 128, 1, 1, peers={"faiss": _faiss}),
    _case("8 bits, 64 queries, d = 128", 60_000, 128, 8, 64, peers=BY_BITS[8]),
    _case("exact, 8 bits, 1 query", 200_000, 384, 8, 1, exact=True, peers=BY_BITS[8]),
    _case("exact, 4 bits, 32 queries", 20_000, 384, 4, 32, exact=True, peers=BOTH),
    _case("best 10, 1 bit, 1 query", 400_000, 384, 1, 1, best=True, peers={"faiss": _faiss}),
    _case("best 10, 2 bits, 1 query", 200_000, 384, 2, 1, best=True, peers={"turbovec": _turbovec}),
    _case(
        "best 10, 4 bits, 32 queries",
        50_000,
        384,
        4,
        32,
        best=True,
        peers={"faiss": _faiss, "turbovec": _turbovec, "scann": _scann},
    ),
    _case("awkward: 4 bits, d = 101, 5 queries", 100_003, 101, 4, 5),
]
