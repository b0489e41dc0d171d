"""Fewer numbers, nearly the same inner products. One file a kind of reducer, one line in the registry.

Reducers expose their state as values; only ``storage`` touches disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.reduce.base import Arrays, FittableReducer, Reducer
from retrieval.reduce.chain import Chain
from retrieval.reduce.linear import LeanVec, Pca
from retrieval.reduce.matryoshka import LayerNormMatryoshka, Matryoshka
from retrieval.reduce.quality import ReducerError, held_out_error
from retrieval.reduce.registry import REDUCERS, stored_reducer
from retrieval.reduce.sparse import SparseProjection
from retrieval.reduce.spec import Split, check_spec, parsed, reduced_dim, split_spec
from retrieval.types import FloatArray

__all__ = [
    "REDUCERS",
    "Chain",
    "FittableReducer",
    "LayerNormMatryoshka",
    "LeanVec",
    "Matryoshka",
    "Pca",
    "Reducer",
    "ReducerError",
    "SparseProjection",
    "Split",
    "check_spec",
    "fit_reducer",
    "held_out_error",
    "reduced_dim",
    "reducer_from_state",
    "split_spec",
]


def fit_reducer(
    spec: str, sample: FloatArray, queries: FloatArray | None = None, seed: int = 0
) -> Reducer | None:
    """The reducer that a recipe asks for, fitted: ``pca:128``, ``matryoshka:256+pca:128``; None for ``none``.

    ``sample`` is ``(n, d)`` documents, ``queries`` ``(m, d)`` where there are any.

    Raises:
        ConfigError: not such a text, an unknown name, or more dimensions than there are.
        ValueError: a wrong shape, no documents, or values that are not finite.
    """
    parts = parsed(spec)
    if not parts:
        return None
    if len(parts) == 1:
        ((kind, output_dim),) = parts
        return kind.fit(sample, output_dim, queries, seed)
    return Chain.fit(parts, sample, queries, seed)


def reducer_from_state(name: str, config: Mapping[str, Any], arrays: Arrays) -> Reducer:
    """The reducer that ``state()`` described.

    Raises:
        IndexFormatError: no reducer of this name, or one with options unknown to this version.
        IndexDamagedError: its arrays are not what it wrote.
    """
    if name == Chain.name:
        return Chain.from_state(config, arrays)
    return stored_reducer(name).from_state(config, arrays)
