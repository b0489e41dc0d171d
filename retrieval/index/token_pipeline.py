"""How documents of many vectors are found by their tokens: reduce each, then an index of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.building import threads_to_use
from retrieval.config import RecipeConfig
from retrieval.index.base import Arrays
from retrieval.index.checking import check_keys, under
from retrieval.index.pieces import Pieces
from retrieval.index.token_search import TokenSearch
from retrieval.index.tokens import TokensIndex
from retrieval.quantize import Codec, ResidualCodec
from retrieval.reduce import Reducer, fit_reducer, reducer_from_state
from retrieval.types import FloatArray, IntArray, Metric, Ragged

__all__ = ["TokenPipeline"]


class TokenPipeline:
    """A reducer of token vectors (None: as they are) and an index of tokens."""

    kind: ClassVar[str] = "tokens"
    keeps_nothing: ClassVar[bool] = False
    is_bounded: ClassVar[bool] = False

    def __init__(self, reducer: Reducer | None, index: TokensIndex, metric: Metric) -> None:
        self.reducer, self.index, self.metric = reducer, index, metric

    @classmethod
    def fit(
        cls,
        sample: Ragged,
        n_tokens: int,
        recipe: RecipeConfig,
        metric: Metric,
        queries: Ragged | None = None,
        threads: int = 1,
        codec: ResidualCodec | None = None,
    ) -> Self:
        """Train on documents for an index of about ``n_tokens``; ``queries`` tell reducers what will be
        asked; ``codec`` was trained elsewhere, and takes the place of the recipe's.

        Raises:
            ConfigError: a recipe that cannot be made of such vectors.
        """
        asked = None if queries is None else queries.values
        reducer = fit_reducer(recipe.reduce, sample.values, asked, recipe.seed)
        if codec is not None:
            return cls(reducer, TokensIndex(codec), metric)
        values = sample.values if reducer is None else reducer.transform_documents(sample.values)
        return cls(
            reducer, TokensIndex.fit(values, n_tokens, recipe.model_dump(), recipe.seed, threads), metric
        )

    @property
    def nlist(self) -> int:
        """See `Searcher`."""
        return self.index.ncentroids

    def arrange(self, vectors: Iterable[Ragged], n: int) -> Pieces:
        """See `Searcher.arrange`."""
        return self.index.arrange(self._reduced(vectors), n, threads_to_use())

    def arrange_stored(self, blocks: Iterable[tuple[NDArray[np.uint8], IntArray]], n: int) -> Pieces:
        """As `arrange`, of stored rows of the index's own codec with the offsets of their documents: the
        codes themselves are not kept twice."""
        split = ((self.index.codec.split(rows), offsets) for rows, offsets in blocks)
        return self.index.arrange_coded(split, n)

    def _reduced(self, vectors: Iterable[Ragged]) -> Iterator[Ragged]:
        for block in vectors:
            yield Ragged(self._documents(block.values), block.offsets)

    def _documents(self, values: FloatArray) -> FloatArray:
        return values if self.reducer is None else self.reducer.transform_documents(values)

    def attach(self, arrays: Arrays, offsets: IntArray, rows: NDArray[Any], codec: Codec) -> TokenSearch:
        """See `Searcher.attach`."""
        return self.index.attach(arrays, offsets, rows if isinstance(codec, ResidualCodec) else None)

    def reduce_queries(self, queries: Ragged) -> Ragged:
        """See `Searcher.reduce_queries`."""
        if self.reducer is None:
            return queries
        return Ragged(np.asarray(self.reducer.transform_queries(queries.values)), queries.offsets)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays."""
        own, index_arrays = self.index.state()
        config: dict[str, Any] = {"kind": self.kind, "metric": self.metric, "index": own, "reducer": None}
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
        check_keys(config, {"kind", "metric", "index", "reducer"}, "trained search")
        stored, reducer = config["reducer"], None
        if stored is not None:
            reducer = reducer_from_state(stored["name"], stored["config"], under(arrays, "reducer"))
        index = TokensIndex.from_state(config["index"], under(arrays, "index"))
        return cls(reducer, index, config["metric"])
