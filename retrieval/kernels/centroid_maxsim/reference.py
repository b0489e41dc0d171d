"""MaxSim through a table of centroid scores, in plain NumPy.

    score(D) = sum over q of max over tokens t of D of table[centroid(t), q]

PLAID's centroid interaction (Santhanam et al., CIKM 2022, section 3.2), on integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["centroid_maxsim"]


def centroid_maxsim(
    table: NDArray[Any], centroids: NDArray[Any], offsets: NDArray[Any], ordinals: NDArray[Any] | None = None
) -> NDArray[np.int32]:
    """Score the documents of ``ordinals`` (none: all) by their tokens' centroids alone.

    ``table`` is ``(K, n_q)`` uint8 or int16: a row of scores a centroid. ``centroids`` is
    ``(n_tokens,)`` uint16 or uint32; document ``i`` owns tokens ``offsets[i]:offsets[i + 1]``.
    A document without tokens scores 0. Returns ``(n,)`` int32.
    """
    chosen = range(len(offsets) - 1) if ordinals is None else ordinals
    scores = np.zeros(len(chosen), dtype=np.int32)
    for i, ordinal in enumerate(chosen):
        rows = table[centroids[offsets[ordinal] : offsets[ordinal + 1]]]
        if len(rows):
            scores[i] = rows.max(axis=0).sum(dtype=np.int32)
    return scores
