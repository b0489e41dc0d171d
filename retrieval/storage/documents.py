"""Documents of a segment as an Arrow IPC file: ids, titles, texts, metadata with types.

Uncompressed, one record batch: a reader maps it and touches only the columns it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from retrieval.errors import IndexDamagedError
from retrieval.storage.files import FileRecord, HashingFile, check_size
from retrieval.types import Document, IntArray

__all__ = ["METADATA_PREFIX", "DocumentTable", "write_documents"]

METADATA_PREFIX = "metadata."
"""Before a field's name in the file, so that no field can hide ``id`` or ``text``."""


def write_documents(
    root: Path, relative: str, documents: Sequence[Document], metadata: Mapping[str, pa.Array]
) -> FileRecord:
    """Write one segment's documents; ``metadata`` holds a typed column per field."""
    columns: dict[str, pa.Array] = {
        "id": pa.array([document.id for document in documents], pa.string()),
        "title": pa.array([document.title for document in documents], pa.string()),
        "text": pa.array([document.text for document in documents], pa.string()),
    }
    columns |= {METADATA_PREFIX + name: column for name, column in metadata.items()}
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with HashingFile(root, relative) as file:
        with pa.ipc.new_file(pa.PythonFile(file, mode="w"), batch.schema) as writer:
            writer.write_batch(batch)
        return file.finish("documents")


class DocumentTable:
    """Memory-mapped documents, by ordinal."""

    def __init__(self, root: Path, record: FileRecord) -> None:
        path = check_size(root, record)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise IndexDamagedError(
                f"{path} cannot be read ({error}); restore the index from a copy"
            ) from None
        self._table = table
        self.fields = [
            name[len(METADATA_PREFIX) :] for name in table.column_names if name.startswith(METADATA_PREFIX)
        ]

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def ids(self, ordinals: IntArray | None = None) -> list[str]:
        """Ids of some or of all documents."""
        column = self._table.column("id")
        return list((column if ordinals is None else column.take(pa.array(ordinals, pa.int64()))).to_pylist())

    def title(self, ordinal: int) -> str:
        """Title of one document, "" if it has none."""
        return str(self._table.column("title")[ordinal].as_py())

    def text(self, ordinal: int) -> str:
        """Text of one document."""
        return str(self._table.column("text")[ordinal].as_py())

    def metadata(self, ordinal: int) -> dict[str, Any]:
        """Metadata of one document, without the fields it does not have."""
        values = {name: self._table.column(METADATA_PREFIX + name)[ordinal].as_py() for name in self.fields}
        present: dict[str, Any] = _without_nulls(values)
        return present

    def document(self, ordinal: int) -> Document:
        """Everything of one document."""
        doc_id = self._table.column("id")[ordinal].as_py()
        return Document(doc_id, self.text(ordinal), self.title(ordinal), self.metadata(ordinal))

    def problems(self) -> list[str]:
        """What Arrow's own full validation finds wrong (offsets, UTF-8)."""
        try:
            self._table.validate(full=True)
        except pa.ArrowInvalid as error:
            return [f"documents: {error}"]
        return []


def _without_nulls(value: Any) -> Any:
    """A column gives every object all keys that any object has; those it lacks are left out again."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
