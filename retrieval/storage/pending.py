"""Pending documents: committed in the catalog, searched from memory, folded into a segment later."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.corpus import metadata_columns
from retrieval.quantize import Codec
from retrieval.storage.documents import DocumentTable, document_batch, widened
from retrieval.storage.records import PendingBatch
from retrieval.storage.segment import largest_norm
from retrieval.types import Document, IntArray, Ragged

__all__ = ["PendingBuffer", "PendingReader", "pending_batch"]


def pending_batch(
    buffer: int,
    first: int,
    generation: int,
    documents: Sequence[Document],
    fields: Mapping[str, pa.DataType],
    vectors: Ragged,
    codec: Codec,
) -> PendingBatch:
    """Documents and their vectors as a row for the catalog. ``fields`` holds at least theirs."""
    used = {name for document in documents for name in document.metadata}
    columns = metadata_columns(documents, {name: kind for name, kind in fields.items() if name in used})
    codes = codec.encode(vectors.values)
    sink = pa.BufferOutputStream()
    batch = document_batch(documents, columns)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return PendingBatch(
        generation=generation,
        buffer=buffer,
        first=first,
        n_documents=len(documents),
        n_tokens=len(codes),
        max_norm=largest_norm(codec, codes),
        documents=sink.getvalue().to_pybytes(),
        doclens=vectors.doclens.astype("<i8").tobytes(),
        codes=np.ascontiguousarray(codes, dtype=codes.dtype.newbyteorder("<")).tobytes(),
    )


class PendingBuffer:
    """Collects batches, up to and with ``generation``.

    `reader` shows what is there now; what comes later does not change it.
    """

    def __init__(self, number: int, codec: Codec, dim: int) -> None:
        self.number = number
        self.generation = 0
        self._codes = _Growing(np.empty((0, codec.width(dim)), dtype=codec.dtype))
        self._offsets = _Growing(np.zeros(1, dtype=np.int64))
        self._births = _Growing(np.empty(0, dtype=np.int64))
        self._tables: list[DocumentTable] = []
        self._firsts: list[int] = []
        self._ids: list[str] = []
        self._n_documents = 0
        self._max_norm = 0.0

    def append(self, batch: PendingBatch) -> None:
        """Take in the next batch."""
        table = DocumentTable.from_bytes(batch.documents)
        width, dtype = self._codes.array.shape[1], self._codes.array.dtype
        self._codes.extend(np.frombuffer(batch.codes, dtype=dtype).reshape(-1, width))
        doclens = np.frombuffer(batch.doclens, dtype=np.int64)
        self._offsets.extend(self._offsets.array[-1] + np.cumsum(doclens))
        self._births.extend((self.number << 32) + batch.first + np.arange(batch.n_documents, dtype=np.int64))
        self._firsts.append(self._n_documents)
        self._tables.append(table)
        self._ids += table.ids()
        self._n_documents += batch.n_documents
        self.generation = batch.generation
        self._max_norm = max(self._max_norm, batch.max_norm)

    def reader(self, fields: Mapping[str, pa.DataType]) -> PendingReader:
        """All batches taken in so far; ``fields`` are the index's metadata fields now."""
        tables, firsts = list(self._tables), list(self._firsts)
        documents = PendingDocuments(tables, firsts, self._ids, self._n_documents, fields)
        arrays = self._codes.array, self._offsets.array, self._births.array
        return PendingReader(self.number, *arrays, documents, self._max_norm)


class PendingReader:
    """Pending documents with the face of a segment (`SegmentReader`)."""

    def __init__(
        self,
        number: int,
        codes: NDArray[Any],
        offsets: IntArray,
        births: IntArray,
        documents: PendingDocuments,
        max_norm: float,
    ) -> None:
        self.number, self.origins = number, (number,)
        self.codes, self.offsets, self.births, self.documents = codes, offsets, births, documents
        self.max_norm = max_norm

    @property
    def n_documents(self) -> int:
        """Pending documents, deleted ones too."""
        return len(self.documents)

    def document_codes(self, ordinal: int) -> NDArray[Any]:
        """Codes of one document, ``(n_tokens_i, d)``."""
        return self.codes[self.offsets[ordinal] : self.offsets[ordinal + 1]]


