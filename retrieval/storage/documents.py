"""Documents of a segment as Arrow IPC: ids, titles, texts, metadata with types.

Uncompressed: a reader maps the file and touches only the columns it needs. Pending documents are
the same bytes, in the catalog instead of a file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retrieval.corpus import column_of
from retrieval.errors import IndexDamagedError
from retrieval.storage import disk
from retrieval.storage.files import FileRecord, HashingFile, check_size
from retrieval.types import Document, IntArray

__all__ = [
    "METADATA_PREFIX",
    "DocumentTable",
    "document_batch",
    "document_schema",
    "widened",
    "write_documents",
]

METADATA_PREFIX = "metadata."
"""Before a field's name in the file, so that no field can hide ``id`` or ``text``."""

NEAR = 32
"""Texts no farther apart are validated together with those between them."""

FEW = 32
"""Strings that are decoded one by one; more of them together."""

_OWN = {"id": pa.string(), "title": pa.string(), "text": pa.string()}


def document_schema(fields: Mapping[str, pa.DataType]) -> pa.Schema:
    """Columns of a table whose metadata has these fields."""
    named = {METADATA_PREFIX + name: kind for name, kind in fields.items()}
    return pa.schema(list({**_OWN, **named}.items()))


def document_batch(documents: Sequence[Document], metadata: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """Documents as columns; ``metadata`` holds a typed column per field."""
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(document, name) for document in documents], kind)
        for name, kind in _OWN.items()
    }
    columns |= {METADATA_PREFIX + name: column for name, column in metadata.items()}
    return pa.record_batch(list(columns.values()), names=list(columns))


