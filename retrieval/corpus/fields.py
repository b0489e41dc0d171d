"""Metadata fields of a whole corpus: one Arrow type each, learned record by record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from retrieval.corpus.fieldtype import (
    FieldType,
    TypeConflict,
    arrow_type,
    as_floats,
    check_string,
    holds_float,
    widen,
)
from retrieval.errors import DataError
from retrieval.types import Document, Record

__all__ = ["FieldTypes", "column_of", "metadata_columns"]

MAX_NAME_LENGTH = 256
MAX_FIELDS = 1000
"""Each is a column of every segment: a document with thousands of its own would slow every search."""
# Types whose values fit a field of that type without a look inside.
_SETTLED = {bool: "bool", float: "float64"}


class FieldTypes:
    """The type of every metadata field seen so far.

    Values are booleans, 64-bit integers, floats, strings, dates, time stamps (naive, or aware:
    then kept as UTC), lists and objects of these, and null. See `fieldtype.widen` for what
    fits together.
    """

    def __init__(self) -> None:
        self._types: dict[str, FieldType] = {}

    def observe(self, record: Record) -> None:
        """Make room for a record's metadata; a refused record changes nothing.

        Raises:
            DataError: a name or a value that cannot be a field, or a type that does not go
                with the one seen before. It names the record's place.
        """
        changed: dict[str, FieldType] = {}
        try:
            for name, value in record.document.metadata.items():
                known = self._types.get(name)
                if known is None:
                    _check_name(name)
                    changed[name] = widen("null", value, name)
                elif value is not None and _SETTLED.get(type(value)) != known:
                    wider = widen(known, value, name)
                    if wider is not known:
                        changed[name] = wider
        except TypeConflict as error:
            raise DataError(str(error), record.where) from None
        new = [name for name in changed if name not in self._types]
        if new and len(self._types) + len(new) > MAX_FIELDS:
            told = f"field '{new[0]}' is one too many: an index has at most {MAX_FIELDS} metadata fields"
            raise DataError(
                f"{told}; put what differs from document to document into one object", record.where
            )
        self._types.update(changed)

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Arrow type of each field, in the order in which the fields were first seen."""
        return {name: arrow_type(kind) for name, kind in self._types.items()}

    def to_json(self) -> str:
        """All of it as JSON text: ``{"year": "int64", "tags": {"list": "string"}}``."""
        return json.dumps(self._types, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FieldTypes:
        """The inverse of `to_json`.

        Raises:
            ValueError: not what `to_json` writes.
        """
        types = json.loads(text)
        if not isinstance(types, dict):
            raise ValueError(f"field types must be a JSON object, not {type(types).__name__}")
        for kind in types.values():
            arrow_type(kind)
        made = cls()
        made._types = types
        return made


def metadata_columns(documents: Sequence[Document], fields: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """One Arrow array a field, with a row a document; a field that a document lacks is null.

    ``fields`` are types (`FieldTypes.types`) that have observed every document.
    """
    return {
        name: column_of([document.metadata.get(name) for document in documents], kind)
        for name, kind in fields.items()
    }


def column_of(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values as an Arrow array of a type that holds them all."""
    if holds_float(kind):
        values = [as_floats(value, kind) for value in values]
    return pa.array(values, type=kind)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeConflict(f"{name!r} is no name for a field; use a string that is not empty")
    if len(name) > MAX_NAME_LENGTH:
        raise TypeConflict(
            f"the field name {name[:40]!r}... has {len(name)} characters; at most {MAX_NAME_LENGTH}"
        )
    check_string(name, name)
