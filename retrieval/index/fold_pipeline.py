"""How documents of many vectors are found by one: fold them, then a pipeline of single vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from retrieval.config import RecipeConfig
from retrieval.index.base import Arrays
from retrieval.index.checking import check_keys, under
from retrieval.index.pieces import Pieces
from retrieval.index.pipeline import OneVector, Pipeline
from retrieval.quantize import Codec, VectorCodec
from retrieval.reduce import Reducer, fit_reducer, reducer_from_state, split_spec
from retrieval.reduce.folding import Fold, fit_fold, fold_from_state
from retrieval.types import FloatArray, IntArray, Metric, Ragged

__all__ = ["FoldPipeline"]


LEAST_FOLDED, FOLDED_BYTES = 4096, 512 << 20
"""Documents that the index over the folds is trained on: fewer where these are long."""


class FoldPipeline:
    """A reducer of token vectors (None: as they are), a fold, and a pipeline over what it gives, by inner
    products."""

    kind: ClassVar[str] = "fold"
    keeps_nothing: ClassVar[bool] = False
    is_bounded: ClassVar[bool] = False

    def __init__(self, reducer: Reducer | None, fold: Fold, vectors: Pipeline, metric: Metric) -> None:
        self.reducer, self.fold, self.vectors, self.metric = reducer, fold, vectors, metric

    @classmethod
    def fit(
        cls,
        sample: Ragged,
        n: int,
        recipe: RecipeConfig,
        metric: Metric,
        queries: Ragged | None = None,
        threads: int = 1,
        codec: VectorCodec | None = None,
    ) -> Self:
        """Train on documents for an index of about ``n``; ``queries`` tell what will be asked; ``codec`` was
        trained elsewhere, and takes the place of the recipe's.

        Raises:
            ConfigError: a recipe that cannot be made of such vectors.
        """
        split = split_spec(recipe.reduce)
        assert split.fold is not None  # who has none takes another pipeline
        asked = None if queries is None else queries.values
        reducer = fit_reducer(split.before, sample.values, asked, recipe.seed)
        if reducer is not None:
            sample = Ragged(reducer.transform_documents(sample.values), sample.offsets)
            if queries is not None:
                queries = Ragged(reducer.transform_queries(queries.values), queries.offsets)
        options = recipe.model_dump()
        fold = fit_fold(split.fold, sample, split.dim, queries, options, recipe.seed, threads)
        most = max(LEAST_FOLDED, FOLDED_BYTES // (4 * split.dim))  # folds are long
        some = sample.offsets[: most + 1]
        folded = fold.transform_documents(Ragged(sample.values[: some[-1]], some))
        asked = None if queries is None else fold.transform_queries(queries)
        inner = recipe.replace(reduce=split.after)
        return cls(reducer, fold, Pipeline.fit(folded, n, inner, "dot", asked, threads, codec), metric)

    @property
    def nlist(self) -> int:
        """See `Searcher`."""
        return self.vectors.nlist

    def arrange(self, vectors: Iterable[Ragged], n: int) -> Pieces:
        """See `Searcher.arrange`."""
        return self.vectors.arrange(self._folded(vectors), n)

    def _folded(self, vectors: Iterable[Ragged]) -> Iterator[Ragged]:
        for block in vectors:
            yield Ragged.from_matrix(self.fold.transform_documents(self._documents(block)))

    def _documents(self, block: Ragged) -> Ragged:
        if self.reducer is None:
            return block
        return Ragged(self.reducer.transform_documents(block.values), block.offsets)

    def attach(self, arrays: Arrays, offsets: IntArray, rows: NDArray[Any], codec: Codec) -> OneVector:
        """See `Searcher.attach`."""
        return self.vectors.attach(arrays, offsets, rows, codec)

    def reduce_queries(self, queries: Ragged) -> Ragged:
        """See `Searcher.reduce_queries`: one vector a query."""
        if self.reducer is not None:
            queries = Ragged(self.reducer.transform_queries(queries.values), queries.offsets)
        folded: FloatArray = self.fold.transform_queries(queries)
        return self.vectors.reduce_queries(Ragged.from_matrix(folded))

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays."""
        fold_config, fold_arrays = self.fold.state()
        own, vector_arrays = self.vectors.state()
        config: dict[str, Any] = {
            "kind": self.kind,
            "metric": self.metric,
            "fold": {"name": self.fold.name, "config": fold_config},
            "vectors": own,
            "reducer": None,
        }
        arrays = {f"fold/{name}": array for name, array in fold_arrays.items()}
        arrays |= {f"vectors/{name}": array for name, array in vector_arrays.items()}
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
        check_keys(config, {"kind", "metric", "fold", "vectors", "reducer"}, "trained search")
        stored, reducer = config["reducer"], None
        if stored is not None:
            reducer = reducer_from_state(stored["name"], stored["config"], under(arrays, "reducer"))
        fold = fold_from_state(config["fold"]["name"], config["fold"]["config"], under(arrays, "fold"))
        return cls(
            reducer, fold, Pipeline.from_state(config["vectors"], under(arrays, "vectors")), config["metric"]
        )
