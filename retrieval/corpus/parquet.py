"""Parquet, a few rows at a time; metadata keeps the column's types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.corpus.document import FieldNames
from retrieval.corpus.source import Progress, Rows, Source, reading
from retrieval.errors import DataError

__all__ = ["python_schema", "read_parquet", "row_values"]

BATCH_ROWS = 256
_PAGE_BUFFER = 1 << 20


def read_parquet(source: Source, names: FieldNames, progress: Progress) -> Rows:
    """Read the rows of a Parquet file; ``where`` counts them from 1.

    Raises:
        DataError: the file cannot be read, lacks a needed column, or has one of a type that
            metadata cannot hold.
    """
    with reading(source.name):
        raw = source.path.open("rb")
        size = source.path.stat().st_size
    with raw:
        file = _open(raw, source.name)
        schema = python_schema(file.schema_arrow, source.name)
        names.check_columns(schema.names, source.name)
        row, rows = 0, max(1, file.metadata.num_rows)
        with progress.file(lambda: size * row // rows):
            for batch in _batches(file, source.name):
                for values in row_values(batch, schema):
                    row += 1
                    where = f"{source.name}:{row}"
                    yield where, DataError(values, where) if isinstance(values, str) else values


def _open(raw: Any, name: str) -> Any:
    try:
        return pq.ParquetFile(raw, buffer_size=_PAGE_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a readable Parquet file ({_first_line(error)})", name) from None


def _batches(file: Any, name: str) -> Iterator[Any]:
    """Batches of rows; one thread and a page buffer keep memory to a few pages a column."""
    batches = file.iter_batches(batch_size=BATCH_ROWS, use_threads=False)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"the Parquet data is damaged ({_first_line(error)})", name) from None
        yield batch


# Strings that are not UTF-8, and instants outside the years that Python counts.
_UNREADABLE = (pa.ArrowException, ValueError, OverflowError)


def row_values(batch: Any, schema: pa.Schema) -> Iterator[dict[str, Any] | str]:
    """Rows of a batch as Python values, by its `python_schema`; where a row has none, a sentence that says
    why."""
    try:
        rows = _as(schema, batch).to_pylist()
    except _UNREADABLE as error:
        if batch.num_rows == 1:
            yield f"a value cannot be read ({type(error).__name__}: {_first_line(error)})"
            return
        for i in range(batch.num_rows):
            yield from row_values(batch.slice(i, 1), schema)
        return
    yield from rows


def _as(schema: pa.Schema, batch: Any) -> Any:
    # Only the columns that need it: Arrow's cast fails on a struct with a list of nulls.
    columns = [
        column if column.type == kind else column.cast(kind, safe=False)
        for column, kind in zip(batch.columns, schema.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def python_schema(schema: pa.Schema, name: str) -> pa.Schema:
    """The types to read columns as; ``name`` is the table's for messages.

    Raises:
        DataError: a column's name is there twice, or metadata cannot hold its type.
    """
    if twice := [column for column in schema.names if schema.names.count(column) > 1]:
        raise DataError(f"the column {twice[0]!r} is there twice", name)
    return pa.schema([(field.name, _python_type(field.type, field.name, name)) for field in schema])


def _python_type(kind: pa.DataType, column: str, name: str) -> pa.DataType:
    """The type to read a column as: ``datetime`` holds no nanoseconds, the rest stays."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz)
    if pa.types.is_dictionary(kind):
        inner = _python_type(kind.value_type, column, name)
        return kind if inner == kind.value_type else inner
    if any(is_list(kind) for is_list in _LISTS):
        inner = _python_type(kind.value_type, f"{column}[]", name)
        return kind if inner == kind.value_type else pa.list_(inner)
    if pa.types.is_struct(kind):
        parts = [(part.name, _python_type(part.type, f"{column}.{part.name}", name)) for part in kind]
        return (
            kind
            if all(part.type == inner for part, (_, inner) in zip(kind, parts, strict=True))
            else pa.struct(parts)
        )
    if any(is_plain(kind) for is_plain in _PLAIN):
        return kind
    raise DataError(
        f"the column {column!r} has type {kind}, which metadata cannot hold; cast or drop it", name
    )


_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_PLAIN = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_date,
    pa.types.is_null,
)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
