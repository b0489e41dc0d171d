"""Cases of the best of graphs: graphs of random links, and the vectors that their codes stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases.base import Case
from bench.cases.walk import ERROR, Make, make_coding, make_graph
from retrieval.kernels.rescore.prepared import prepare_rows
from retrieval.kernels.rescore.reference import RescoreMetric
from retrieval.kernels.walk_best.reference import Walked

__all__ = ["CASES"]

K = 10
LARGEST = 2.0
"""What stored vectors are taken to be no longer than: only how many are kept comes from it."""


def _make(n: int, d: int, width: int, depth: int, metric: RescoreMetric, dtype: str) -> Make:
    """``dtype`` is of the stored vectors."""

    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        count = max(int(n * scale), 40)
        graph, coding = make_graph(rng, count, d, 3), make_coding(rng, d)
        if dtype == "uint8":
            stored = prepare_rows(graph.codes[:, :d].copy(), 255 * coding.steps, coding.offsets)
        else:
            stored = prepare_rows((coding.offsets + coding.steps * graph.codes[:, :d]).astype(dtype))
        query = rng.standard_normal((1, d)).astype(np.float32)
        segment = Walked(coding, graph, ERROR, stored, metric, LARGEST)
        return query, query, segment, width, 2 * width, depth, K

    return make


def _n_queries(*_: Any) -> float:
    return 1.0


def _read_bytes(_probe: Any, _query: Any, segment: Walked, width: int, *_: Any) -> float:
    """Of what is left by its links: those, and the lines that they lead to."""
    return width * 20.0 * (segment.graph.layout.length + segment.graph.size)


def _case(label: str, make: Make) -> Case:
    return Case(
        "walk_best", "walk_best", label, make, "queries", _n_queries, "read", _read_bytes, exact=False
    )


CASES: list[Case] = [
    _case("width 10, 16 of bytes", _make(200_000, 384, 10, 16, "dot", "uint8")),
    _case("width 100, 20 of float16, l2", _make(200_000, 384, 100, 20, "l2", "float16")),
    _case("width 40, 40 of 61 dimensions, float32", _make(20_000, 61, 40, 40, "dot", "float32")),
    _case("width 40, 12 of bytes, l2", _make(20_000, 100, 40, 12, "l2", "uint8")),
]
