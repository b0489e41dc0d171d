"""Cases of links: a hundred candidates near each of some vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case

__all__ = ["CASES"]


Make = Callable[[np.random.Generator, float], tuple[Any, ...]]


def _make(n: int, d: int, m: int, c: int, most: int) -> Make:
    """Whole numbers: sums are exact in any order."""

    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        count, rows = max(int(n * scale), 8), max(int(m * scale), 3)
        values = rng.integers(-8, 9, (count, d)).astype(np.float32)
        values[count // 2] = values[0]
        candidates = rng.integers(-1, count, (rows, c)).astype(np.int32)
        return values, rng.integers(0, count, rows), candidates, 1.15, most

    return make


def _n_candidates(_values: Any, _ordinals: Any, candidates: Any, *_: Any) -> float:
    return float(candidates.size)


def _work(values: Any, ordinals: Any, candidates: Any, _alpha: float, most: int) -> float:
    """At most: each with the vector, and with all that were chosen."""
    return _n_candidates(values, ordinals, candidates) * values.shape[1] * (1 + most / 2)


CASES: list[Case] = [
    Case(
        "links",
        "choose_links",
        label,
        make,
        "candidates",
        _n_candidates,
        "fp32",
        _work,
    )
    for label, make in (
        ("100 of 200 000 for 2000", _make(200_000, 384, 2000, 100, 32)),
        ("30 of 5000 of 19 dimensions", _make(5000, 19, 500, 30, 8)),
    )
]
