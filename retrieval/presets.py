"""Recipes by name, and as a person writes them: a preset, changed by single settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError

__all__ = ["PRESETS", "recipe_of"]

PRESETS: dict[str, dict[str, Any]] = {
    "exact": {"index": "exact"},
    "fast": {"index": "ivf", "codec": "bits", "bits": 1, "recall_target": 0.95},
    "accurate": {"index": "ivf", "codec": "bits", "bits": 4, "recall_target": 0.99},
    "small": {"index": "ivf", "reduce": "leanvec:192", "codec": "bits", "bits": 1, "recall_target": 0.9},
    "graph": {"index": "hnsw", "codec": "int8", "recall_target": 0.99},
}
"""Recipes by name: what a person chooses from, and changes with single settings."""


def recipe_of(preset: str | None, changes: Sequence[str] | None) -> RecipeConfig | None:
    """The recipe of a preset's name with ``NAME=VALUE`` settings changed; None where neither was given.

    Raises:
        ConfigError: an unknown preset or setting, or a value that cannot work.
    """
    if preset is None and not changes:
        return None
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; choose from {', '.join(PRESETS)}")
    values: dict[str, Any] = dict(PRESETS[preset]) if preset is not None else {}
    for change in changes or ():
        name, equals, value = change.partition("=")
        if not equals or name not in RecipeConfig.model_fields:
            known = ", ".join(RecipeConfig.model_fields)
            raise ConfigError(f"the setting {change!r}: write NAME=VALUE, with NAME one of {known}")
        values[name] = _value(value)
    return RecipeConfig.of(**values)


def _value(text: str) -> Any:
    """Numbers and lists as JSON has them; everything else is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
