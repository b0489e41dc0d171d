"""Vectors to grid points of 1 to 8 bits a dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.grid.cpu import grid_codes
from retrieval.kernels.grid.reference import COARSE, FINE

__all__ = ["CASES"]

Arguments = tuple[Any, ...]


def _make(n: int, dim: int, bits: int) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        return rng.standard_normal((max(int(n * scale), 1), dim), dtype=np.float32), bits

    return make


def _make_scales(n: int, dim: int, bits: int, kept: int) -> Callable[[np.random.Generator, float], Arguments]:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        values = rng.standard_normal((max(int(n * scale), 1), dim), dtype=np.float32)
        return values, grid_codes(values, bits)[0], bits, kept

    return make


def _vectors(values: Any, *_: Any) -> float:
    return float(len(values))


def _few_operations(values: Any, *_: Any) -> float:
    """To unpack a number, and for two sums of it."""
    return 6.0 * values.size


def _operations(values: Any, bits: int) -> float:
    """Eight a coordinate for each factor that is tried."""
    return 8.0 * values.size * (1 if bits == 1 else COARSE + FINE + 1)


def _case(label: str, make: Any, mark: float | None = None, function: str = "grid_codes") -> Case:
    return Case(
        operation="grid",
        function=function,
        label=label,
        make=make,
        unit="vectors",
        units=_vectors,
        limit="fp32",
        work=_operations if function == "grid_codes" else _few_operations,
        exact=False,
        mark=mark,
    )


CASES = [
    _case("1 bit, 384 d", _make(10_000, 384, 1), mark=200e3),
    _case("2 bits, 384 d", _make(10_000, 384, 2), mark=200e3),
    _case("4 bits, 384 d", _make(10_000, 384, 4), mark=200e3),
    _case("8 bits, 384 d", _make(10_000, 384, 8), mark=200e3),
    _case("awkward: 4 bits, 333 d", _make(3_000, 333, 4)),
    _case("scales of 1 of 4 bits, 384 d", _make_scales(10_000, 384, 4, 1), 800e3, "grid_scales"),
    _case("awkward: scales of 2 of 8 bits, 333 d", _make_scales(3_000, 333, 8, 2), None, "grid_scales"),
]
