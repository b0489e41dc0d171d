"""Codes of residuals: whole numbers, so that products are exact and ties are many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case
from retrieval.kernels.residuals.reference import Around

__all__ = ["CASES"]

Arguments = tuple[Any, ...]
Make = Callable[[np.random.Generator, float], Arguments]
N = 500_000


def _whole(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-20, 21, shape).astype(np.float32)


def _codebooks(rng: np.random.Generator, m: int, ksub: int, dim: int) -> Any:
    codebooks = _whole(rng, m, ksub, -(-dim // m))
    for part, size in enumerate(np.diff(np.arange(m + 1) * dim // m)):
        codebooks[part, :, size:] = 0
    return codebooks


def _product_codes(m: int, ksub: int, dim: int) -> Make:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        return _whole(rng, int(N * scale), dim), _codebooks(rng, m, ksub, dim)

    return make


def _product_values(m: int, ksub: int, dim: int) -> Make:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        n_bytes = m if ksub == 256 else -(-m // 2)
        codes = rng.integers(0, 256, (int(N * scale), n_bytes), dtype=np.uint8)
        return codes, _codebooks(rng, m, ksub, dim), dim

    return make


def _tokens(values: Make, dim: int, k: int = 8192) -> Make:
    """What ``values`` makes, around one of ``k`` centroids each."""

    def make(rng: np.random.Generator, scale: float) -> Arguments:
        codes, *rest = values(rng, scale)
        norms = rng.random(len(codes)).astype(np.float16)
        return codes, *rest, Around(_whole(rng, k, dim), rng.integers(0, k, len(codes)), norms)

    return make


def _bucket_codes(bits: int, dim: int, n_edges: int) -> Make:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        return _whole(rng, int(N * scale), dim), np.sort(_whole(rng, n_edges, dim), axis=0), bits

    return make


def _bucket_values(bits: int, dim: int) -> Make:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        codes = rng.integers(0, 256, (int(N * scale), -(-dim * bits // 8)), dtype=np.uint8)
        return codes, _whole(rng, dim, 2**bits), bits

    return make


def _inverse_norms(k: int, dim: int) -> Make:
    def make(rng: np.random.Generator, scale: float) -> Arguments:
        values, centroids = _whole(rng, int(N * scale), dim), _whole(rng, k, dim)
        ordinals = rng.integers(0, k, len(values))
        residuals = _whole(rng, *values.shape)
        values[::7] = 0
        residuals[1::5] = -centroids[ordinals[1::5]]  # nothing is left of these
        residuals[2::5] = values[2::5] / np.float32(300) - centroids[ordinals[2::5]]  # and next to nothing
        return values, centroids, ordinals, residuals

    return make


def _case(function: str, label: str, make: Make, exact: bool = True) -> Case:
    return Case(
        operation="residuals",
        function=function,
        label=label,
        make=make,
        unit="tokens",
        units=lambda rows, *_: float(len(rows)),
        limit="read",
        work=lambda *args: float(sum(each.nbytes for each in args if isinstance(each, np.ndarray))),
        exact=exact,
    )


CASES = [
    _case("product_codes", "PQ 32 x 4 bits, 128 d", _product_codes(32, 16, 128)),
    _case("product_codes", "PQ 16 x 8 bits, 128 d", _product_codes(16, 256, 128)),
    _case("product_codes", "awkward: PQ 7 x 4 bits, 31 d", _product_codes(7, 16, 31)),
    _case("product_codes", "awkward: PQ 33 x 8 bits, 33 d", _product_codes(33, 256, 33)),
    _case("product_values", "PQ 32 x 4 bits, 128 d", _product_values(32, 16, 128)),
    _case("product_values", "awkward: PQ 7 x 4 bits, 31 d", _product_values(7, 16, 31)),
    _case("product_values", "awkward: PQ 5 x 8 bits, 33 d", _product_values(5, 256, 33)),
    _case("product_values", "awkward: PQ 3 x 8 bits, 100 d", _product_values(3, 256, 100)),
    _case("product_values", "tokens, PQ 32 x 4 bits, 128 d", _tokens(_product_values(32, 16, 128), 128)),
    _case(
        "product_values", "tokens, awkward: PQ 7 x 4 bits, 31 d", _tokens(_product_values(7, 16, 31), 31, 1)
    ),
    _case("bucket_codes", "2 bits, 128 d", _bucket_codes(2, 128, 3)),
    _case("bucket_codes", "4 bits, 128 d", _bucket_codes(4, 128, 15)),
    _case("bucket_codes", "awkward: 1 bit, 33 d", _bucket_codes(1, 33, 1)),
    _case("bucket_codes", "awkward: 2 bits, two edges, 31 d", _bucket_codes(2, 31, 2)),
    _case("bucket_values", "2 bits, 128 d", _bucket_values(2, 128)),
    _case("bucket_values", "awkward: 4 bits, 33 d", _bucket_values(4, 33)),
    _case("bucket_values", "awkward: 1 bit, 7 d", _bucket_values(1, 7)),
    _case("bucket_values", "tokens, 2 bits, 128 d", _tokens(_bucket_values(2, 128), 128)),
    _case("bucket_values", "tokens, awkward: 2 bits, 31 d", _tokens(_bucket_values(2, 31), 31, 3)),
    _case("inverse_norms", "8,192 centroids, 128 d", _inverse_norms(8192, 128), exact=False),
    _case("inverse_norms", "awkward: one centroid, 3 d", _inverse_norms(1, 3), exact=False),
]
