"""Part of a corpus: only the documents whose metadata has given values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from retrieval.errors import ConfigError
from retrieval.types import Record

__all__ = ["FilteredCorpus", "Predicate", "parse_where"]

Predicate = Callable[[Mapping[str, Any]], bool]
"""Takes a document's metadata; true keeps the document."""


def parse_where(conditions: Iterable[str]) -> Predicate | None:
    """Conditions like ``lang=en``, all of which must hold; None when there are none.

    A value that is not a string is compared as JSON writes it: ``year=1999``, ``open=true``.

    Raises:
        ConfigError: a condition without a field or an equals sign.
    """
    wanted: dict[str, str] = {}
    for condition in conditions:
        field, equals, value = condition.partition("=")
        if not equals or not field.strip():
            raise ConfigError(f"cannot read the condition {condition!r}; write field=value, like lang=en")
        wanted[field.strip()] = value.strip()
    if not wanted:
        return None
    return lambda metadata: all(_as_text(metadata.get(name)) == value for name, value in wanted.items())


class FilteredCorpus:
    """The records of ``corpus`` that ``where`` keeps; tells the corpus's progress as its own."""

    def __init__(self, corpus: Any, where: Predicate) -> None:
        self._corpus = corpus
        self._where = where

    def __iter__(self) -> Iterator[Record]:
        return (record for record in self._corpus if self._where(record.document.metadata))

    def fraction(self) -> float | None:
        """Share of the input read so far, left-out documents included."""
        fraction: float | None = self._corpus.fraction()
        return fraction


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
