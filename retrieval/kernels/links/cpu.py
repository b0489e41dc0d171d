"""The choice of links on the processor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.blocks import over_blocks
from retrieval.types import FloatArray, IntArray

__all__ = ["choose_links"]

BLOCK = 128


def choose_links(
    values: FloatArray,
    ordinals: IntArray,
    candidates: NDArray[np.int32],
    alpha: float,
    most: int,
    threads: int = 1,
) -> NDArray[np.int32]:
    """See `retrieval.kernels.links.reference.choose_links`; the same up to rounding, for any ``threads``."""
    from retrieval.kernels.links.portable import choose

    if values.dtype != np.float32 or values.ndim != 2:
        raise ValueError(f"values are {values.dtype} {values.shape}: they must be float32 (n, d)")
    if ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise ValueError(f"ordinals are {ordinals.dtype} {ordinals.shape}: they must be int64 (m,)")
    if candidates.dtype != np.int32 or candidates.ndim != 2 or len(candidates) != len(ordinals):
        raise ValueError(
            f"candidates are {candidates.dtype} {candidates.shape}: they must be int32 ({len(ordinals)}, c)"
        )
    if most < 1:
        raise ValueError(f"most is {most}: it must be at least 1")
    links = np.empty((len(ordinals), most), np.int32)
    values, ordinals, candidates = plain(values), plain(ordinals), plain(candidates)

    def work(start: int, stop: int) -> None:
        if choose(values, ordinals[start:stop], candidates[start:stop], np.float32(alpha), links[start:stop]):
            raise ValueError(f"an ordinal is of no vector: there are {len(values)}")

    over_blocks(work, len(ordinals), BLOCK, threads)
    return links
