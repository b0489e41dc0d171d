"""From a recipe to what is frozen in a codec generation."""

from __future__ import annotations

import numpy as np

from retrieval.building import threads_to_use
from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError
from retrieval.index import TokenPipeline, TokensIndex, fit_searcher
from retrieval.quantize import Codec, FloatCodec, GivenCodec, Int8Codec, ResidualCodec
from retrieval.storage import Snapshot, Trained
from retrieval.types import Precision, Ragged

__all__ = ["fit", "stores"]

BLOCK = 16384
"""Vectors decoded at a time when all are read."""


def fit(
    snapshot: Snapshot,
    sample: Ragged,
    recipe: RecipeConfig,
    precision: Precision,
    queries: Ragged | None,
    given: GivenCodec | None = None,
) -> Trained:
    """Train the codec of the stored vectors and, unless everything is to be scored, the search.

    ``sample`` are documents of the index, whose numbers are overwritten by what storing leaves of them (it
    is the largest array there is: a copy would double the memory of training); ``queries`` are prepared ones,
    for reducers that use them; ``given`` was trained elsewhere: vectors are stored by it where that can be
    (`stores`), else the search codes by it.

    Raises:
        ConfigError: nothing to train on, or a recipe that cannot be made of such vectors.
    """
    threads, metric = threads_to_use(), snapshot.record.metric
    tokens = sum(int(view.offsets[-1]) for view in snapshot.segments)
    if recipe.index != "exact" and not len(sample.values):
        raise ConfigError("there are no documents to train on; add some first")
    if precision == "residual" and precision != snapshot.record.config["precision"]:
        tokens_codec = given if isinstance(given, ResidualCodec) else None
        coded = TokenPipeline.fit(sample, tokens, recipe, metric, None, threads, tokens_codec)
        return Trained(coded.index.codec, coded)
    codec = given if given is not None and stores(given, recipe) else _stored_codec(snapshot, precision)
    if recipe.index == "exact":
        return Trained(codec)
    if isinstance(codec, ResidualCodec):  # coding its codes again would lose a little every time
        return Trained(codec, TokenPipeline(None, TokensIndex(codec), metric))
    # What is searched are the vectors as stored: train on what storing leaves of them.
    for first in range(0, len(sample.values), BLOCK):
        some = sample.values[first : first + BLOCK]
        some[:] = codec.decode(codec.encode(some))
    rest = recipe, metric, queries, threads, given, codec
    return Trained(codec, fit_searcher(sample, len(snapshot), tokens, *rest))


def stores(given: GivenCodec, recipe: RecipeConfig) -> bool:
    """Whether a codec trained elsewhere is for the stored vectors (with the precision int8): nothing that
    such a recipe searches could be coded by it."""
    return isinstance(given, Int8Codec) and recipe.index in ("exact", TokensIndex.name)


def _stored_codec(snapshot: Snapshot, precision: Precision) -> Codec:
    """The one there is where the precision stays: to code bytes again would lose a little every time."""
    if precision == snapshot.record.config["precision"]:
        return snapshot.codec
    return FloatCodec(precision) if precision != "int8" else _calibrated(snapshot)


def _calibrated(snapshot: Snapshot) -> Int8Codec:
    """The range of every dimension over all documents: a sample would clip the others."""
    low = np.full(snapshot.record.dim, np.inf, dtype=np.float32)
    high = -low
    for view in snapshot.segments:
        alive = None if view.live is None else np.repeat(view.live, np.diff(view.offsets))
        for first in range(0, len(view.codes), BLOCK):
            values = snapshot.codec.decode(view.codes[first : first + BLOCK])
            kept = values if alive is None else values[alive[first : first + BLOCK]]
            np.minimum(low, kept.min(axis=0, initial=np.inf), out=low)
            np.maximum(high, kept.max(axis=0, initial=-np.inf), out=high)
    if not (low <= high).all():
        raise ConfigError("int8 is calibrated on documents, and there are none; add some first")
    return Int8Codec(low, high - low)
