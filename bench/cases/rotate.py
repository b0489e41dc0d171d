"""Random rotations of one query and of many documents, in dimensions that are and are not powers of two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
ROUNDS = 4


def _make(n: int, dim: int) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        values = rng.standard_normal((max(int(n * scale), 1), dim), dtype=np.float32)
        return values, (2 * rng.integers(0, 2, (ROUNDS, dim)) - 1).astype(np.int8)

    return make


def _dense(values: Any, signs: Any) -> Callable[[], object]:
    """A product with a matrix, which turns as well and needs no kernel."""
    matrix = np.linalg.qr(np.random.default_rng(0).standard_normal((signs.shape[1],) * 2))[0].astype(
        np.float32
    )
    return lambda: values @ matrix


def _vectors(values: Any, _signs: Any) -> float:
    return float(len(values))


def _bytes_moved(values: Any, signs: Any) -> float:
    """Each level of a transform reads and writes its window, if no two are done at once."""
    window = 1 << (values.shape[1].bit_length() - 1)
    return float(len(values) * len(signs) * window * (window.bit_length() - 1) * 2 * 4)


def _case(function: str, label: str, make: Any, mark: float | None = None) -> Case:
    return Case(
        operation="rotate",
        function=function,
        label=label,
        make=make,
        unit="vectors",
        units=_vectors,
        limit="cache",
        work=_bytes_moved,
        exact=False,
        mark=mark,
        peers={"matrix": _dense},
    )


CASES = [
    _case("rotate", "1 x 384", _make(1, 384), mark=250e3),
    _case("rotate", "10,000 x 384", _make(10_000, 384), mark=2e6),
    _case("rotate", "10,000 x 768", _make(10_000, 768)),
    _case("rotate", "10,000 x 1024", _make(10_000, 1024)),
    _case("rotate", "awkward: 1,000 x 999", _make(1_000, 999)),
    _case("unrotate", "10,000 x 384", _make(10_000, 384)),
]
