"""From a request's words to an index's configuration, and how two of them differ."""

from __future__ import annotations

from typing import Any

from retrieval import PRESETS, Encoder, EncoderConfig, IndexConfig, IndexInfo, RecipeConfig, recipe_of
from retrieval.encode import GIVEN, GivenVectors
from retrieval.encode.documents import check_pooling
from retrieval.errors import ConfigError
from retrieval.trainable import check_trainable
from retrieval.training import KEPT
from retrieval.types import EncoderKind
from server.collections.models import Models
from server.collections.refusals import refusal, refusing
from server.schemas.collections import CollectionConfig, Conversion

__all__ = ["check_fit", "check_pooled", "differences", "given_vectors_of", "index_config", "wanted_recipe"]

Difference = dict[str, Any]
_GIVEN_SETTINGS = ("dim", "kind", "metric", "model")


def given_vectors_of(asked: CollectionConfig) -> GivenVectors | None:
    """What stands for the model where documents bring their vectors; None where there is one.

    Raises:
        ProblemError: 422 bad_config.
    """
    values = {name: getattr(asked, name) for name in _GIVEN_SETTINGS if getattr(asked, name) is not None}
    if asked.encoder != GIVEN:
        if values:
            told = f"{min(values)} is for vectors that documents bring; set 'encoder' to '{GIVEN}'"
            raise refusal(ConfigError(told), f"/{min(values)}")
        return None
    if asked.dim is None:
        raise refusal(ConfigError("of given vectors it must be said how many numbers each has"), "/dim")
    with refusing("/metric"):
        return GivenVectors(**values)


def index_config(asked: CollectionConfig) -> IndexConfig:
    """How the collection is to be stored and found.

    Raises:
        ProblemError: 422 bad_config.
    """
    recipe = wanted_recipe(asked, None)
    with refusing("", ("precision", "pooling")):
        config = IndexConfig.of(precision=asked.precision, pooling=asked.pooling)
        return config if recipe is None else config.replace(recipe=recipe)


def wanted_recipe(asked: CollectionConfig | Conversion, base: RecipeConfig | None) -> RecipeConfig | None:
    """The recipe of a request's preset and settings, the latter over ``base`` where there is no preset; None
    where it has neither.

    Raises:
        ProblemError: 422 bad_config.
    """
    if asked.preset is not None and asked.preset not in PRESETS:
        told = f"there is no preset {asked.preset!r}; choose from {', '.join(PRESETS)}"
        raise refusal(ConfigError(told), "/preset")
    with refusing("/recipe" if asked.recipe else "/preset", asked.recipe or ()):
        return recipe_of(asked.preset, asked.recipe, base)


def check_fit(asked: CollectionConfig | Conversion, config: IndexConfig, kind: EncoderKind, dim: int) -> None:
    """Refuse at once what could only fail when it is trained.

    Raises:
        ProblemError: 422 bad_config.
    """
    try:
        check_trainable(config, kind, dim)
    except ConfigError as error:
        about_precision = str(error).startswith("precision")
        pointer = "/precision" if about_precision else "/recipe" if asked.recipe else "/preset"
        raise refusal(error, pointer, asked.recipe or ()) from None


def check_pooled(config: IndexConfig, encoder: Encoder) -> None:
    """Refuse a pooling that this encoder's documents cannot have.

    Raises:
        ProblemError: 422 bad_config.
    """
    with refusing("/pooling"):
        check_pooling(config.pooling, encoder)


def differences(
    info: IndexInfo, encoder: EncoderConfig | GivenVectors, config: IndexConfig, models: Models
) -> list[Difference]:
    """Where an index differs from what is asked for: each with ``pointer``, ``stored`` and ``given``."""
    stored = IndexConfig.of(**info.config)
    given = config.resolve("dense" if info.kind == "dense" else "late")
    found = _encoder_differences(info, encoder, models)
    for name in ("precision", "pooling"):
        found += _difference(f"/{name}", getattr(stored, name), getattr(given, name))
    for name in _compared(given.recipe, info):
        found += _difference(f"/recipe/{name}", getattr(stored.recipe, name), getattr(given.recipe, name))
    return found


def _compared(given: RecipeConfig, info: IndexInfo) -> list[str]:
    """The settings that count. Where the doctor chose the recipe, what he chose is what was asked for."""
    chosen = given.index == "auto" and "doctor" in (info.quality or {})
    return list(KEPT if chosen else RecipeConfig.model_fields)


def _encoder_differences(
    info: IndexInfo, encoder: EncoderConfig | GivenVectors, models: Models
) -> list[Difference]:
    own = GivenVectors.of(info.fingerprint)
    if isinstance(encoder, GivenVectors):
        if own is None:
            return _difference("/encoder", models.name_of(info.encoder), GIVEN)
        pairs = [(name, getattr(own, name), getattr(encoder, name)) for name in _GIVEN_SETTINGS]
        return [found for name, *two in pairs for found in _difference(f"/{name}", *two)]
    given_name = models.name_of(encoder.model_dump())
    if info.encoder is None:
        return _difference("/encoder", None if own is None else GIVEN, given_name)
    stored, found = EncoderConfig.of(**info.encoder), []
    if stored.name != encoder.name:
        found += _difference("/encoder/name", models.name_of(info.encoder) or stored.name, given_name)
    for name in EncoderConfig.model_fields:
        if name != "name":
            found += _difference(f"/encoder/{name}", getattr(stored, name), getattr(encoder, name))
    return found


def _difference(pointer: str, stored: Any, given: Any) -> list[Difference]:
    return [] if stored == given else [{"pointer": pointer, "stored": stored, "given": given}]
