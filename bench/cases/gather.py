"""Cases of gathering: 32 query tokens, centroids that stand in about 80 documents each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases.base import Case, Limit

__all__ = ["CASES"]


def _make(
    n_documents: int, n_centroids: int, n_probe: int, accepted: float | None, imputing: bool
) -> Callable[..., tuple[Any, ...]]:
    def make(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
        documents, centroids = max(int(n_documents * scale), 40), max(int(n_centroids * scale), n_probe)
        lists = [np.unique(rng.integers(0, documents, rng.poisson(80))) for _ in range(centroids)]
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
        probes = np.array([rng.choice(centroids, n_probe, replace=False) for _ in range(32)])
        scores = -np.sort(-rng.random((32, n_probe)).astype(np.float32), axis=1)
        accept = None if accepted is None else rng.random(documents) < accepted
        missing = scores[:, -1] * np.float32(0.8) if imputing else None
        return probes, scores, offsets, np.concatenate(lists).astype(np.uint32), documents, accept, missing

    return make


def _postings(probes: Any, _scores: Any, offsets: Any, *_: Any) -> float:
    return float((offsets[probes + 1] - offsets[probes]).sum())


def _bytes(*args: Any) -> float:
    """Four bytes of posting, and eight of accumulator read and written."""
    return 20 * _postings(*args)


def _documents(probes: Any, scores: Any, offsets: Any, postings: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per query token its postings and their scores, worst probe first."""
    out = []
    for row, row_scores in zip(probes[:, ::-1], scores[:, ::-1], strict=True):
        lists = [postings[offsets[c] : offsets[c + 1]] for c in row]
        out.append((np.concatenate(lists), np.repeat(row_scores, [len(one) for one in lists])))
    return out


def _numpy(
    probes: Any, scores: Any, offsets: Any, postings: Any, n_documents: int, *_: Any
) -> Callable[[], object]:
    """Later assignments win, so the best probe comes last; then a sum over all documents."""

    def run() -> object:
        total = np.zeros(n_documents, np.float32)
        for documents, values in _documents(probes, scores, offsets, postings):
            best = np.zeros(n_documents, np.float32)
            best[documents] = values
            total += best
        found = np.flatnonzero(total)
        return found, total[found]

    return run


def _torch(
    probes: Any, scores: Any, offsets: Any, postings: Any, n_documents: int, *_: Any
) -> Callable[[], object]:
    import torch

    torch.set_num_threads(1)
    wide = postings.astype(np.int64)

    def run() -> object:
        total = torch.zeros(n_documents)
        for documents, values in _documents(probes, scores, offsets, wide):
            best = torch.zeros(n_documents)
            best.scatter_reduce_(0, torch.from_numpy(documents), torch.from_numpy(values), "amax")
            total += best
        found = torch.nonzero(total)[:, 0]
        return found, total[found]

    return run


def _case(
    n_documents: int, n_centroids: int, n_probe: int, accepted: float | None = None, imputing: bool = False
) -> Case:
    limit: Limit = "cache" if n_documents <= 200_000 else "read"
    kind = "" if accepted is None else f", {accepted:.0%} accepted"
    return Case(
        "gather",
        "gather",
        f"{n_documents} documents, {n_probe} probes{kind}{', imputed' if imputing else ''}",
        _make(n_documents, n_centroids, n_probe, accepted, imputing),
        "postings",
        _postings,
        limit,
        _bytes,
        exact=False,
        peers={} if accepted or imputing else {"numpy": _numpy, "torch": _torch},
    )


CASES = [
    _case(5_000, 4096, 32),
    _case(100_000, 8192, 32),
    _case(100_000, 8192, 32, 0.1),
    _case(100_000, 8192, 32, None, True),
    _case(1_000_000, 16384, 32),
    _case(1_000_000, 16384, 8),
    _case(4_000_000, 16384, 32, 0.5, True),
]
