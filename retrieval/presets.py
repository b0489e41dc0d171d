"""Recipes by name, and as a person writes them: a preset, changed by single settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retrieval.config import IndexConfig, RecipeConfig
from retrieval.errors import ConfigError
from retrieval.reduce import reduced_dim, split_spec
from retrieval.reduce.fde import Muvera, muvera_shape
from retrieval.types import EncoderKind

__all__ = ["PRESETS", "check_kind", "check_options", "check_stored", "recipe_of"]

PRESETS: dict[str, dict[str, Any]] = {
    "exact": {"index": "exact"},
    "fast": {"index": "ivf", "codec": "bits", "bits": 1, "recall_target": 0.95},
    "accurate": {"index": "ivf", "codec": "bits", "bits": 4, "scan_bits": 1, "recall_target": 0.99},
    "small": {"index": "ivf", "reduce": "leanvec:192", "codec": "bits", "bits": 1, "recall_target": 0.9},
    "graph": {"index": "vamana", "recall_target": 0.99},
    "tokens": {"index": "tokens", "codec": "none", "recall_target": 0.95},
    "codes": {"index": "tokens", "codec": "pq", "m": 32, "recall_target": 0.95},
    "muvera": {"index": "ivf", "reduce": "muvera:10240", "codec": "bits", "bits": 4, "recall_target": 0.95},
    "lemur": {"index": "ivf", "reduce": "lemur:512", "codec": "bits", "bits": 4, "recall_target": 0.95},
    "auto": {"index": "auto"},
}
"""Recipes by name: what a person chooses from, and changes with single settings."""


_READ_BY = {
    "codec": ("index", ("flat", "ivf", "hnsw", "tokens")),
    "bits": ("codec", ("bits",)),
    "buckets": ("codec", ("bits", "ternary")),
    "ncentroids": ("index", ("tokens",)),
    "reps": ("fold", ("muvera",)),
    "ksim": ("fold", ("muvera",)),
    "proj_dim": ("fold", ("muvera",)),
    "scan_bits": ("codec", ("bits",)),
    "m": ("codec", ("pq", "opq")),
    "nbits": ("codec", ("pq", "opq")),
    "nlist": ("index", ("ivf",)),
    "residual": ("index", ("ivf",)),
    "m_links": ("index", ("hnsw", "vamana")),
    "ef_construction": ("index", ("hnsw", "vamana")),
    "funnel": ("index", ("funnel",)),
}
"""Setting -> the other one that decides whether it means anything, and with which values it does."""
_ELSEWHERE = {
    "pooling": "tokens are pooled before they are stored, which is decided when the index is made (build "
    "--pooling); build another",
    "precision": "give --precision",
}
"""Settings that a person may look for in a recipe, and where they are."""
_GRAPH_CODECS = ("int8", "float16")
_TOKEN_CODECS = ("none", "pq", "bits", "ternary")


def check_kind(recipe: RecipeConfig, kind: EncoderKind) -> None:
    """Refuse a recipe for vectors of the other kind.

    Raises:
        ConfigError: it is for one vector a document, and there is one a token, or the other way round.
    """
    fold = split_spec(recipe.reduce).fold
    if recipe.index in ("exact", "auto"):
        return
    if kind == "dense" and (recipe.index == "tokens" or fold is not None):
        told = "index=tokens" if recipe.index == "tokens" else f"reduce={recipe.reduce}"
        raise ConfigError(
            f"the recipe {told} is for one vector a token (late interaction), and here is one a document "
            f"(dense); choose from the presets {_presets_for(kind)}"
        )
    if kind == "late" and recipe.index != "tokens" and fold is None:
        raise ConfigError(
            f"the recipe index={recipe.index} is for one vector a document (dense), and here is one a token "
            f"(late interaction); choose from the presets {_presets_for(kind)}, "
            "or make one vector of many by reduce=muvera:10240"
        )
    if recipe.index == "tokens" and fold is not None:
        raise ConfigError(f"reduce={recipe.reduce} leaves no tokens for index=tokens; leave {fold} out")


def check_stored(config: IndexConfig) -> None:
    """Refuse a precision that the recipe cannot store.

    Raises:
        ConfigError: residual without the index of tokens that trains the codes, or with a reducer.
    """
    recipe = config.recipe
    if config.precision != "residual":
        return
    if recipe.index != "tokens" or recipe.reduce != "none":
        raise ConfigError(
            f"precision residual stores the codes of index=tokens with reduce=none, not of "
            f"index={recipe.index} with reduce={recipe.reduce}"
        )
    if recipe.codec == "none":
        raise ConfigError("precision residual needs codes: set codec=pq or codec=bits")


def _presets_for(kind: EncoderKind) -> str:
    """Names of the presets for vectors of one kind."""
    fitting = []
    for name, values in PRESETS.items():
        recipe = RecipeConfig.of(**values)
        is_late = recipe.index == "tokens" or split_spec(recipe.reduce).fold is not None
        if recipe.index in ("exact", "auto") or is_late == (kind == "late"):
            fitting.append(name)
    return ", ".join(fitting)


def check_options(recipe: RecipeConfig, dim: int) -> None:
    """Refuse what could not be trained on vectors of ``dim``.

    Raises:
        ConfigError: a codec that the index cannot use, or lengths that do not fit.
    """
    if recipe.index == "hnsw" and recipe.codec not in _GRAPH_CODECS:
        raise ConfigError(
            f"codec={recipe.codec}: the index hnsw takes {' or '.join(_GRAPH_CODECS)}; set one of these"
        )
    if recipe.index == "tokens" and (recipe.codec not in _TOKEN_CODECS or recipe.bits > 4):
        told = f"codec={recipe.codec}" if recipe.codec not in _TOKEN_CODECS else f"bits={recipe.bits}"
        raise ConfigError(f"{told}: the index tokens takes {', '.join(_TOKEN_CODECS)}, of 1, 2 or 4 bits")
    if recipe.index in ("flat", "ivf") and recipe.codec in ("ternary", "none"):
        raise ConfigError(
            f"codec={recipe.codec} is for index=tokens; choose bits, pq, opq, int8, float16 or sign"
        )
    if recipe.index == "funnel" and any(not 1 <= length < dim for length in recipe.funnel):
        raise ConfigError(f"funnel={list(recipe.funnel)}: prefixes of vectors of {dim} are shorter than that")
    if recipe.index == "funnel" and (fold := split_spec(recipe.reduce).fold) is not None:
        raise ConfigError(f"the index funnel searches stored vectors, and {fold} leaves none; choose flat")
    split = split_spec(recipe.reduce)
    if split.fold == Muvera.name:
        muvera_shape(split.dim, reduced_dim(split.before, dim), recipe.model_dump())
    left = reduced_dim(recipe.reduce, dim)
    if recipe.codec in ("pq", "opq") and recipe.index in ("flat", "ivf", "tokens") and (recipe.m or 1) > left:
        raise ConfigError(f"m={recipe.m}: there are only {left} dimensions to divide")


def recipe_of(
    preset: str | None,
    changes: Sequence[str] | Mapping[str, Any] | None,
    base: RecipeConfig | None = None,
) -> RecipeConfig | None:
    """The recipe of a preset's name with settings changed (texts ``NAME=VALUE``, or values by name); None
    where neither was given.

    Without a preset, ``base`` is changed: the recipe that an index has already.

    Raises:
        ConfigError: an unknown preset or setting, a value that cannot work, or a setting that would
            change nothing.
    """
    if preset is None and not changes:
        return None
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; choose from {', '.join(PRESETS)}")
    values: dict[str, Any] = {} if base is None else base.model_dump()
    if preset is not None:
        values = dict(PRESETS[preset])
    named = []
    for name, value in _settings(changes or ()):
        values[name] = value
        named.append(name)
    recipe = RecipeConfig.of(**values)
    for name in named:
        _check_is_read(recipe, name)
    return recipe


def _settings(changes: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    known = ", ".join(RecipeConfig.model_fields)
    for change in changes:
        name, equals, value = change.partition("=")
        if name in _ELSEWHERE:
            raise ConfigError(f"the setting {change!r} is not the recipe's: {_ELSEWHERE[name]}")
        if isinstance(changes, Mapping):
            if change not in RecipeConfig.model_fields:
                raise ConfigError(f"a recipe has no setting {change!r}; there are {known}")
            yield change, changes[change]
            continue
        if not equals or name not in RecipeConfig.model_fields:
            raise ConfigError(f"the setting {change!r}: write NAME=VALUE, with NAME one of {known}")
        yield name, _value(value)


def _check_is_read(recipe: RecipeConfig, name: str) -> None:
    if recipe.index == "exact" and name not in ("index", "recall_target"):
        raise ConfigError(f"{name} means nothing with index=exact; choose a preset, or set index too")
    by, those = _READ_BY.get(name, ("index", (recipe.index,)))
    has = split_spec(recipe.reduce).fold if by == "fold" else getattr(recipe, by)
    if has not in those:
        told = f"reduce={recipe.reduce}" if by == "fold" else f"{by}={has}"
        raise ConfigError(f"{name} means nothing with {told}; it is for {', '.join(those)}")
    if by not in ("index", "fold"):
        _check_is_read(recipe, by)


def _value(text: str) -> Any:
    """Numbers and lists as JSON has them; everything else is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
