"""Records that a caller holds in memory, by the same rules as those of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from retrieval.corpus.document import FieldNames, document_of
from retrieval.corpus.jsonl import json_object
from retrieval.corpus.policy import ErrorPolicy
from retrieval.corpus.source import BOM, Row, Rows
from retrieval.errors import DataError
from retrieval.types import Record

__all__ = ["line_rows", "records_of"]


def line_rows(lines: Iterable[bytes], where: Callable[[int], str]) -> Rows:
    """The objects of JSON lines. Blank lines are left out; ``where`` names the others, counted from 0."""
    number = 0
    for position, line in enumerate(lines):
        content = line if position else line.removeprefix(BOM)
        if content and not content.isspace():
            place = where(number)
            number += 1
            yield place, json_object(content, place)


def records_of(rows: Iterable[Row], names: FieldNames, policy: ErrorPolicy) -> Iterator[Record]:
    """Rows as documents with their places; what is wrong with others is reported to ``policy``."""
    for where, row in rows:
        try:
            if isinstance(row, DataError):
                raise row
            record = Record(document_of(row, names, where), where)
        except DataError as error:
            policy.report(error)
        else:
            yield record