def write_documents(
    root: Path, relative: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> FileRecord:
    """Write one segment's documents."""
    with HashingFile(root, relative) as file:
        with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return file.finish("documents")


class DocumentTable:
    """Documents by ordinal. ``fields`` are the names of their metadata, ``where`` they are for messages.

    Arrow follows the offsets in a file wherever they lead: so what is read of it is validated, small
    columns as a whole when they are first used, titles and texts one by one.
    """

    def __init__(self, table: pa.Table, where: str) -> None:
        self._table, self._where = table, where
        self._checked: dict[str, pa.ChunkedArray] = {}
        self.fields = [
            name[len(METADATA_PREFIX) :] for name in table.column_names if name.startswith(METADATA_PREFIX)
        ]

    @classmethod
    def mapped(cls, root: Path, record: FileRecord) -> Self:
        """A segment's documents, memory-mapped.

        Raises:
            IndexDamagedError: the file is missing or no Arrow file.
        """
        path = check_size(root, record)
        with disk.telling("map", path):
            opened = disk.map_file(path)
        with opened as mapped, _reading(str(path)):
            return cls(_own_columns_checked(pa.ipc.open_file(mapped).read_all()), str(path))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The documents of a pending batch."""
        where = "the pending documents"
        with _reading(where):
            return cls(_own_columns_checked(pa.ipc.open_stream(pa.py_buffer(content)).read_all()), where)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return int(self._table.nbytes)

    def ids(self, ordinals: IntArray | None = None) -> list[str]:
        """Ids of some or of all documents."""
        if ordinals is None:
            return list(self.id_column().to_pylist())
        return self._ids.some(ordinals)

    def text_bytes(self, ordinals: IntArray) -> IntArray:
        """Bytes of title and text of some documents, given in ascending order."""
        first = int(ordinals[0])
        near, chosen = (first, int(ordinals[-1]) + 1 - first), pa.array(ordinals - first, pa.int64())
        sizes = np.zeros(len(ordinals), dtype=np.int64)
        for name in ("title", "text"):
            sizes += pc.binary_length(self._table.column(name).slice(*near)).take(chosen).to_numpy()
        return sizes

    def title(self, ordinal: int) -> str:
        """Title of one document, "" if it has none."""
        return self._text("title", ordinal)

    def text(self, ordinal: int) -> str:
        """Text of one document."""
        return self._text("text", ordinal)

    def full_texts(self, start: int, stop: int) -> list[str]:
        """Title and text of the documents ``start:stop``, joined as `Document.full_text`."""
        near = self._table.select(["title", "text"]).slice(start, stop - start)
        with _reading(self._where):
            near.validate(full=True)
            pairs = zip(near.column("title").to_pylist(), near.column("text").to_pylist(), strict=True)
            return [f"{title} {text}".strip() for title, text in pairs]

    def metadata(self, ordinal: int) -> dict[str, Any]:
        """Metadata of one document, without the fields it does not have."""
        columns = {name: self._column(METADATA_PREFIX + name) for name in self.fields}
        values = {name: column[ordinal].as_py() for name, column in columns.items()}
        present: dict[str, Any] = _without_nulls(values)
        return present

    def document(self, ordinal: int) -> Document:
        """Everything of one document."""
        doc_id = self.id_column()[ordinal].as_py()
        return Document(doc_id, self.text(ordinal), self.title(ordinal), self.metadata(ordinal))

    def documents(self, ordinals: IntArray, wanted: Collection[str]) -> list[Document]:
        """Some documents, given in ascending order, each once; of ``title``, ``text`` and ``metadata``
        those that are ``wanted``, the others empty."""
        texts = {name: self._taken(name, ordinals) for name in ("title", "text") if name in wanted}
        fields = self.fields if "metadata" in wanted else []
        metadata = {name: self._taken(METADATA_PREFIX + name, ordinals) for name in fields}
        return [
            Document(
                doc_id,
                title=texts["title"][i] if "title" in texts else "",
                text=texts["text"][i] if "text" in texts else "",
                metadata=_without_nulls({name: values[i] for name, values in metadata.items()}),
            )
            for i, doc_id in enumerate(self._taken("id", ordinals))
        ]

    def id_column(self) -> pa.ChunkedArray:
        """All ids."""
        return self._column("id")

    def column(self, field: str) -> pa.ChunkedArray | None:
        """All values of a metadata field, with this table's type of it; None if it has no such field."""
        return self._column(METADATA_PREFIX + field) if field in self.fields else None

    def rows(self, ordinals: IntArray, fields: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """Some documents as columns, with the metadata fields and types of the whole index."""
        schema = document_schema(fields)
        chosen = self._table.take(pa.array(ordinals, pa.int64()))
        columns = [
            widened(chosen.column(name), kind)
            if name in chosen.column_names
            else pa.nulls(len(ordinals), kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        ]
        return pa.record_batch(columns, schema=schema)

    @cached_property
    def _ids(self) -> _Strings:
        return _Strings(self.id_column())

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._checked:
            column = self._table.column(name)
            with _reading(self._where):
                column.validate(full=True)
            self._checked[name] = column
        return self._checked[name]

    def _taken(self, name: str, ordinals: IntArray) -> list[Any]:
        """Values of a column, ordinals ascending; chunk by chunk, because Arrow joins all chunks of a
        column to take some of its strings."""
        is_text = name in ("title", "text")
        column = self._table.column(name) if is_text else self._column(name)
        values: list[Any] = []
        first = 0
        with _reading(self._where):
            for chunk in column.chunks:
                inside = slice(*np.searchsorted(ordinals, [first, first + len(chunk)]))
                own = ordinals[inside] - first
                first += len(chunk)
                for run in np.split(own, np.flatnonzero(np.diff(own) > NEAR) + 1) if is_text else ():
                    if len(run):
                        chunk.slice(int(run[0]), int(run[-1] - run[0]) + 1).validate(full=True)
                if len(own):
                    values += chunk.take(pa.array(own, pa.int64())).to_pylist()
        return values

    def _text(self, name: str, ordinal: int) -> str:
        one = self._table.column(name).slice(ordinal, 1)
        with _reading(self._where):
            one.validate(full=True)
        return str(one[0].as_py())

    def problems(self) -> list[str]:
        """What Arrow's own full validation finds wrong (offsets, UTF-8)."""
        try:
            self._table.validate(full=True)
        except pa.ArrowException as error:
            return [f"documents: {error}"]
        return []


class _Strings:
    """A checked column of strings, read where they lie: an Arrow scalar of one takes as long to make as ten
    of these, and to take some at once Arrow joins all parts of the column."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._starts: list[int] = []
        self._parts: list[tuple[memoryview, memoryview]] = []
        first = 0
        for chunk in column.chunks:
            _, offsets, content = chunk.buffers()
            if len(chunk):
                stop = chunk.offset + len(chunk) + 1
                own = memoryview(offsets)[4 * chunk.offset : 4 * stop].cast("i")
                self._starts.append(first)
                self._parts.append((own, memoryview(content or b"")))
            first += len(chunk)

    def some(self, ordinals: IntArray) -> list[str]:
        """Those at these places."""
        if len(self._parts) == 1:
            offsets, content = self._parts[0]
            ends = np.frombuffer(offsets, np.int32)
            first, stop = ends[ordinals], ends[ordinals + 1]
            if len(content) and len(ordinals) > FEW and (found := _ascii(content, first, stop)) is not None:
                return found
            pairs = zip(first.tolist(), stop.tolist(), strict=True)
            return [str(content[one:other], "utf-8") for one, other in pairs]
        found = []
        for ordinal in ordinals.tolist():
            part = bisect_right(self._starts, ordinal) - 1
            offsets, content = self._parts[part]
            i = ordinal - self._starts[part]
            found.append(str(content[offsets[i] : offsets[i + 1]], "utf-8"))
        return found


def _ascii(content: memoryview, first: NDArray[Any], stop: NDArray[Any]) -> list[str] | None:
    """The strings between these bytes, decoded together; None where not all of them are ASCII."""
    ends = np.cumsum(stop - first, dtype=np.int64)
    starts = ends - (stop - first)
    places = np.repeat(first - starts, stop - first) + np.arange(ends[-1])
    joined = np.frombuffer(content, np.uint8)[places].tobytes()
    if not joined.isascii():
        return None
    text = joined.decode("ascii")
    return [text[one:other] for one, other in zip(starts.tolist(), ends.tolist(), strict=True)]


def _own_columns_checked(table: pa.Table) -> pa.Table:
    for kind in table.schema.types:
        _check_names(kind)
    found = dict(zip(table.column_names, table.schema.types, strict=True))
    if any(found.get(name) != kind for name, kind in _OWN.items()):
        raise pa.ArrowInvalid(f"its columns are not {', '.join(_OWN)} and metadata")
    return table


def _check_names(kind: pa.DataType) -> None:
    """Read the names inside a type: a damaged one is no text, which only reading it tells."""
    for i in range(kind.num_fields):
        field = kind.field(i)
        _ = field.name
        _check_names(field.type)


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise IndexDamagedError(f"{where} cannot be read ({error}); restore the index from a copy") from None


def widened(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """A column in a type that is as wide or wider: a field's type grows as documents come."""
    if column.type == kind:
        return column.combine_chunks()
    return column_of(column.to_pylist(), kind)


def _without_nulls(value: Any) -> Any:
    """A column gives every object all keys that any object has; those it lacks are left out again."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
