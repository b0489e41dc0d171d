"""How documents of one vector are found: reduce, then an index over what is left; trained once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.building import threads_to_use
from retrieval.config import RecipeConfig
from retrieval.errors import IndexFormatError
from retrieval.index.base import Arrays, Block, Effort, Found, OneCall, SegmentSearch, VectorIndex
from retrieval.index.checking import under
from retrieval.index.funnel import FunnelIndex
from retrieval.index.ivf_search import IvfSearch
from retrieval.index.pieces import Pieces
from retrieval.index.registry import fit_index, index_from_state
from retrieval.index.vamana_search import VamanaSearch
from retrieval.quantize import Codec, VectorCodec
from retrieval.reduce import Reducer, fit_reducer, reducer_from_state
from retrieval.types import FloatArray, IntArray, Metric, Ragged

__all__ = ["OneVector", "Pipeline"]


class OneVector:
    """A `Probe` of one vector a document."""

    def __init__(self, search: SegmentSearch) -> None:
        self._search = search

    @property
    def in_one_call(self) -> OneCall | None:
        """The search itself, if it may find and score what is stored in one call."""
        return self._search if isinstance(self._search, IvfSearch | VamanaSearch) else None

    def search(self, probes: Ragged, effort: Effort, accept: NDArray[np.bool_] | None = None) -> list[Found]:
        """See `Probe.search`."""
        return self._search.search(probes.values, effort, accept)


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
        codec: VectorCodec | None = None,
        stored: Codec | None = None,
    ) -> Self:
        """Train on prepared document vectors ``(n_sample, d)`` for an index of about ``n``; ``queries``
        ``(m, d)`` tell reducers what will be asked; ``codec`` was trained elsewhere, and takes the place of
        the recipe's; ``stored`` is that of the documents' vectors.

        Raises:
            ConfigError: a recipe that cannot be made of such vectors.
        """
        reducer = fit_reducer(recipe.reduce, sample, queries, recipe.seed)
        reduced = sample if reducer is None else reducer.transform_documents(sample)
        options = {**recipe.model_dump(), "given": codec, "stored": stored if reducer is None else None}
        index = fit_index(recipe.index, reduced, n, options, recipe.seed, threads)
        return cls(reducer, index, metric)

    @property
    def keeps_nothing(self) -> bool:
        """See `Searcher`."""
        return self.index.name == FunnelIndex.name and self.metric != "l2"

    @property
    def is_bounded(self) -> bool:
        """See `Searcher`: where nothing was reduced."""
        return self.reducer is None

    @property
    def nlist(self) -> int:
        """See `Searcher`."""
        return int(getattr(self.index, "nlist", 1))

    def arrange(self, vectors: Iterable[Ragged], n: int) -> Pieces:
        """See `Searcher.arrange`."""
        yield from self.index.arrange(self._blocks(vectors), n, threads_to_use()).items()

    def _blocks(self, vectors: Iterable[Ragged]) -> Iterator[Block]:
        for values in (block.values for block in vectors):
            biases = None
            if self.metric == "l2":
                biases = (-np.einsum("nd,nd->n", values, values) / 2).astype(np.float32)
            yield Block(values if self.reducer is None else self.reducer.transform_documents(values), biases)

    def attach(self, arrays: Arrays, offsets: IntArray, rows: NDArray[Any], codec: Codec) -> OneVector:
        """See `Searcher.attach`."""
        return OneVector(self.index.attach(arrays, len(offsets) - 1, rows, codec))

    def reduce_queries(self, queries: Ragged) -> Ragged:
        """See `Searcher.reduce_queries`."""
        if self.reducer is None:
            return queries
        return Ragged(self.reducer.transform_queries(queries.values), queries.offsets)

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
