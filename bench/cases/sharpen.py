"""Cases of whole codes: some hundred candidates of a query, anywhere in 32 of 1024 lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Peer
from retrieval.kernels.sharpen.prepared import prepare_packed_rows

__all__ = ["CASES"]

N_PROBE, MOST_LISTS = 32, 1024
Arguments = tuple[Any, ...]


def _make(
    bits: int, n: int, d: int, n_queries: int, count: int, depth: int
) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        rows = max(int(n * scale), 40)
        nlist = max(min(MOST_LISTS, rows // 16), 1)
        codes = rng.integers(0, 256, (rows, -(-d * bits // 8)), dtype=np.uint8)
        factors = rng.random((rows, 2), dtype=np.float32) + 0.5
        inner = np.sort(rng.integers(0, rows + 1, nlist - 1))
        starts = np.concatenate([[0], inner, [rows]]).astype(np.int64)
        ordinals = rng.permutation(rows).astype(np.uint32)
        packed = prepare_packed_rows(codes, factors, starts, None, ordinals, bits, d)
        n_probe = min(N_PROBE, nlist)
        lists = np.stack([rng.permutation(nlist)[:n_probe] for _ in range(n_queries)]).astype(np.int64)
        bases = rng.standard_normal(lists.shape).astype(np.float32)
        positions = np.full((n_queries, count), -1, np.int64)
        for q in range(n_queries):
            inside = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in lists[q]])
            chosen = rng.permutation(inside)[:count]
            positions[q, : len(chosen)] = chosen
        queries = rng.standard_normal((n_queries, d)).astype(np.float32)
        full = min(depth, int((positions >= 0).sum(axis=1).min()))  # infinities could not be compared
        return queries, packed, positions, lists, bases, full

    return make


def _n_rows(_queries: Any, _packed: Any, positions: Any, *_: Any) -> float:
    return float((positions >= 0).sum())


def _n_bytes(queries: Any, packed: Any, positions: Any, *_: Any) -> float:
    return _n_rows(queries, packed, positions) * float(packed.codes.shape[1] + 8)


def _numpy(queries: Any, packed: Any, positions: Any, *_: Any) -> Callable[[], object]:
    """Of 8 bits: nothing to unpack, and nothing is put in order."""

    def run() -> object:
        both = zip(queries, positions, strict=True)
        return [packed.codes[some].astype(np.float32) @ query for query, some in both]

    return run


def _case(
    label: str,
    make: Callable[[np.random.Generator, float], Arguments],
    mark: float | None = None,
    peers: dict[str, Peer] | None = None,
) -> Case:
    return Case(
        "sharpen",
        "sharpen",
        label,
        make,
        "rows",
        _n_rows,
        "read",
        _n_bytes,
        exact=False,
        mark=mark,
        peers=peers or {},
    )


CASES: list[Case] = [
    _case("4 bits, 400 of 200 000, 100 kept", _make(4, 200_000, 384, 16, 400, 100), mark=400 / 20e-6),
    _case("2 bits, 400 of 200 000, 100 kept", _make(2, 200_000, 384, 16, 400, 100)),
    _case("8 bits, 400 of 200 000, 100 kept", _make(8, 200_000, 384, 16, 400, 100), peers={"numpy": _numpy}),
    _case("4 bits of 61 dimensions, 1 query", _make(4, 50_000, 61, 1, 120, 30)),
]
