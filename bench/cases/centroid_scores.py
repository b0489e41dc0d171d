"""Cases of centroid_scores: 32 query tokens of 128 dimensions against many centroids, and odd shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.centroid_maxsim.tables import quantise_scores
from retrieval.kernels.centroid_scores.reference import Centroids, prepare_centroids

__all__ = ["CASES"]

FEWEST = 3
ROW_UNIT = 1 / 16_000
"""Scores of unit vectors lie within 1, and residuals need room."""


def _unit(rng: np.random.Generator, n: int, d: int) -> Any:
    """Unit vectors that point one way a little, as models' do."""
    vectors = rng.standard_normal((n, d), dtype=np.float32) + np.float32(0.5)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _make(k: int, n_q: int, d: int, nprobe: int, table: bool, rows: bool) -> Callable[..., tuple[Any, ...]]:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        centroids = prepare_centroids(_unit(rng, max(int(k * min(1.0, 10 * scale)), FEWEST), d))
        return _unit(rng, n_q, d), centroids, nprobe, table, ROW_UNIT if rows else None

    return make


def _floats(centroids: Centroids) -> Any:
    codes = centroids.codes[: centroids.n, : centroids.dim].astype(np.float32) - 128
    return np.ascontiguousarray(codes * np.float32(centroids.step) + centroids.center)


def _numpy(
    query: Any, centroids: Any, nprobe: int, table: bool, row_unit: float | None
) -> Callable[[], object]:
    """A product of float32, then what is asked for."""
    values = _floats(centroids)

    def run() -> object:
        scores = values @ query.T
        made: list[Any] = [quantise_scores(scores)] if table else []
        if row_unit is not None:
            made.append(np.rint(scores * np.float32(1 / row_unit)).astype(np.int16))
        if 0 < nprobe < len(scores):
            rows = np.ascontiguousarray(scores.T)
            best = np.argpartition(rows, -nprobe, axis=1)[:, -nprobe:]
            made.append(np.take_along_axis(rows, best, axis=1).argsort(axis=1))
        return made

    return run


def _torch(
    query: Any, centroids: Any, nprobe: int, table: bool, row_unit: float | None
) -> Callable[[], object]:
    """As numpy does it; all bytes have one lowest score."""
    import torch

    values, wanted = torch.from_numpy(_floats(centroids)), torch.from_numpy(query)

    def run() -> object:
        scores = values @ wanted.T
        made = []
        if table:
            low, high = scores.aminmax()
            made.append(((scores - low) * (255 / (high - low)) + 0.5).to(torch.uint8))
        if row_unit is not None:
            made.append((scores * (1 / row_unit)).round().to(torch.int16))
        return made, torch.topk(scores, min(nprobe, len(scores)), dim=0) if nprobe else None

    return run


def _case(
    label: str, k: int, n_q: int, d: int, nprobe: int = 32, table: bool = True, rows: bool = False
) -> Case:
    return Case(
        operation="centroid_scores",
        function="score_centroids",
        label=label,
        make=_make(k, n_q, d, nprobe, table, rows),
        unit="scores",
        units=lambda query, centroids, *_: float(centroids.n * len(query)),
        limit="int8",
        work=lambda query, centroids, *_: 2.0 * centroids.n * query.size,
        exact=False,
        tolerance=1e-6,
        peers={"numpy": _numpy, "torch": _torch},
    )


CASES = [
    _case("8192 x 128, 32 q: bytes, 32 probes", 8192, 32, 128),
    _case("8192 x 128, 32 q: bytes", 8192, 32, 128, nprobe=0),
    _case("8192 x 128, 32 q: int16, 32 probes", 8192, 32, 128, table=False, rows=True),
    _case("65536 x 128, 32 q: bytes, 32 probes", 65_536, 32, 128),
    _case("65536 x 128, 32 q: 128 probes", 65_536, 32, 128, nprobe=128, table=False),
    _case("8192 x 96, 48 q: everything", 8192, 48, 96, rows=True),
    _case("1000 x 45, 5 q: everything", 1000, 5, 45, nprobe=7, rows=True),
]
