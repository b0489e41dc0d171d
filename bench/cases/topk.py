"""Selection of the best k: scores in memory and in cache, in random and in the worst order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit, Peer

__all__ = ["CASES"]

Arguments = tuple[Any, ...]


def _scores(n: int, k: int, order: str) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        scores = rng.standard_normal(max(int(n * scale), 1), dtype=np.float32)
        if order == "tied":
            scores = np.round(scores * 4)
        return np.sort(scores) if order == "ascending" else scores, k

    return make


def _masked(rng: np.random.Generator, scale: float) -> Arguments:
    scores, k = _scores(1_000_000, 100, "random")(rng, scale)
    return scores, k, rng.random(len(scores)) < 0.1


def _rows(rng: np.random.Generator, scale: float) -> Arguments:
    return rng.standard_normal((32, max(int(8192 * scale), 1)), dtype=np.float32), 100


def _lists(rng: np.random.Generator, scale: float) -> Arguments:
    n = max(int(1000 * scale), 1)
    scores = -np.sort(-rng.standard_normal((16, n), dtype=np.float32), axis=1)
    return scores, rng.permutation(16 * n).reshape(16, n), n


def _numpy(scores: Any, k: int) -> Callable[[], object]:
    def select() -> object:
        best = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
        return best[np.lexsort((best, -scores[best]))]

    return select


def _torch(scores: Any, k: int) -> Callable[[], object]:
    import torch

    tensor = torch.from_numpy(scores)
    return lambda: torch.topk(tensor, k)


def _faiss(scores: Any, k: int) -> Callable[[], object]:
    import faiss

    faiss.omp_set_num_threads(1)
    best, ordinals = np.empty(k, np.float32), np.empty(k, np.int64)

    def select() -> object:
        heap = faiss.float_minheap_array_t()
        heap.nh, heap.k, heap.val, heap.ids = 1, k, faiss.swig_ptr(best), faiss.swig_ptr(ordinals)
        heap.heapify()
        heap.addn(scores.size, faiss.swig_ptr(scores))
        heap.reorder()
        return best

    return select


def _numpy_rows(scores: Any, k: int) -> Callable[[], object]:
    calls = [_numpy(row, k) for row in scores]
    return lambda: [call() for call in calls]


def _torch_rows(scores: Any, k: int) -> Callable[[], object]:
    return _torch(scores, k)


def _numpy_lists(scores: Any, ids: Any, k: int) -> Callable[[], object]:
    return lambda: np.lexsort((ids.reshape(-1), -scores.reshape(-1)))[:k]


def _numpy_partition(scores: Any, k: int, slack: float) -> Callable[[], object]:
    return lambda: np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - slack)


def _case(
    function: str,
    label: str,
    make: Callable[[np.random.Generator, float], Arguments],
    limit: Limit,
    peers: dict[str, Peer] | None = None,
) -> Case:
    return Case(
        operation="topk",
        function=function,
        label=label,
        make=make,
        unit="scores",
        units=lambda scores, *_: float(scores.size),
        limit=limit,
        work=lambda scores, *_: 4.0 * scores.size,
        peers=peers or {},
    )


PEERS: dict[str, Peer] = {"numpy": _numpy, "torch": _torch, "faiss heap": _faiss}

CASES: list[Case] = [
    *(
        _case("topk", f"{k} of {n:,}, {order}", _scores(n, k, order), limit, PEERS)
        for n, limit in ((10_000, "cache"), (1_000_000, "read"))
        for k in (10, 100, 1000)
        for order in ("random", "ascending")
    ),
    _case("topk", "100 of 1,000,000, tied", _scores(1_000_000, 100, "tied"), "read", PEERS),
    _case("topk", "100 of 1,000,000, a tenth accepted", _masked, "read"),
    _case("topk_rows", "100 of 8,192, 32 rows", _rows, "cache", {"numpy": _numpy_rows, "torch": _torch_rows}),
    _case("merge", "16 lists of 1,000", _lists, "cache", {"numpy": _numpy_lists}),
    _case(
        "select",
        "100 of 8,192",
        lambda rng, scale: (*_scores(8192, 100, "random")(rng, scale), 1e-6),
        "cache",
        {"numpy": _numpy_partition},
    ),
]
