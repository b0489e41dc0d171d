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

    A ranking maps ids to scores. ``rrf`` adds ``weight / (60 + rank)``, ranks from 1, the same for equal
    scores; ``minmax`` adds weights times scores, carried so that each ranking's worst is 0 and its best 1;
    ``zscore`` times scores less their mean, over their standard deviation. What a ranking lacks counts as its
    worst (``rrf``: as nothing). Where all scores are the same, they count 1 by ``minmax``, 0 by ``zscore``.

    Of two rankings ``rrf`` often makes ties (first and second here, second and first there), which ids then
    break; scores do not, and do better on the collections of the README.
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
    scores = np.fromiter(ranking.values(), dtype=np.float64, count=len(ranking))
    if how == "rrf":
        better = np.searchsorted(np.sort(-scores), -scores)
        return 1.0 / (RRF_K + 1.0 + better.astype(np.float64))
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.full(len(ranking), 1.0 if how == "minmax" else 0.0)
    middle, size = (low, high - low) if how == "minmax" else (float(scores.mean()), float(scores.std()))
    scaled: NDArray[np.float64] = (scores - middle) / size
    return scaled
