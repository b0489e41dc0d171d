"""The trained search that a recipe asks for, and the one that an index holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError, IndexFormatError
from retrieval.index.base import Arrays
from retrieval.index.fold_pipeline import FoldPipeline
from retrieval.index.pipeline import Pipeline
from retrieval.index.searcher import Searcher
from retrieval.index.token_pipeline import TokenPipeline
from retrieval.quantize import Codec, GivenCodec, ResidualCodec
from retrieval.reduce import split_spec
from retrieval.types import Metric, Ragged

__all__ = ["fit_searcher", "searcher_from_state"]

LATE = ("maxsim", "meanmaxsim")


def fit_searcher(
    sample: Ragged,
    n: int,
    n_tokens: int,
    recipe: RecipeConfig,
    metric: Metric,
    queries: Ragged | None = None,
    threads: int = 1,
    codec: GivenCodec | None = None,
    stored: Codec | None = None,
) -> Searcher:
    """Train a recipe on prepared documents for an index of about ``n`` of ``n_tokens``; ``queries`` are
    prepared too, ``codec`` was trained elsewhere: of tokens for the index of tokens, else of vectors;
    ``stored`` is that of the documents' vectors.

    Raises:
        ConfigError: a recipe that cannot be made of such vectors.
    """
    of_tokens, of_vectors = (codec, None) if isinstance(codec, ResidualCodec) else (None, codec)
    if metric not in LATE:
        asked = None if queries is None else queries.values
        return Pipeline.fit(sample.values, n, recipe, metric, asked, threads, of_vectors, stored)
    if recipe.index == TokenPipeline.kind:
        return TokenPipeline.fit(sample, n_tokens, recipe, metric, queries, threads, of_tokens)
    if split_spec(recipe.reduce).fold is None:
        raise ConfigError(
            f"index={recipe.index} needs one vector a document, and there is one a token: "
            "set reduce=muvera:10240 or index=tokens"
        )
    return FoldPipeline.fit(sample, n, recipe, metric, queries, threads, of_vectors)


def searcher_from_state(config: Mapping[str, Any], arrays: Arrays) -> Searcher:
    """The trained search that ``state()`` described.

    Raises:
        IndexFormatError: a part that this version does not know.
        IndexDamagedError: arrays that do not fit.
    """
    kind = config.get("kind")
    if kind is None:
        return Pipeline.from_state(config, arrays)
    for known in (TokenPipeline, FoldPipeline):
        if kind == known.kind:
            return known.from_state(config, arrays)
    raise IndexFormatError(f"the index is searched by {kind!r}, unknown to this version; upgrade")
