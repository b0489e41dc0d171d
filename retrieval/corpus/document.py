"""What a document must look like, whichever file or caller it comes from."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from typing import Any

from retrieval.errors import ConfigError, DataError
from retrieval.types import Document

__all__ = ["FieldNames", "check_document", "document_of"]

MAX_ID_BYTES = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Which fields of a record hold the id, the title and the text; None means the usual names.

    ``vectors``: the field ``vector`` or ``vectors`` is `Document.vectors`, and no metadata.
    """

    id: str | None = None
    title: str | None = None
    text: str | None = None
    vectors: bool = False

    def __post_init__(self) -> None:
        given = [name for name in (self.id, self.title, self.text) if name is not None]
        if "" in given:
            raise ConfigError(
                "a field name is empty; give id_field, title_field and text_field a name or leave them out"
            )
        if len(set(given)) < len(given):
            raise ConfigError(
                f"id_field, title_field and text_field must differ; given {', '.join(map(repr, given))}"
            )

    def id_key(self, fields: Container[str]) -> str:
        """Which of a record's fields is the id: the given name, or ``_id`` before ``id``."""
        return self.id or ("_id" if "_id" in fields else "id")

    def check_columns(self, columns: Collection[str], where: str) -> None:
        """Refuse a table without the columns that every document needs.

        Raises:
            DataError: no id column, no text column where vectors are not given, or no column of the title's
            given name.
        """
        told = ", ".join(map(repr, columns))
        if self.id_key(columns) not in columns:
            wanted = repr(self.id) if self.id else "'_id' or 'id'"
            raise DataError(
                f"there is no id column {wanted} among {told}; name it with --id-field (id_field=)", where
            )
        if (self.text or "text") not in columns and not (self.vectors and self.text is None):
            raise DataError(
                f"there is no text column {self.text or 'text'!r} among {told}; "
                "name it with --text-field (text_field=)",
                where,
            )
        if self.title is not None and self.title not in columns:
            raise DataError(f"there is no title column {self.title!r} among {told}", where)


def document_of(row: dict[str, Any], names: FieldNames, where: str) -> Document:
    """Turn a record's fields into a document; ``row`` is used up and becomes its metadata.

    An object under ``metadata`` (BEIR) is flattened one level into the other fields.

    Raises:
        DataError: a missing or unusable id, title or text, or a metadata name given twice.
    """
    key = names.id_key(row)
    if key not in row:
        wanted = repr(names.id) if names.id else "'_id' or 'id'"
        raise DataError(f"the id is missing: there is no field {wanted}", where)
    doc_id = row.pop(key)
    if type(doc_id) is int:
        doc_id = str(doc_id)
    _check_id(doc_id, where)
    vectors = _vectors(row, where) if names.vectors else None
    key = names.text or "text"
    text = row.pop(key, _MISSING if vectors is None or names.text else "")
    if text is _MISSING:
        raise DataError(f"the text is missing: there is no field {key!r}", where)
    title = row.pop(names.title or "title", None)
    if title is None:
        title = ""
    _check_texts(title, text, where, may_be_blank=vectors is not None)
    return Document(doc_id, text, title, _flattened(row, where), vectors)


def check_document(document: Document, where: str | None = None) -> None:
    """Hold a document that a caller made to the rules that the readers follow.

    The values of its metadata are checked by `FieldTypes.observe`.

    Raises:
        DataError: an unusable id, title or text, or metadata that is no mapping.
    """
    if not isinstance(document.metadata, Mapping):
        raise DataError(f"the metadata must be a mapping, not {_kind(document.metadata)}", where)
    _check_id(document.id, where)
    _check_texts(document.title, document.text, where, may_be_blank=document.vectors is not None)


def _check_id(doc_id: Any, where: str | None) -> None:
    if not isinstance(doc_id, str):
        raise DataError(f"an id must be a string or an integer, not {_kind(doc_id)}", where)
    if not doc_id or doc_id.isspace():
        raise DataError(f"the id is empty ({doc_id!r})", where)
    if not doc_id.isprintable() and _CONTROL.search(doc_id):
        raise DataError(f"the id {_shortened(doc_id)} has a control character", where)
    if not doc_id.isascii() and not _is_unicode(doc_id):
        raise DataError(f"the id {_shortened(doc_id)} is not valid Unicode", where)
    if len(doc_id) * 4 > MAX_ID_BYTES and (size := len(doc_id.encode())) > MAX_ID_BYTES:
        raise DataError(
            f"the id {_shortened(doc_id)} has {size} bytes; at most {MAX_ID_BYTES} are allowed", where
        )


def _check_texts(title: Any, text: Any, where: str | None, *, may_be_blank: bool) -> None:
    for name, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            raise DataError(f"the {name} must be a string, not {_kind(value)}", where)
        if not value.isascii() and not _is_unicode(value):
            raise DataError(f"the {name} is not valid Unicode: it has half of a surrogate pair", where)
    if not may_be_blank and (not text or text.isspace()) and (not title or title.isspace()):
        raise DataError("the document is empty: title and text are both blank", where)


def _vectors(row: dict[str, Any], where: str) -> Any:
    given = [value for name in ("vector", "vectors") if (value := row.pop(name, None)) is not None]
    if len(given) > 1:
        raise DataError("there is 'vector' and 'vectors'; give one of them", where)
    return given[0] if given else None


def _flattened(row: dict[str, Any], where: str) -> dict[str, Any]:
    if "metadata" not in row:
        return row
    inner = row["metadata"]
    if inner is None:
        del row["metadata"]
    elif isinstance(inner, dict):
        del row["metadata"]
        if twice := row.keys() & inner.keys():
            raise DataError(
                f"the field {min(twice)!r} is given twice: beside 'metadata' and inside it", where
            )
        row.update(inner)
    return row


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"{type(value).__name__} ({_shortened(value)})"


def _shortened(value: Any) -> str:
    told = repr(value)  # escapes what cannot be printed
    return told if len(told) <= 60 else told[:57] + "..."
