"""The choice of links in plain NumPy: the definition.

Subramanya et al., DiskANN: fast accurate billion-point nearest neighbor search on a single node (NeurIPS
2019): a candidate is left out where one that was chosen lies closer to it by some factor than the vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["choose_links"]


def choose_links(
    values: FloatArray,
    ordinals: IntArray,
    candidates: NDArray[np.int32],
    alpha: float,
    most: int,
    threads: int = 1,
) -> NDArray[np.int32]:
    """At most ``most`` links of each of the vectors ``ordinals`` ``(m,)``: ``(m, most)`` int32, nearest
    first, -1 behind the last.

    ``values`` ``(n, d)`` float32; ``candidates`` ``(m, c)`` int32, -1 for none, in any order, may come twice
    and name the vector itself. They are taken by distance, ties by ordinal; one is left out where ``alpha``
    times its squared distance to one that was chosen is not above that to the vector. So of equal vectors
    one is chosen. Distances are added up in float32, here in float64.

    Raises:
        ValueError: a type or shape that does not fit, an ordinal of no vector, or ``most`` below 1.
    """
    wide = values.astype(np.float64)
    links = np.full((len(ordinals), most), -1, np.int32)
    for row, (ordinal, given) in enumerate(zip(ordinals, candidates, strict=True)):
        some = np.unique(given[(given >= 0) & (given != ordinal)])
        distances = np.square(wide[some] - wide[ordinal]).sum(axis=1)
        chosen: list[int] = []
        for i in np.argsort(distances, kind="stable"):
            apart = np.square(wide[chosen] - wide[some[i]]).sum(axis=1)
            if len(chosen) < most and not (np.float32(alpha) * apart <= distances[i]).any():
                chosen.append(int(some[i]))
        links[row, : len(chosen)] = chosen
    return links
