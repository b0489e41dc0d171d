"""Recipes as a person writes them: a preset, changed by single settings; and real queries from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval.config import PRESETS, RecipeConfig
from retrieval.errors import ConfigError, DataError

__all__ = ["read_queries", "recipe_of"]


def recipe_of(preset: str | None, changes: Sequence[str] | None) -> RecipeConfig | None:
    """The recipe of ``--preset NAME`` and ``--set NAME=VALUE``; None where neither was given.

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
            raise ConfigError(f"--set {change!r}: write NAME=VALUE, with NAME one of {known}")
        values[name] = _value(value)
    return RecipeConfig.of(**values)


def _value(text: str) -> Any:
    """Numbers and lists as JSON has them; everything else is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def read_queries(path: Path) -> list[str]:
    """One query a line; of a ``.jsonl`` file the field ``text`` (or ``query``) of each line.

    Raises:
        DataError: a line that holds no query, or a file that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read queries ({error})", str(path)) from None
    queries = list(_queries(path, lines))
    if not queries:
        raise DataError("the file holds no queries", str(path))
    return queries


def _queries(path: Path, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        yield _of_json(line, f"{path}:{number}") if path.suffix == ".jsonl" else line.strip()


def _of_json(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error})", where) from None
    text = row.get("text", row.get("query")) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("no query: the field 'text' is missing or empty", where)
    return text
