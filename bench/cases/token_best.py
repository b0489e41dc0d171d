"""Cases of the best by tokens: documents of tokens about centroids, their postings, and bytes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.centroid_scores.reference import prepare_centroids
from retrieval.kernels.postings.reference import distinct, invert
from retrieval.kernels.token_best.prepared import TokenSegment
from retrieval.kernels.token_best.steps import TokenDepth
from retrieval.kernels.token_rescore.prepared import prepare_tokens

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
NEAR, K = 0.3, 100


def _make(
    n: int, d: int, n_q: int, k_centroids: int, how: TokenDepth, k: int = K
) -> Callable[[np.random.Generator, float], Arguments]:
    """Documents of 60 to 180 tokens, each near one of the centroids; a query of tokens of one of them."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count, there = max(int(n * scale), 12), max(int(k_centroids * scale), 20)
        most = max(int(180 * min(10 * scale, 1)), 3)
        lengths = rng.integers(max(most // 3, 1), most, count, endpoint=True)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        centroids = rng.standard_normal((there, d)).astype(np.float32)
        ids = rng.integers(0, there, offsets[-1]).astype(np.uint16)
        values = centroids[ids] + NEAR * rng.standard_normal((len(ids), d), dtype=np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        low = values.min(axis=0)
        span = values.max(axis=0) - low
        codes = np.clip((values - low) / span * 255, 0, 255).astype(np.uint8)
        named, own = distinct(ids, offsets, there)
        starts = np.concatenate([[0], np.cumsum(own)]).astype(np.int64)
        tokens = prepare_tokens(codes, offsets, span, low, 1.01)
        segment = TokenSegment(
            prepare_centroids(centroids), named, starts, *invert(named, starts, there), tokens
        )
        query = values[rng.integers(0, len(values), n_q)] + np.float32(0.05) * rng.standard_normal(
            (n_q, d), dtype=np.float32
        )
        depth = max(int(how.depth * min(20 * scale, 1)), 5)
        fewer = how._replace(gathered=min(how.gathered, 4 * depth), depth=depth)
        return query, query, segment, fewer, min(k, max(depth // 2, 1)), 1e-4

    return make


def _n_tokens(_probe: Any, _query: Any, segment: TokenSegment, how: TokenDepth, *_: Any) -> float:
    return float(min(how.depth / (len(segment.starts) - 1), 1) * len(segment.tokens.codes))


def _n_operations(probe: Any, query: Any, segment: TokenSegment, *rest: Any) -> float:
    exactly = 2.0 * query.size * _n_tokens(probe, query, segment, *rest)
    return exactly + 2.0 * probe.size * segment.centroids.n


def _case(label: str, make: Callable[[np.random.Generator, float], Arguments]) -> Case:
    counted = "tokens", _n_tokens, "int8", _n_operations
    return Case("token_best", "token_best", label, make, *counted, exact=False)  # type: ignore[arg-type]


CASES: list[Case] = [
    _case("8,192 centroids, 200 by them", _make(5000, 128, 21, 8192, TokenDepth(16, 1024, 200, True))),
    _case("8,192 centroids, 200 by postings", _make(5000, 128, 32, 8192, TokenDepth(16, 200, 200, False))),
    _case("all documents, 44 dimensions", _make(2000, 44, 9, 1003, TokenDepth(0, 0, 60, True), 10)),
    _case("40 query tokens", _make(2000, 48, 40, 1003, TokenDepth(8, 200, 100, True), 10)),
]