class PendingDocuments:
    """Documents of many batches with the face of one table (`DocumentTable`)."""

    def __init__(
        self,
        tables: Sequence[DocumentTable],
        firsts: Sequence[int],
        ids: list[str],
        n: int,
        fields: Mapping[str, pa.DataType],
    ) -> None:
        # ``ids`` may grow at its end, as the buffer's arrays do.
        self._tables, self._firsts, self._ids, self._n, self._fields = tables, firsts, ids, n, fields

    def __len__(self) -> int:
        return self._n

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(table.nbytes for table in self._tables)

    def ids(self, ordinals: IntArray | None = None) -> list[str]:
        """Ids of some or of all documents."""
        return self._ids[: self._n] if ordinals is None else [self._ids[ordinal] for ordinal in ordinals]

    def text_bytes(self, ordinals: IntArray) -> IntArray:
        """Bytes of title and text of some documents."""
        places = [self._at(int(ordinal)) for ordinal in ordinals]
        sizes = [table.text_bytes(np.array([within]))[0] for table, within in places]
        return np.array(sizes, dtype=np.int64)

    def title(self, ordinal: int) -> str:
        """Title of one document, "" if it has none."""
        table, within = self._at(ordinal)
        return table.title(within)

    def text(self, ordinal: int) -> str:
        """Text of one document."""
        table, within = self._at(ordinal)
        return table.text(within)

    def full_texts(self, start: int, stop: int) -> list[str]:
        """Title and text of the documents ``start:stop``, joined as `Document.full_text`."""
        if not 0 <= start <= stop <= self._n:
            raise IndexError(start, stop)
        texts: list[str] = []
        for first, table in zip(self._firsts, self._tables, strict=True):
            here = max(start - first, 0), min(stop - first, len(table))
            texts += table.full_texts(*here) if here[0] < here[1] else []
        return texts

    def metadata(self, ordinal: int) -> dict[str, Any]:
        """Metadata of one document, without the fields it does not have."""
        table, within = self._at(ordinal)
        return table.metadata(within)

    def document(self, ordinal: int) -> Document:
        """Everything of one document."""
        table, within = self._at(ordinal)
        return table.document(within)

    def documents(self, ordinals: IntArray, wanted: Collection[str]) -> list[Document]:
        """Some documents, given in ascending order; see `DocumentTable.documents`."""
        found: list[Document] = []
        bounds = np.searchsorted(ordinals, [*self._firsts, self._n])
        for table, start, *span in zip(self._tables, self._firsts, bounds, bounds[1:], strict=False):
            own = ordinals[slice(*span)]
            found += table.documents(own - start, wanted) if len(own) else []
        return found

    def id_column(self) -> pa.ChunkedArray:
        """All ids."""
        return pa.chunked_array([c for t in self._tables for c in t.id_column().chunks], pa.string())

    def column(self, field: str) -> pa.ChunkedArray | None:
        """All values of a metadata field; None if no document has it."""
        columns = [table.column(field) for table in self._tables]
        if all(column is None for column in columns):
            return None
        kind = self._fields[field]
        chunks = [
            pa.nulls(len(table), kind) if column is None else widened(column, kind)
            for table, column in zip(self._tables, columns, strict=True)
        ]
        return pa.chunked_array(chunks, kind)

    def rows(self, ordinals: IntArray, fields: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """Some documents as columns, with the metadata fields and types of the whole index."""
        documents = [self.document(int(ordinal)) for ordinal in ordinals]
        return document_batch(documents, metadata_columns(documents, fields))

    def _at(self, ordinal: int) -> tuple[DocumentTable, int]:
        if not 0 <= ordinal < self._n:
            raise IndexError(ordinal)
        place = bisect.bisect_right(self._firsts, ordinal) - 1
        return self._tables[place], ordinal - self._firsts[place]


class _Growing:
    """An array that grows at its end in amortised constant time; views of it stay as they are."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._room, self._n = array, len(array)

    @property
    def array(self) -> NDArray[Any]:
        """What has been put in, as a view."""
        return self._room[: self._n]

    def extend(self, values: NDArray[Any]) -> None:
        """Put rows after the last."""
        needed = self._n + len(values)
        if needed > len(self._room):
            room = np.empty((max(needed, 2 * len(self._room)), *self._room.shape[1:]), self._room.dtype)
            room[: self._n] = self._room[: self._n]
            self._room = room
        self._room[self._n : needed] = values
        self._n = needed
