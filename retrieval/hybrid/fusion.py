"""One ranking from several: by reciprocal ranks, or by a weighted sum of normalised scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fusion", "fuse"]

Fusion = Literal["rrf", "minmax", "zscore"]

RRF_K = 60
"""The constant of Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", SIGIR 2009, section 3."""


def fuse(
    rankings: Sequence[Mapping[str, float]], weights: Sequence[float], how: Fusion
) -> list[tuple[str, float]]:
    """Fused scores of all ids of the rankings, score descending, then id ascending.

    A ranking maps ids to scores, best first. ``rrf`` adds ``weight / (60 + rank)``, ranks from 1; ``minmax``
    adds weights times scores that each ranking's worst and best carry to 0 and 1; ``zscore`` those less the
    mean, over the standard deviation. What a ranking lacks counts as its worst (``rrf``: as nothing). Where
    all its scores are the same, they count 1 by ``minmax`` and 0 by ``zscore``.
    """
    totals: dict[str, float] = dict.fromkeys((doc_id for ranking in rankings for doc_id in ranking), 0.0)
    for ranking, weight in zip(rankings, weights, strict=True):
        if not ranking:
            continue
        values = _values(ranking, how)
        worst = float(values.min()) if how == "zscore" else 0.0
        found = dict(zip(ranking, values.tolist(), strict=True))
        for doc_id in totals:
            totals[doc_id] += weight * found.get(doc_id, worst)
    return sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))


def _values(ranking: Mapping[str, float], how: Fusion) -> NDArray[np.float64]:
    """What each document of a ranking gets from it."""
    if how == "rrf":
        return 1.0 / (RRF_K + np.arange(1.0, len(ranking) + 1))
    scores = np.fromiter(ranking.values(), dtype=np.float64, count=len(ranking))
    low, high = float(scores.min()), float(scores.max())
    if how == "zscore":
        low, high = float(scores.mean()), float(scores.mean() + scores.std())
    if high > low:
        return np.divide(scores - low, high - low)
    return np.full(len(ranking), 1.0 if how == "minmax" else 0.0)
