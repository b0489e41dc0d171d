"""Vector indexes by name: adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.index.base import Arrays, VectorIndex
from retrieval.index.coded import CodedFlatIndex
from retrieval.index.funnel import FunnelIndex
from retrieval.index.hnsw import HnswIndex
from retrieval.index.ivf import IvfIndex
from retrieval.index.vamana import VamanaIndex
from retrieval.types import FloatArray

__all__ = ["INDEXES", "fit_index", "index_from_state"]

INDEXES: dict[str, type[VectorIndex]] = {
    index.name: index for index in (CodedFlatIndex, IvfIndex, HnswIndex, VamanaIndex, FunnelIndex)
}


def fit_index(
    name: str, sample: FloatArray, n: int, options: Mapping[str, Any], seed: int = 0, threads: int = 1
) -> VectorIndex:
    """Train an index on reduced vectors ``(n_sample, d)``; ``options`` are a recipe's.

    Raises:
        ConfigError: no index of this name, options that do not suit it, or nothing to train on.
    """
    if name not in INDEXES:
        raise ConfigError(f"the index is {name!r}; choose one of {', '.join(sorted(INDEXES))}")
    if len(sample) == 0:
        raise ConfigError(f"there are no documents to train the index {name} on; use the index exact")
    return INDEXES[name].fit(sample, n, options, seed, threads)


def index_from_state(name: str, config: Mapping[str, Any], arrays: Arrays) -> VectorIndex:
    """The index that ``state()`` described.

    Raises:
        IndexFormatError: no index of this name, or one with options unknown to this version.
        IndexDamagedError: arrays that do not fit.
    """
    if name not in INDEXES:
        raise IndexFormatError(f"the index is searched by {name!r}, unknown to this version; upgrade")
    return INDEXES[name].from_state(config, arrays)
