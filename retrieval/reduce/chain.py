"""Reducers in sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.reduce.base import Arrays, FittableReducer, Reducer
from retrieval.reduce.door import unknown_options
from retrieval.reduce.registry import stored_reducer
from retrieval.types import FloatArray

__all__ = ["Chain"]


class Chain:
    """The first reducer's output is the second's input, and so on.

    Raises:
        ConfigError: no reducers, or dimensions that do not follow on each other.
    """

    name: ClassVar[str] = "chain"

    def __init__(self, reducers: Sequence[Reducer]) -> None:
        if not reducers:
            raise ConfigError("a chain of reducers needs at least one")
        for first, second in pairwise(reducers):
            if first.output_dim != second.input_dim:
                raise ConfigError(
                    f"the reducer {second.name} takes {second.input_dim} dimensions and cannot follow "
                    f"{first.name}, which gives {first.output_dim}"
                )
        self._reducers = tuple(reducers)

    @property
    def input_dim(self) -> int:
        """Dimension of what the first one takes."""
        return self._reducers[0].input_dim

    @property
    def output_dim(self) -> int:
        """Dimension of what the last one gives."""
        return self._reducers[-1].output_dim

    @classmethod
    def fit(
        cls,
        parts: Sequence[tuple[type[FittableReducer], int]],
        sample: FloatArray,
        queries: FloatArray | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit each part, given with its output dimension, on what the ones before it make of the sample.

        Raises:
            ConfigError, ValueError: see `FittableReducer.fit`.
        """
        reducers: list[Reducer] = []
        for position, (kind, output_dim) in enumerate(parts):
            if reducers:
                sample = reducers[-1].transform_documents(sample)
                queries = None if queries is None else reducers[-1].transform_queries(queries)
            reducers.append(kind.fit(sample, output_dim, queries, seed + position))
        return cls(reducers)

    def transform_documents(self, values: FloatArray) -> FloatArray:
        """See `Reducer.transform_documents`."""
        for reducer in self._reducers:
            values = reducer.transform_documents(values)
        return values

    def transform_queries(self, values: FloatArray) -> FloatArray:
        """See `Reducer.transform_queries`."""
        for reducer in self._reducers:
            values = reducer.transform_queries(values)
        return values

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """See `Reducer.state`: the array ``documents`` of the second reducer is ``1/documents``."""
        configs: list[dict[str, Any]] = []
        arrays: dict[str, NDArray[Any]] = {}
        for position, reducer in enumerate(self._reducers):
            config, own = reducer.state()
            configs.append({"name": reducer.name, "config": config})
            arrays |= {f"{position}/{key}": array for key, array in own.items()}
        return {"reducers": configs}, arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """See `Reducer.from_state`."""
        parts = config.get("reducers")
        if set(config) != {"reducers"} or not isinstance(parts, list):
            raise unknown_options(cls.name, config)
        reducers: list[Reducer] = []
        for position, part in enumerate(parts):
            if not isinstance(part, dict) or not isinstance(part.get("config"), dict):
                raise unknown_options(cls.name, config)
            own = f"{position}/"
            mine = {key.removeprefix(own): array for key, array in arrays.items() if key.startswith(own)}
            reducers.append(stored_reducer(part.get("name")).from_state(part["config"], mine))
        try:
            return cls(reducers)
        except ConfigError as error:
            raise IndexFormatError(f"the index's reducers do not fit together ({error}); upgrade") from None
