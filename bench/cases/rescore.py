"""Cases of rescoring: a hundred candidates anywhere among stored vectors of 384 dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Peer

__all__ = ["CASES"]

Arguments = tuple[Any, ...]


def _make(
    dtype: str,
    n: int,
    d: int,
    n_queries: int,
    depth: int | None,
    metric: str,
    prefix: int = 0,
    is_scaled: bool = False,
) -> Callable[[np.random.Generator, float], Arguments]:
    """``depth`` None: all rows; ``prefix``: only so many dimensions; ``is_scaled``: with steps."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        count, dim = max(int(n * scale), 1), prefix or d
        rows = rng.integers(0, 256, (count, d), dtype=np.uint8).astype(dtype)[:, :dim]
        queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
        ordinals = None if depth is None else rng.integers(0, count, (n_queries, depth))
        steps = rng.random(dim, np.float32) / np.float32(255) if is_scaled else None
        return queries, rows, ordinals, metric, None, None, 0, steps

    return make


def _n_rows(queries: Any, rows: Any, ordinals: Any, *_: Any) -> float:
    return float(len(queries) * len(rows) if ordinals is None else ordinals.size)


def _n_bytes(queries: Any, rows: Any, ordinals: Any, *_: Any) -> float:
    return _n_rows(queries, rows, ordinals) * float(rows.shape[1] * rows.itemsize)


def _numpy(queries: Any, rows: Any, ordinals: Any, *_: Any) -> Callable[[], object]:
    def run() -> object:
        return [rows[some].astype(np.float32) @ query for query, some in zip(queries, ordinals, strict=True)]

    return run


def _case(
    label: str,
    make: Callable[[np.random.Generator, float], Arguments],
    peers: dict[str, Peer] | None = None,
    mark: float | None = None,
) -> Case:
    return Case(
        "rescore",
        "rescore",
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


NUMPY: dict[str, Peer] = {"numpy": _numpy}

CASES: list[Case] = [
    _case("float32, 100 of 200 000", _make("float32", 200_000, 384, 32, 100, "dot"), NUMPY),
    _case("float16, 100 of 200 000", _make("float16", 200_000, 384, 32, 100, "dot"), NUMPY, 100 / 8e-6),
    _case("uint8, 100 of 200 000", _make("uint8", 200_000, 384, 32, 100, "dot"), NUMPY, 100 / 6e-6),
    _case("uint8 l2, 100 of 200 000", _make("uint8", 200_000, 384, 32, 100, "l2", is_scaled=True)),
    _case("float16, 1 query", _make("float16", 50_000, 384, 1, 100, "l2")),
    _case("float16, 61 of 384 dimensions, all", _make("float16", 200_000, 384, 1, None, "dot", prefix=61)),
]
