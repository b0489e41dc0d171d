"""How single vectors are found: reduce, then an index over what is left; trained once, then frozen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.config import RecipeConfig
from retrieval.errors import IndexFormatError
from retrieval.index.base import Arrays, Block, SegmentSearch, VectorIndex
from retrieval.index.checking import under
from retrieval.index.funnel import FunnelIndex
from retrieval.index.registry import fit_index, index_from_state
from retrieval.quantize import Codec
from retrieval.reduce import Reducer, fit_reducer, reducer_from_state
from retrieval.types import FloatArray, Metric

__all__ = ["Pipeline"]


class Pipeline:
    """A reducer (None: vectors as they are) and a vector index, for one metric.

    Everything inside is inner products: for l2 a document brings the bias ``-|x|^2 / 2``, which
    orders it as its distance does.
    """

    def __init__(self, reducer: Reducer | None, index: VectorIndex, metric: Metric) -> None:
        self.reducer, self.index, self.metric = reducer, index, metric

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        n: int,
        recipe: RecipeConfig,
        metric: Metric,
        queries: FloatArray | None = None,
        threads: int = 1,
    ) -> Self:
        """Train on prepared document vectors ``(n_sample, d)`` for an index of about ``n``; ``queries``
        ``(m, d)`` tell reducers what will be asked.

        Raises:
            ConfigError: a recipe that cannot be made of such vectors.
        """
        reducer = fit_reducer(recipe.reduce, sample, queries, recipe.seed)
        reduced = sample if reducer is None else reducer.transform_documents(sample)
        index = fit_index(recipe.index, reduced, n, recipe.model_dump(), recipe.seed, threads)
        return cls(reducer, index, metric)

    @property
    def keeps_nothing(self) -> bool:
        """Whether `arrange` gives no arrays, because the stored vectors themselves are searched."""
        return self.index.name == FunnelIndex.name and self.metric != "l2"

    def arrange(self, vectors: Iterable[FloatArray], n: int) -> dict[str, NDArray[Any]]:
        """What a segment of ``n`` documents keeps; ``vectors`` are its stored ones, decoded, in blocks."""
        return self.index.arrange(self._blocks(vectors), n, len(os.sched_getaffinity(0)))

    def _blocks(self, vectors: Iterable[FloatArray]) -> Iterator[Block]:
        for values in vectors:
            biases = None
            if self.metric == "l2":
                biases = (-np.einsum("nd,nd->n", values, values) / 2).astype(np.float32)
            yield Block(values if self.reducer is None else self.reducer.transform_documents(values), biases)

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], codec: Codec) -> SegmentSearch:
        """The search of one segment, from what `arrange` gave and its stored vectors ``rows``.

        Raises:
            IndexDamagedError: they do not fit each other.
        """
        return self.index.attach(arrays, n, rows, codec)

    def reduce_queries(self, queries: FloatArray) -> FloatArray:
        """Prepared queries ``(n, d)`` as the index takes them."""
        return queries if self.reducer is None else self.reducer.transform_queries(queries)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays."""
        index_config, index_arrays = self.index.state()
        config: dict[str, Any] = {
            "metric": self.metric,
            "index": {"name": self.index.name, "config": index_config},
        }
        arrays = {f"index/{name}": array for name, array in index_arrays.items()}
        if self.reducer is not None:
            reducer_config, reducer_arrays = self.reducer.state()
            config["reducer"] = {"name": self.reducer.name, "config": reducer_config}
            arrays |= {f"reducer/{name}": array for name, array in reducer_arrays.items()}
        return config, arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a part that this version does not know.
        """
        unknown = sorted(set(config) - {"metric", "index", "reducer"})
        if unknown:
            raise IndexFormatError(f"the trained search has {unknown[0]!r}, unknown to this version; upgrade")
        reducer = None
        if (stored := config.get("reducer")) is not None:
            reducer = reducer_from_state(stored["name"], stored["config"], under(arrays, "reducer"))
        stored = config["index"]
        index = index_from_state(stored["name"], stored["config"], under(arrays, "index"))
        return cls(reducer, index, config["metric"])
