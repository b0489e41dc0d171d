"""Metadata fields of a whole corpus: one Arrow type each, learned record by record."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from retrieval.corpus.fieldtype import (
    FieldType,
    TypeConflict,
    arrow_type,
    as_floats,
    check_string,
    holds_float,
    large_integers,
    new_floats,
    widen,
)
from retrieval.errors import DataError
from retrieval.types import Document, Record

__all__ = ["FieldTypes", "column_of", "metadata_columns"]

MAX_NAME_LENGTH = 256
MAX_FIELDS = 1000
"""Each is a column of every segment: a document with thousands of its own would slow every search."""
REMEDY = "write such integers as strings, or give floats a field of their own"
# Types whose values fit a field of that type without a look inside.
_SETTLED = {bool: "bool", float: "float64"}


class _Large(NamedTuple):
    """An integer that a float64 would round, and the id of its document."""

    integer: int
    holder: str


class FieldTypes:
    """The type of every metadata field seen so far.

    Values are booleans, 64-bit integers, floats, strings, dates, time stamps (naive, or aware:
    then kept as UTC), lists and objects of these, and null. See `fieldtype.widen` for what
    fits together; integers and floats do not, where an integer would lose digits.

    ``stored`` knows the documents that were seen before: of a field's name, the type that it is to have and
    an id, it gives one with another id whose integers that type would round, or None.
    """

    def __init__(self) -> None:
        self.stored: Callable[[str, pa.DataType, str], Document | None] = lambda *_: None
        self._types: dict[str, FieldType] = {}
        self._large: dict[str, _Large] = {}

    def observe(self, record: Record) -> None:
        """Make room for a record's metadata; a refused record changes nothing.

        Raises:
            DataError: a name or a value that cannot be a field, or a type that does not go
                with the one seen before. It names the record's place.
        """
        changed: dict[str, FieldType] = {}
        large: dict[str, _Large] = {}
        try:
            for name, value in record.document.metadata.items():
                known = self._types.get(name)
                if known is None:
                    _check_name(name)
                    changed[name] = widen("null", value, name)
                elif value is not None and _SETTLED.get(type(value)) != known:
                    wider = widen(known, value, name)
                    if wider is not known:
                        self._check_integers(name, wider, record.document.id)
                        changed[name] = wider
                large |= _large_ones(changed.get(name, known), value, name, record.document.id)
        except TypeConflict as error:
            raise DataError(str(error), record.where) from None
        new = [name for name in changed if name not in self._types]
        if new and len(self._types) + len(new) > MAX_FIELDS:
            told = f"field '{new[0]}' is one too many: an index has at most {MAX_FIELDS} metadata fields"
            raise DataError(
                f"{told}; put what differs from document to document into one object", record.where
            )
        self._types.update(changed)
        self._large.update(large)

    def has_new_floats(self, before: FieldTypes) -> bool:
        """Whether a field of ``before``, which was widened to this, has floats in place of integers."""
        fields = before._types.items()
        return any(True for name, kind in fields for _ in new_floats(kind, self._types[name], name))

    def _check_integers(self, name: str, wider: FieldType, doc_id: str) -> None:
        """Refuse floats where there are integers that would be rounded.

        Raises:
            TypeConflict: it names one.
        """
        places = list(new_floats(self._types[name], wider, name))
        if places and not any(place in self._large for place in places):
            document = self.stored(name, arrow_type(wider), doc_id)
            if document is not None:
                found = large_integers(wider, document.metadata[name], name)
                self._large |= {place: _Large(integer, document.id) for place, integer, _ in found}
        for place in places:
            if place in self._large:
                integer, holder = self._large[place]
                raise TypeConflict(
                    f"field {place!r} is a float here, and as one the integer {integer} of document "
                    f"{holder!r} would lose digits; {REMEDY}"
                )

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


def _large_ones(kind: FieldType | None, value: Any, name: str, doc_id: str) -> dict[str, _Large]:
    """By their places, the integers in a value that a float64 would round.

    Raises:
        TypeConflict: the field is one of floats.
    """
    found: dict[str, _Large] = {}
    if kind is None or not isinstance(value, int | list | tuple | dict):
        return found
    for place, integer, is_float in large_integers(kind, value, name):
        if is_float:
            raise TypeConflict(
                f"field {place!r} holds floats, and as one the integer {integer} would lose digits; {REMEDY}"
            )
        found[place] = _Large(integer, doc_id)
    return found


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeConflict(f"{name!r} is no name for a field; use a string that is not empty")
    if len(name) > MAX_NAME_LENGTH:
        raise TypeConflict(
            f"the field name {name[:40]!r}... has {len(name)} characters; at most {MAX_NAME_LENGTH}"
        )
    check_string(name, name)
