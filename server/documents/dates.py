"""Dates in JSON are texts: a field that holds dates takes them back as it gave them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import cached_property
from typing import Any

from retrieval.types import Record

__all__ = ["DateFields"]

_LIKE_A_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_LENGTH = 10


class DateFields:
    """Reads ISO 8601 texts as what their field holds, so that a document that was read can be written back.

    ``fields`` gives the type of each field of the index; it is asked when a text first looks like a date.
    """

    def __init__(self, fields: Callable[[], Mapping[str, str]]) -> None:
        self._fields = fields

    def restored(self, record: Record) -> Record:
        """The record, with dates and time stamps where they belong; a text that is none stays one, and the
        field refuses it."""
        metadata = record.document.metadata
        changed = {
            name: read
            for name, value in metadata.items()
            if isinstance(value, str) and _LIKE_A_DATE.match(value)
            if (read := self._read(name, value)) is not value
        }
        if not changed:
            return record
        return Record(replace(record.document, metadata={**metadata, **changed}), record.where)

    def _read(self, name: str, value: str) -> Any:
        convert = self._converters.get(name)
        try:
            return value if convert is None else convert(value)
        except ValueError:
            return value

    @cached_property
    def _converters(self) -> dict[str, Callable[[str], date]]:
        found: dict[str, Callable[[str], date]] = {}
        for name, kind in self._fields().items():
            if kind.startswith("date"):
                found[name] = date.fromisoformat
            elif kind.startswith("timestamp"):
                found[name] = _moment
        return found


def _moment(text: str) -> datetime:
    if len(text) <= _DAY_LENGTH:
        raise ValueError("a day is no moment")
    return datetime.fromisoformat(text)
