"""Cases of walks: graphs of random links, in which nothing is found early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.walk.prepared import Coding, Graph, Layout, prepare_coding, prepare_graph
from retrieval.kernels.walk.reference import ask_walk

__all__ = ["CASES", "make_coding", "make_graph"]

ROUNDS, ERROR = 4, 0.1
Make = Callable[[np.random.Generator, float], tuple[Any, ...]]


def make_coding(rng: np.random.Generator, d: int) -> Coding:
    signs = (2 * rng.integers(0, 2, (ROUNDS, d)) - 1).astype(np.int8)
    mean, offsets = rng.standard_normal((2, d)).astype(np.float32)
    return prepare_coding(signs, mean, rng.random(d, np.float32), offsets)


def make_graph(rng: np.random.Generator, n: int, d: int, size: int) -> Graph:
    layout = Layout.of(d)
    lines = rng.integers(0, 256, (n, layout.length), dtype=np.uint8)
    lines[:, -(-d // 8) :] = 0
    layout.floats(lines)[:] = rng.random((n, 2), np.float32)
    counts = rng.integers(0, min(40, n), n)
    layout.degrees(lines)[:] = counts
    layout.starts(lines)[:, 0] = np.cumsum(counts) - counts
    links = rng.integers(0, n, int(counts.sum()), dtype=np.uint32).view(np.uint8).reshape(-1, 4)
    codes = np.zeros((n, layout.wide), np.uint8)
    codes[:, :d] = rng.integers(0, 256, (n, d), dtype=np.uint8)
    entries = rng.permutation(n)[: max(n // 50, 5)].astype(np.int32)
    return prepare_graph(d, lines, np.ascontiguousarray(links[:, :size]).reshape(-1), size, codes, entries)


def _ask(d: int, n_queries: int) -> Make:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:  # noqa: ARG001
        queries = rng.standard_normal((n_queries, d)).astype(np.float32)
        return queries, make_coding(rng, d), ERROR, rng.random(n_queries, np.float32)

    return make


def _walk(
    n: int, d: int, n_queries: int, width: int, size: int = 3, share: float = 1.0, times: int = 1
) -> Make:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        count = max(int(n * scale), 8)
        graph = make_graph(rng, count, d, size)
        queries = rng.standard_normal((max(int(n_queries * scale), 2), d)).astype(np.float32)
        asked = ask_walk(queries, make_coding(rng, d), ERROR, np.ones(len(queries), np.float32))
        accept = rng.random(count) < share if share < 1 else None
        return asked, graph, width, min(width, 10), accept, times * width

    return make


def _n_queries(first: Any, *_: Any) -> float:
    return float(len(first) if isinstance(first, np.ndarray) else len(first.scalars))


def _asked_bytes(queries: Any, *_: Any) -> float:
    return float(queries.nbytes)


def _walked_bytes(asked: Any, graph: Any, width: int, *_: Any) -> float:
    """Of what is left by its links: those, and the lines that they lead to."""
    return _n_queries(asked) * width * 20.0 * (graph.layout.length + graph.size)


CASES: list[Case] = [
    *(
        Case(
            "walk",
            "ask_walk",
            f"{d} dimensions",
            _ask(d, m),
            "queries",
            _n_queries,
            "cache",
            _asked_bytes,
            exact=False,
        )
        for m, d in ((1, 384), (3, 13), (2, 100))
    ),
    *(
        Case("walk", "walk", label, make, "queries", _n_queries, "read", _walked_bytes)
        for label, make in (
            ("width 16 of 200 000", _walk(200_000, 384, 200, 16)),
            ("width 10 of 200 000, of 40", _walk(200_000, 384, 200, 10, times=4)),
            ("width 100 of 200 000", _walk(200_000, 384, 200, 100)),
            ("width 30 of 20 000, a third accepted", _walk(20_000, 100, 100, 30, share=0.33)),
            ("links of 4 bytes, 1000 dimensions", _walk(20_000, 1000, 100, 40, size=4, times=3)),
            ("9 dimensions", _walk(20_000, 9, 100, 20)),
        )
    ),
]
