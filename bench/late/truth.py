"""The documents that exact MaxSim puts first, computed once and kept; and what an answer is worth by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.late.data import LateData
from bench.peers.late_base import Tokens
from retrieval.evaluate.measures import measure
from retrieval.types import FloatArray, IntArray

__all__ = ["DEPTH", "Truth", "exact", "kept", "ndcg", "recall"]

DEPTH = 1000
BLOCK = 16_384
GROUP = 64
"""Queries whose similarities to a block are held at a time."""
ROUNDING = 2e-5
"""Scores that differ by no more are equal: engines add in different orders."""


@dataclass(frozen=True)
class Truth:
    """``ids`` and ``scores`` ``(m, min(DEPTH, n))`` of each query's documents, best first."""

    ids: IntArray
    scores: FloatArray


def kept(data: LateData, cache: Path) -> Truth:
    """`exact` of the data, from a file of the cache folder."""
    paths = [cache / f"{data.key}-exact-{part}.npy" for part in ("ids", "scores")]
    if not all(path.is_file() for path in paths):
        truth = exact(data.documents, data.queries)
        np.save(paths[0], truth.ids)
        np.save(paths[1], truth.scores)
    return Truth(np.load(paths[0]), np.load(paths[1]))


def exact(documents: Tokens, queries: Tokens, depth: int = DEPTH) -> Truth:
    """Brute force in float32: a matrix product a block of whole documents, the maximum over each
    document's tokens, the sum over each query's."""
    depth = min(depth, len(documents))
    ids = np.zeros((len(queries), 0), dtype=np.int64)
    scores = np.zeros((len(queries), 0), dtype=np.float32)
    for first, end, vectors in documents.blocks(BLOCK):
        starts = documents.offsets[first:end] - documents.offsets[first]
        found = np.concatenate([_scores(vectors, starts, group) for group in _groups(queries)])
        numbers = np.broadcast_to(np.arange(first, end), found.shape)
        scores, ids = np.hstack([scores, found]), np.hstack([ids, numbers])
        if scores.shape[1] > depth:
            chosen = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            scores, ids = np.take_along_axis(scores, chosen, 1), np.take_along_axis(ids, chosen, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return Truth(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))


def _groups(queries: Tokens) -> list[Tokens]:
    groups = []
    for start in range(0, len(queries), GROUP):
        offsets = queries.offsets[start : start + GROUP + 1]
        groups.append(Tokens(queries.values[offsets[0] : offsets[-1]], offsets - offsets[0]))
    return groups


def _scores(vectors: FloatArray, starts: NDArray[Any], queries: Tokens) -> FloatArray:
    """MaxSim ``(queries, documents)`` of a group with a block."""
    similarities = np.asarray(queries.values, dtype=np.float32) @ vectors.T
    best = np.maximum.reduceat(similarities, starts, axis=1)
    scores: FloatArray = np.add.reduceat(best, queries.offsets[:-1], axis=0)
    return scores


def recall(found: Sequence[NDArray[Any]], truth: Truth, k: int) -> float:
    """Mean share of the ``k`` best that is among the first ``k`` of what was found.

    A document that scores as high as the k-th is as good, and one that is given twice counts once.
    """
    k = min(k, truth.ids.shape[1])
    shares = []
    for given, ids, scores in zip(found, truth.ids, truth.scores, strict=True):
        good = ids[scores >= scores[k - 1] - ROUNDING]
        shares.append(min(len(np.intersect1d(np.asarray(given)[:k], good)), k) / k)
    return float(np.mean(shares))


def ndcg(found: Sequence[NDArray[Any]], data: LateData) -> float | None:
    """nDCG@10 by the judgements; None where there are none."""
    if not data.qrels:
        return None
    run = {
        query_id: [(data.document_ids[int(i)], -float(rank)) for rank, i in enumerate(given[:10])]
        for query_id, given in zip(data.query_ids, found, strict=True)
    }
    return measure(data.qrels, run, ["nDCG@10"]).mean["nDCG@10"]
