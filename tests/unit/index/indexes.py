"""Every vector index with every codec, on small clustered vectors: what the conformance suite runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.config import RecipeConfig
from retrieval.index.base import Block, SegmentSearch, VectorIndex
from retrieval.index.registry import fit_index
from retrieval.quantize import FloatCodec

DIM = 24
N = 997
N_QUERIES = 7
WIDE = 10**6


@dataclass(frozen=True)
class Case:
    """An index and what of its recipe is not a default. ``least`` is the recall@10 among 30 candidates that
    it must have."""

    index: str
    options: dict[str, Any] = field(default_factory=dict)
    least: float = 0.9

    def __str__(self) -> str:
        return "-".join([self.index, *(str(value) for value in self.options.values())])

    @property
    def recipe(self) -> dict[str, Any]:
        return RecipeConfig(index=self.index, **self.options).model_dump()


CODED: list[tuple[dict[str, Any], float]] = [
    ({"codec": "bits", "bits": 1}, 0.75),
    ({"codec": "bits", "bits": 2}, 0.9),
    ({"codec": "bits", "bits": 4}, 0.95),
    ({"codec": "bits", "bits": 8}, 0.95),
    ({"codec": "pq", "m": 8, "nbits": 4}, 0.8),
    ({"codec": "pq", "m": 7, "nbits": 4}, 0.7),
    ({"codec": "pq", "m": 6, "nbits": 8}, 0.9),
    ({"codec": "opq", "m": 6, "nbits": 4}, 0.75),
    ({"codec": "int8"}, 0.95),
    ({"codec": "float16"}, 0.95),
    ({"codec": "sign"}, 0.4),
]
NESTED: list[tuple[dict[str, Any], float]] = [
    ({"codec": "bits", "bits": 2, "scan_bits": 1}, 0.9),
    ({"codec": "bits", "bits": 4, "scan_bits": 1}, 0.95),
    ({"codec": "bits", "bits": 4, "scan_bits": 2}, 0.95),
    ({"codec": "bits", "bits": 8, "scan_bits": 4}, 0.95),
]
CASES = [
    *(Case("flat", options, least) for options, least in CODED),
    *(Case("ivf", {**options, "nlist": 13}, least - 0.1) for options, least in CODED),
    *(Case("ivf", {**options, "nlist": 13, "residual": False}, least - 0.1) for options, least in CODED[:5]),
    *(Case("flat", options, least) for options, least in NESTED),
    *(Case("ivf", {**options, "nlist": 13}, least - 0.1) for options, least in NESTED),
    Case("ivf", {"codec": "bits", "bits": 4, "scan_bits": 1, "nlist": 13, "residual": False}, 0.85),
    Case("hnsw", {"codec": "int8"}),
    Case("hnsw", {"codec": "float16", "m_links": 4, "ef_construction": 20}, 0.8),
    Case("vamana", {}),
    Case("vamana", {"m_links": 4, "ef_construction": 20}, 0.8),
    Case("funnel", {"funnel": (8, 16)}, 0.75),
    Case("funnel", {}, 0.6),
]


def clustered(n: int, seed: int, spread: float = 0.6) -> NDArray[np.float32]:
    """Vectors around 20 centres, away from the origin."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((20, DIM)) + 0.3
    values = centres[rng.integers(0, len(centres), n)] + spread * rng.standard_normal((n, DIM))
    return values.astype(np.float32)


@cache
def documents() -> NDArray[np.float32]:
    """``(N, DIM)``; some of them twice."""
    values = clustered(N, 1)
    values[[500, 700, 900]] = values[[3, 3, 4]]
    values.flags.writeable = False
    return values


@cache
def queries() -> NDArray[np.float32]:
    values = clustered(N_QUERIES, 2)
    values.flags.writeable = False
    return values


def biases_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What makes inner products order documents by l2."""
    return (-np.einsum("nd,nd->n", values, values) / 2).astype(np.float32)


def in_pieces(
    values: NDArray[np.float32], biases: NDArray[np.float32] | None = None, size: int = 100
) -> Iterator[Block]:
    for i in range(0, len(values), size):
        yield Block(values[i : i + size], None if biases is None else biases[i : i + size])


_FITTED: dict[str, VectorIndex] = {}


def fitted(case: Case) -> VectorIndex:
    if str(case) not in _FITTED:
        _FITTED[str(case)] = fit_index(case.index, documents(), N, case.recipe)
    return _FITTED[str(case)]


def attached(
    index: VectorIndex, values: NDArray[np.float32], biases: NDArray[np.float32] | None = None
) -> SegmentSearch:
    arrays = index.arrange(in_pieces(values, biases), len(values))
    return index.attach(arrays, len(values), values, FloatCodec("float32"))
