"""Cases of the assignment to centroids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Peer

__all__ = ["CASES"]


def _make(n: int, k: int, d: int, metric: str, *options: Any) -> Callable[..., tuple[Any, ...]]:
    """Unit vectors around unit centroids, as the tokens of an encoder lie."""

    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        rows, columns = max(int(n * scale), 3), max(int(k * scale), 2)
        centroids = rng.standard_normal((columns, d)).astype(np.float32)
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        noise = rng.standard_normal((rows, d)).astype(np.float32) / np.float32(np.sqrt(2 * d))
        values = centroids[rng.integers(0, columns, rows)] + noise
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values, centroids, metric, *options

    return make


def _tokens(values: Any, *_: Any) -> float:
    return float(len(values))


def _operations(values: Any, centroids: Any, *_: Any) -> float:
    return 2.0 * len(values) * centroids.size


def _faiss(values: Any, centroids: Any, metric: str, *_: Any) -> Callable[[], object]:
    import faiss

    index = (faiss.IndexFlatIP if metric == "dot" else faiss.IndexFlatL2)(centroids.shape[1])
    index.add(centroids)
    faiss.omp_set_num_threads(1)
    return lambda: index.search(values, 1)


def _torch(values: Any, centroids: Any, *_: Any) -> Callable[[], object]:
    import torch

    torch.set_num_threads(1)
    x, c = torch.from_numpy(values), torch.from_numpy(centroids)
    return lambda: torch.cat([(block @ c.T).max(dim=1).values for block in x.split(512)])


def _numpy(values: Any, centroids: Any, *_: Any) -> Callable[[], object]:
    blocks = [values[i : i + 512] for i in range(0, len(values), 512)]
    return lambda: [(block @ centroids.T).argmax(axis=1) for block in blocks]


PEERS: dict[str, Peer] = {"faiss": _faiss, "torch": _torch, "numpy": _numpy}


def _case(
    function: str, n: int, k: int, d: int, metric: str, *options: Any, mark: float | None = None
) -> Case:
    kind = {(): "", (True,): ", exact", (False,): ", 8 bits only"}[options]
    return Case(
        "assign",
        function,
        f"{n} x {d} to {k}, {metric}{kind}",
        _make(n, k, d, metric, *options),
        "tokens",
        _tokens,
        "int8",  # also in float: what bytes can decide is not scored in float
        _operations,
        exact=False,
        # An 8-bit margin stands where the choice was never in doubt.
        tolerance=1e-5 if options != (True,) else 0.02,
        mark=mark,
        peers={"faiss": _faiss} if metric == "l2" else PEERS,
    )


CASES = [
    _case("assign_i8", 16384, 8192, 128, "dot", True, mark=208e3),
    _case("assign_i8", 16384, 8192, 128, "dot", False, mark=208e3),
    _case("assign_i8", 16384, 8192, 128, "l2", True, mark=208e3),
    _case("assign", 4096, 8192, 128, "dot"),
    _case("assign", 4096, 8192, 128, "l2"),
    _case("assign_i8", 8192, 4096, 96, "dot", True),
    _case("assign_i8", 2048, 1000, 384, "l2", True),
    _case("assign_i8", 999, 777, 50, "dot", True),
    _case("assign", 999, 777, 50, "l2"),
]
