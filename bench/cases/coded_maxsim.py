"""Cases of coded_maxsim: every codec at the mark's shape (32 query tokens, d = 128), and awkward ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit
from retrieval.kernels.coded_maxsim.reference import unpack

__all__ = ["CASES"]

N_TOKENS, DOCUMENT, K, BLOCK = 160_000, 160, 8192, 32


def _documents(rng: np.random.Generator, scale: float, k: int, n_bytes: int) -> tuple[Any, ...]:
    lengths = rng.integers(0, 2 * DOCUMENT, max(int(N_TOKENS * scale) // DOCUMENT, 4))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n = int(offsets[-1])
    codes = rng.integers(0, 256, (n, n_bytes), dtype=np.uint8)
    return (
        rng.integers(0, k, n).astype(np.uint16),
        codes,
        rng.uniform(0.8, 1.2, n).astype(np.float16),
        offsets,
    )


def _unit(rng: np.random.Generator, n: int, d: int) -> Any:
    vectors = rng.standard_normal((n, d), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _make_pq(m: int, nbits: int, n_q: int) -> Callable[..., tuple[Any, ...]]:
    """A query of unit vectors; residuals a fifth of a centroid."""

    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        k = max(int(K * min(1.0, scale * 10)), 2)
        query, dsub = _unit(rng, n_q, 4 * m), 4
        words = 0.2 / np.sqrt(4 * m) * rng.standard_normal((m, 2**nbits, dsub), dtype=np.float32)
        table = np.einsum("mcd,qmd->mcq", words, query.reshape(n_q, m, dsub)).astype(np.float32)
        scores = np.ascontiguousarray(_unit(rng, k, 4 * m) @ query.T)
        return (
            scores,
            np.ascontiguousarray(table),
            *_documents(rng, scale, k, -(-m * nbits // 8)),
            None,
            nbits,
        )

    return make


def _make_bits(bits: int, d: int, n_q: int, kind: str) -> Callable[..., tuple[Any, ...]]:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        k = max(int(K * min(1.0, scale * 10)), 2)
        query = _unit(rng, n_q, d)
        b = np.float32(0.2 / np.sqrt(d))
        buckets = np.array([-b, 0, b, 0]) if kind == "ternary" else np.linspace(-2 * b, 2 * b, 2**bits)
        if kind == "each":
            buckets = buckets * rng.uniform(0.5, 1.5, (d, 1))
        scores = np.ascontiguousarray(_unit(rng, k, d) @ query.T)
        centroids, codes, norms, offsets = _documents(rng, scale, k, -(-d * bits // 8))
        return query, scores, buckets.astype(np.float32), codes, centroids, norms, offsets, None, bits

    return make


def _maxima(sums: Callable[[int, int], Any], offsets: Any) -> Callable[[], object]:
    """Blocks of documents: scores of their tokens (t, n_q), a maximum a document, a sum."""
    filled = offsets[:-1] < offsets[1:]

    def run() -> Any:
        scores = np.zeros(len(offsets) - 1, dtype=np.float32)
        for first in range(0, len(scores), BLOCK):
            last = min(first + BLOCK, len(scores))
            starts = (offsets[first:last] - offsets[first])[filled[first:last]]
            if len(starts):
                best = np.maximum.reduceat(sums(offsets[first], offsets[last]), starts, axis=0)
                scores[first:last][filled[first:last]] = best.sum(axis=1)
        return scores

    return run


def _numpy_pq(
    scores: Any, table: Any, centroids: Any, codes: Any, norms: Any, offsets: Any, _o: Any, nbits: int
) -> Callable[[], object]:
    """A gather for the centroids and one a subspace."""

    def sums(a: int, b: int) -> Any:
        picked = unpack(codes[a:b], nbits, len(table))
        total = scores[centroids[a:b]]
        for s in range(len(table)):
            total += table[s, picked[:, s]]
        return total * norms[a:b, None].astype(np.float32)

    return _maxima(sums, offsets)


def _torch_bits(
    query: Any,
    scores: Any,
    buckets: Any,
    codes: Any,
    centroids: Any,
    norms: Any,
    offsets: Any,
    _o: Any,
    bits: int,
) -> Callable[[], object]:
    """Decompress a block of documents to float32 (a byte's dimensions at once) and multiply: PLAID's way."""
    import torch

    d = query.shape[1]
    if buckets.ndim > 1:
        raise ImportError("a decompressing lookup has one codebook")
    every = torch.from_numpy(buckets[unpack(np.arange(256, dtype=np.uint8)[:, None], bits, 8 // bits)])
    column, table = torch.from_numpy(np.ascontiguousarray(query.T)), torch.from_numpy(scores)

    def sums(a: int, b: int) -> Any:
        residuals = every[torch.from_numpy(codes[a:b].astype(np.int64))].reshape(b - a, -1)[:, :d]
        total = table[torch.from_numpy(centroids[a:b].astype(np.int64))] + residuals @ column
        return (total * torch.from_numpy(norms[a:b].astype(np.float32))[:, None]).numpy()

    return _maxima(sums, offsets)


def _pq(label: str, m: int, nbits: int, n_q: int, mark: float | None = None) -> Case:
    return Case(
        operation="coded_maxsim",
        function="coded_maxsim_pq",
        label=label,
        make=_make_pq(m, nbits, n_q),
        unit="tokens",
        units=lambda *a: len(a[2]),
        limit="cache",
        # A row of int16 for the centroid and each byte of code.
        work=lambda *a: len(a[2]) * (-(-m * nbits // 8) + 1) * n_q * 2.0,
        exact=False,
        tolerance=5e-3,
        mark=mark,
        peers={"numpy gather": _numpy_pq},
    )


def _bits(label: str, bits: int, d: int, n_q: int, mark: float | None = None, kind: str = "shared") -> Case:
    limit: Limit = "cache" if bits == 1 or kind == "each" else "int8"
    rows = -(-d * bits // 8) + 1
    return Case(
        operation="coded_maxsim",
        function="coded_maxsim_bits",
        label=label,
        make=_make_bits(bits, d, n_q, kind),
        unit="tokens",
        units=lambda *a: len(a[4]),
        limit=limit,
        work=lambda *a: len(a[4]) * n_q * 2.0 * (d if limit == "int8" else rows),
        exact=False,
        tolerance=1e-2,
        mark=mark,
        peers={"torch decompress": _torch_bits},
    )


CASES = [
    _pq("pq 32x4", 32, 4, 32, mark=1e9 / 14),
    _pq("pq 8x4", 8, 4, 32, mark=1e9 / 6.6),
    _pq("pq 16x8", 16, 8, 32),
    _pq("pq 7x4, 40 q", 7, 4, 40),
    _pq("pq 5x8, 3 q", 5, 8, 3),
    _bits("4 bits", 4, 128, 32, mark=43e6),
    _bits("2 bits", 2, 128, 32, mark=49e6),
    _bits("ternary", 2, 128, 32, kind="ternary"),
    _bits("signs", 1, 128, 32),
    _bits("2 bits, a codebook a dimension", 2, 128, 32, kind="each"),
    _bits("4 bits, d 96, 48 q", 4, 96, 48),
    _bits("4 bits, d 45, 5 q", 4, 45, 5),
]
