"""The reducers that exist, by name."""

from __future__ import annotations

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.reduce.base import FittableReducer
from retrieval.reduce.linear import LeanVec, Pca
from retrieval.reduce.matryoshka import LayerNormMatryoshka, Matryoshka
from retrieval.reduce.sparse import SparseProjection

__all__ = ["REDUCERS", "asked_reducer", "stored_reducer"]

REDUCERS: dict[str, type[FittableReducer]] = {
    Matryoshka.name: Matryoshka,
    LayerNormMatryoshka.name: LayerNormMatryoshka,
    Pca.name: Pca,
    LeanVec.name: LeanVec,
    SparseProjection.name: SparseProjection,
}


def asked_reducer(name: str) -> type[FittableReducer]:
    """The reducer that a recipe names.

    Raises:
        ConfigError: there is none.
    """
    if name not in REDUCERS:
        raise ConfigError(f"there is no reducer {name!r}; choose from {', '.join(REDUCERS)}")
    return REDUCERS[name]


def stored_reducer(name: object) -> type[FittableReducer]:
    """The reducer that an index names.

    Raises:
        IndexFormatError: this version has none.
    """
    if not isinstance(name, str) or name not in REDUCERS:
        raise IndexFormatError(f"the index uses the reducer {name!r}, unknown to this version; upgrade")
    return REDUCERS[name]
