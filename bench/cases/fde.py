"""Cases of the MUVERA encoding: the design's recipes, documents of 150 tokens, queries of 32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Peer
from retrieval.kernels.fde.reference import draw_matrices

__all__ = ["CASES"]


def _make(
    n: int, length: int, d: int, reps: int, ksim: int, proj_dim: int | None, final_dim: int | None
) -> Callable[..., tuple[Any, ...]]:
    """Whole numbers, so that no sign depends on the order of a sum."""

    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        offsets = np.concatenate([[0], np.cumsum(rng.poisson(length, max(int(n * scale), 2)))])
        values = rng.integers(-8, 9, (offsets[-1], d)).astype(np.float32)
        matrices = draw_matrices(d, reps, ksim, proj_dim, final_dim, seed=0)
        return values, offsets, np.rint(4 * matrices.planes), matrices.projections, matrices.final

    return make


def _tokens(values: Any, *_: Any) -> float:
    return float(len(values))


def _operations(values: Any, _offsets: Any, planes: Any, projections: Any, *_: Any) -> float:
    reps, d, ksim = planes.shape
    return 2.0 * len(values) * d * reps * (ksim + (projections.dim if projections else 0))


def _torch(fill: bool) -> Peer:
    """Signs, projections and scattered sums; for documents means, and empty partitions filled."""

    def peer(values: Any, offsets: Any, planes: Any, projections: Any, _final: Any) -> Callable[[], object]:
        import torch

        torch.set_num_threads(1)
        reps, d, ksim = planes.shape
        n, size, dim = len(offsets) - 1, 2**ksim, projections.dim if projections else d
        x, g = torch.from_numpy(values), torch.from_numpy(planes)
        documents = torch.from_numpy(np.repeat(np.arange(n), np.diff(offsets)))
        gray = torch.tensor([_rank(signs, ksim) for signs in range(size)])
        powers = 2 ** torch.arange(ksim - 1, -1, -1)
        signs = (torch.arange(size) ^ (torch.arange(size) >> 1))[:, None] // powers % 2
        differing = (signs[:, None] != signs[None]).sum(2)
        tokens, owners = torch.arange(len(x))[:, None], documents[:, None].expand(-1, size)
        dense = torch.zeros(reps, d, dim)
        if projections:
            index = torch.from_numpy(projections.targets).long()[:, :, None]
            dense.scatter_(2, index, torch.from_numpy(projections.signs)[:, :, None])

        def run() -> object:
            out = torch.zeros(reps, n * size, dim)
            for r in range(reps):
                partition = gray[((x @ g[r] > 0) * powers).sum(1)]
                points, cells = x @ dense[r] if projections else x, documents * size + partition
                out[r].index_add_(0, cells, points)
                if fill:
                    counts = torch.bincount(cells, minlength=n * size)
                    out[r] /= counts.clamp(min=1)[:, None]
                    keys = differing[partition] * len(x) + tokens
                    nearest = torch.full((n, size), 2**40).scatter_reduce_(0, owners, keys, "amin") % len(x)
                    empty = counts == 0
                    out[r, empty] = points[nearest.reshape(-1)[empty]]
            return out

        return run

    return peer


def _rank(signs: int, ksim: int) -> int:
    """Position of a sign pattern in the reflected Gray code."""
    rank = 0
    for i in reversed(range(ksim)):
        rank = 2 * rank + ((signs >> i & 1) ^ (rank & 1))
    return rank


def _case(
    function: str,
    n: int,
    length: int,
    d: int,
    reps: int,
    ksim: int,
    proj_dim: int | None,
    final_dim: int | None = None,
) -> Case:
    size = reps * 2**ksim * (proj_dim or d)
    return Case(
        "fde",
        function,
        f"{n} x {length} tokens, d={d}, ({reps}, {ksim}, {proj_dim}) = {final_dim or size}",
        _make(n, length, d, reps, ksim, proj_dim, final_dim),
        "tokens",
        _tokens,
        "fp32",
        _operations,
        exact=False,
        peers={} if final_dim else {"torch": _torch(function == "fde_documents")},
    )


CASES = [
    _case("fde_documents", 200, 150, 128, 20, 3, 8),
    _case("fde_documents", 200, 150, 128, 20, 4, 8),
    _case("fde_documents", 200, 150, 128, 20, 5, 8),
    _case("fde_documents", 200, 150, 128, 20, 5, 16),
    _case("fde_documents", 100, 150, 128, 20, 5, None),
    _case("fde_documents", 100, 150, 128, 20, 5, 16, 2048),
    _case("fde_queries", 1, 32, 128, 20, 5, 8),
    _case("fde_queries", 200, 32, 128, 20, 5, 8),
    _case("fde_documents", 50, 3, 50, 3, 0, None),
    _case("fde_documents", 50, 7, 17, 2, 8, 5),
]
