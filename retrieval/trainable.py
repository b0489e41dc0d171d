"""What can be trained, and whether it has been: asked before anything is encoded or written."""

from __future__ import annotations

from retrieval.config import IndexConfig, RecipeConfig
from retrieval.errors import ConfigError
from retrieval.presets import check_kind, check_options, check_stored
from retrieval.quantize import GivenCodec, ResidualCodec, check_given, codec_settings
from retrieval.reduce import check_spec, reduced_dim
from retrieval.storage import CodecRecord
from retrieval.training import KEPT, stores
from retrieval.types import EncoderKind

__all__ = ["check_residual", "check_trainable", "is_trained", "is_trained_later", "taking"]

CODES = ("index", "reduce", "codec", "bits", "m", "nbits", "ncentroids", "buckets")
"""Settings of a recipe that decide what residual codes are."""


def check_trainable(config: IndexConfig, kind: EncoderKind, dim: int) -> None:
    """Refuse early what could only fail when all documents are in.

    Raises:
        ConfigError: a recipe for one vector a document, in an index with one a token, or the other way
            round; one that cannot be made of vectors of ``dim``.
    """
    check_spec(config.recipe.reduce, dim)
    check_options(config.recipe, dim)
    check_kind(config.recipe, kind)
    check_stored(config)


def taking(config: IndexConfig, codec: GivenCodec | None, dim: int) -> IndexConfig:
    """The configuration with the codes that a codec makes which was trained elsewhere.

    With a search (index flat, ivf, hnsw or tokens) these are the codes that it scans, after the reducers.
    Bytes, which the index tokens does not scan, and without a search, are the stored vectors, with the
    precision int8.

    Raises:
        ConfigError: nothing of the configuration is coded so, or vectors of another dimension.
    """
    if codec is None:
        return config
    recipe = config.recipe
    if config.precision == "int8" and stores(codec, recipe):
        check_given(codec, dim)
        return config
    if recipe.index == "exact":
        raise ConfigError(
            "index=exact takes no codec trained elsewhere but one of int8 with the precision int8: choose "
            "the index flat, ivf, hnsw or tokens"
        )
    if recipe.index not in ("flat", "ivf", "hnsw", "tokens"):
        raise ConfigError(
            "a codec trained elsewhere is for the indexes flat, ivf, hnsw and tokens, not for "
            f"index={recipe.index}"
        )
    if isinstance(codec, ResidualCodec) is not (recipe.index == "tokens"):
        raise ConfigError(
            f"index={recipe.index} takes no such codec: what residual_from_arrays makes is for the index "
            "tokens, which otherwise takes only what int8_from_arrays makes, with the precision int8"
        )
    check_given(codec, reduced_dim(recipe.reduce, dim))
    return config.replace(recipe=recipe.replace(**codec_settings(codec)))


def check_residual(record: CodecRecord, wanted: IndexConfig, *, retrain: bool) -> None:
    """Refuse to train codes where there are only codes to learn from.

    Raises:
        ConfigError: other codes than those that are stored, or the same trained anew.
    """
    if record.config["precision"] != "residual" or wanted.stored_precision != "residual":
        return
    stored = RecipeConfig.of(**record.config["recipe"])
    changed = [name for name in CODES if getattr(stored, name) != getattr(wanted.recipe, name)]
    if changed or retrain:
        told = f"{changed[0]}={getattr(wanted.recipe, changed[0])}" if changed else "training again"
        raise ConfigError(
            f"{told}: the precision residual keeps nothing but codes, and what codes have lost cannot be "
            "learned from; build the index anew, or convert it first (--precision float16)"
        )


def is_trained_later(config: IndexConfig) -> bool:
    """Whether a build with this configuration has something to train when its documents are in."""
    return config.recipe.index != "exact" or config.precision in ("int8", "residual")


def is_trained(record: CodecRecord, config: IndexConfig) -> bool:
    """Whether that has been done."""
    recipe = record.config.get("recipe")
    if config.precision not in ("auto", record.config["precision"]):
        return False
    if recipe is not None and config.recipe.index == "auto":
        stored = RecipeConfig.of(**recipe)
        same = all(getattr(stored, name) == getattr(config.recipe, name) for name in KEPT)
        return same and "doctor" in (record.quality or {})
    if recipe is None or config.recipe.index == "exact":  # whose other settings decide nothing
        return recipe is None and config.recipe.index == "exact"
    return RecipeConfig.of(**recipe) == config.recipe
