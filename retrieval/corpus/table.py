"""CSV and TSV with a header line: values are strings, an empty one is null."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from typing import Any

from retrieval.corpus.document import FieldNames
from retrieval.corpus.source import MAX_LINE_BYTES, LineReader, Progress, Rows, Source
from retrieval.errors import DataError

__all__ = ["read_csv", "read_tsv"]


def read_csv(source: Source, names: FieldNames, progress: Progress) -> Rows:
    """Read rows of comma separated values (RFC 4180, UTF-8, a quote inside quotes doubled).

    Raises:
        DataError: the header is missing, ambiguous or lacks a needed column, or the file
            cannot be read on.
    """
    return _read(source, names, progress, ",")


def read_tsv(source: Source, names: FieldNames, progress: Progress) -> Rows:
    """Read rows of tab separated values, quoted as in CSV; see `read_csv`."""
    return _read(source, names, progress, "\t")


def _read(source: Source, names: FieldNames, progress: Progress, delimiter: str) -> Rows:
    with LineReader(source) as lines, progress.file(lines.position):
        rows = iter(_CsvRows(source, lines, delimiter))
        header = _header(rows, names, source)
        kept = {names.id_key(header), names.title or "title", names.text or "text"}
        for where, row in rows:
            yield where, row if isinstance(row, DataError) else _fields(header, row, kept, where)


def _header(rows: Iterator[_Row], names: FieldNames, source: Source) -> list[str]:
    where, header = next(rows, (f"{source.name}:1", []))
    if isinstance(header, DataError):
        raise header
    if not header:
        raise DataError("the file is empty: a header line is expected", where)
    if "" in header:
        raise DataError(f"column {header.index('') + 1} of the header has no name", where)
    if twice := [name for name in header if header.count(name) > 1]:
        raise DataError(f"the column {twice[0]!r} is in the header twice", where)
    names.check_columns(header, where)
    return header


def _fields(header: list[str], row: list[str], kept: set[str], where: str) -> dict[str, Any] | DataError:
    if len(row) != len(header):
        return DataError(f"the row has {len(row)} fields, but the header has {len(header)}", where)
    pairs = zip(header, row, strict=True)
    return {name: value if value or name in kept else None for name, value in pairs}


_Row = tuple[str, list[str] | DataError]


class _CsvRows:
    """Rows of a CSV file, each with the line it starts on; blank lines are left out.

    A row with an undecodable line is read to its end before it is refused, so that the next
    row starts where it should.
    """

    def __init__(self, source: Source, lines: LineReader, delimiter: str) -> None:
        self._source = source
        self._lines = lines
        self._where = ""
        self._size = 0
        self._bad: DataError | None = None
        self._rows = csv.reader(self._decoded(), delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[_Row]:
        while True:
            self._where = f"{self._source.name}:{self._rows.line_num + 1}"
            self._size = 0
            self._bad = None
            try:
                row = self._parse()
            except StopIteration:
                return
            except csv.Error as error:
                yield self._where, DataError(_told(error), self._where)
                continue
            if row:
                yield self._where, self._bad or row

    def _parse(self) -> list[str]:
        # The csv module has one field limit for the whole process (128 KiB): raise it for this
        # one row and put it back, under a lock so that two readers cannot swap their limits.
        with _FIELD_LIMIT:
            before = csv.field_size_limit(MAX_LINE_BYTES)
            try:
                return next(self._rows)
            finally:
                csv.field_size_limit(before)

    def _decoded(self) -> Iterator[str]:
        for line in self._lines:
            self._size += len(line)
            if self._size > MAX_LINE_BYTES:
                told = f"the row is longer than {MAX_LINE_BYTES >> 20} MiB; is a quote not closed?"
                raise DataError(told, self._where)
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                self._bad = self._bad or DataError("not UTF-8; convert the file to UTF-8", self._lines.where)
                text = line.decode("utf-8", errors="replace")
            yield text


def _told(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "not valid CSV: a carriage return outside quotes; end lines with a line feed"
    told = "a quoted field is not closed" if "end of data" in str(error) else str(error)
    return f"not valid CSV: {told} (inside quotes, write a quote twice)"


_FIELD_LIMIT = threading.Lock()
