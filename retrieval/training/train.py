"""From a recipe to what is frozen in a codec generation."""

from __future__ import annotations

import os

import numpy as np

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError
from retrieval.index import Pipeline
from retrieval.quantize import Codec, FloatCodec, Int8Codec
from retrieval.storage import Snapshot, Trained
from retrieval.types import FloatArray, Precision

__all__ = ["fit", "silent"]


def silent(stage: str, fraction: float | None) -> None:
    """Progress that nobody wants to see."""


def fit(
    snapshot: Snapshot,
    sample: FloatArray,
    recipe: RecipeConfig,
    precision: Precision,
    queries: FloatArray | None,
) -> Trained:
    """Train the codec of the stored vectors and, unless everything is to be scored, the search.

    ``sample`` is ``(n, d)`` of the index's vectors, ``queries`` prepared ones, for reducers that use them.

    Raises:
        ConfigError: nothing to train on, or a recipe that cannot be made of such vectors.
    """
    codec = _stored_codec(sample, precision)
    if recipe.index == "exact":
        return Trained(codec)
    if snapshot.record.kind != "dense":
        raise ConfigError(
            f"the recipe {recipe.index!r} is for one vector a document; this index has one a token"
        )
    if len(sample) == 0:
        raise ConfigError("there are no documents to train on; add some first")
    # What is searched are the vectors as stored: train on what storing leaves of them.
    seen = np.asarray(codec.decode(codec.encode(sample)), dtype=np.float32)
    threads = os.cpu_count() or 1
    return Trained(codec, Pipeline.fit(seen, len(snapshot), recipe, snapshot.record.metric, queries, threads))


def _stored_codec(sample: FloatArray, precision: Precision) -> Codec:
    if precision != "int8":
        return FloatCodec(precision)
    if len(sample) == 0:
        raise ConfigError("int8 is calibrated on documents, and there are none; add some first")
    return Int8Codec.fit(sample, {})
