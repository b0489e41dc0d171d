"""Few documents added in one commit: they wait in the catalog until they are folded into a segment.

They are encoded before the writer lock is taken; under it, it is looked at once more what has come meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from retrieval.build import ENCODE_CHUNK, BuildReport, truncated_documents
from retrieval.corpus import ErrorPolicy, FieldTypes, check_document
from retrieval.encode import Encoder
from retrieval.encode.documents import DocumentEncoder
from retrieval.encode.given import check_vectors
from retrieval.errors import DataError
from retrieval.index import prepare_documents
from retrieval.storage import (
    Catalog,
    add_clipped,
    clipped_of,
    fields_to_write,
    load_codec,
    pending_batch,
)
from retrieval.types import BuildProgress, Document, ProgressCallback, Ragged, Record

__all__ = ["SmallAdd"]


@dataclass(frozen=True, slots=True)
class _Screened:
    """Documents that can be added, as far as one generation tells, and the fields with theirs."""

    records: tuple[Record, ...]
    types: FieldTypes
    generation: int


class SmallAdd:
    """One add, or with ``replace`` an upsert. ``reading`` is a catalog to look things up in."""

    def __init__(
        self,
        reading: Catalog,
        encoder: Encoder,
        policy: ErrorPolicy,
        progress: ProgressCallback | None,
        *,
        replace: bool,
    ) -> None:
        self._reading, self._encoder = reading, encoder
        self._policy, self._progress, self._replace = policy, progress, replace

    def run(
        self, records: Sequence[Record], session: Callable[[], AbstractContextManager[Catalog]]
    ) -> BuildReport:
        """Encode ``records``, then commit them in a ``session`` with the writer lock.

        Raises:
            DataError: a document cannot be used; see `ErrorPolicy` for which of them.
            IndexLockedError: another process is writing.
        """
        started, cut = time.perf_counter(), truncated_documents(self._encoder)
        with self._reading.reading():
            screened = self._screen(records, self._reading)
        self._policy.settle()
        encoding = time.perf_counter()
        vectors = self._encode([record.document for record in screened.records])
        encoded, replaced = time.perf_counter(), 0
        if screened.records:
            with session() as catalog:
                screened, vectors = self._screened_again(screened, vectors, catalog)
                replaced = self._commit(screened, vectors, catalog)
        return BuildReport(
            documents=len(screened.records),
            tokens=len(vectors.values),
            skipped=self._policy.skipped,
            skipped_samples=tuple(self._policy.samples),
            resumed_documents=0,
            seconds=time.perf_counter() - started,
            encode_seconds=encoded - encoding,
            truncated=truncated_documents(self._encoder) - cut,
            replaced=replaced,
        )

    def _screen(self, records: Sequence[Record], catalog: Catalog) -> _Screened:
        """Leave out, or refuse, what cannot be added; of an id given twice to upsert the last counts."""
        types = fields_to_write(catalog)
        kept: dict[str, Record] = {}
        for record in records:
            try:
                check_document(record.document, record.where)
                doc_id = record.document.id
                there = doc_id in kept or catalog.register.find(doc_id) is not None
                if there and not self._replace:
                    raise DataError(f"duplicate id {doc_id!r}; ids are unique in an index", record.where)
                document = check_vectors(record.document, self._encoder, record.where)
                types.observe(record)
            except DataError as error:
                self._policy.report(error)
            else:
                kept[doc_id] = Record(document, record.where)
        return _Screened(tuple(kept.values()), types, catalog.generation())

    def _screened_again(
        self, before: _Screened, vectors: Ragged, catalog: Catalog
    ) -> tuple[_Screened, Ragged]:
        """The same after somebody else committed between screening and the lock."""
        if catalog.generation() == before.generation:
            return before, vectors
        now = self._screen(before.records, catalog)
        self._policy.settle()
        kept = {record.document.id for record in now.records}
        chosen = [i for i, record in enumerate(before.records) if record.document.id in kept]
        return now, Ragged.from_list([vectors[i] for i in chosen], vectors.dim)

    def _encode(self, documents: Sequence[Document]) -> Ragged:
        record, parts, done = self._reading.codec(), [], 0
        encoder = DocumentEncoder(self._encoder, self._reading.pooling())
        for first in range(0, len(documents), ENCODE_CHUNK):
            chunk = documents[first : first + ENCODE_CHUNK]
            parts.append(prepare_documents(encoder.vectors_of(chunk), record.metric))
            done += len(chunk)
            if self._progress is not None:
                tokens = sum(len(part.values) for part in parts)
                self._progress(BuildProgress(done, tokens, self._policy.skipped, done / len(documents)))
        return _joined(parts, record.dim)

    def _commit(self, screened: _Screened, vectors: Ragged, catalog: Catalog) -> int:
        documents = [record.document for record in screened.records]
        ids = [document.id for document in documents]
        record, register, replaced = catalog.codec(), catalog.register, 0
        if not documents:
            return 0
        with catalog.transaction("upsert" if self._replace else "add") as generation:
            if self._replace:
                replaced = len(register.bury(ids, generation))
            buffer, first = register.buffer(), register.pending_size().documents
            if buffer is None:
                buffer = catalog.take_number()
            fields = screened.types.types
            codec = load_codec(catalog.root, record)
            batch = pending_batch(buffer, first, generation, documents, fields, vectors, codec)
            register.add_pending(batch)
            add_clipped(catalog, clipped_of(codec, vectors.values))
            register.add(buffer, ids, first)
            catalog.set_meta("fields", screened.types.to_json())
        return replaced


def _joined(parts: Sequence[Ragged], dim: int) -> Ragged:
    values = [part.values for part in parts]
    doclens = np.concatenate([np.zeros(1, np.int64), *(part.doclens for part in parts)])
    joined = np.concatenate(values) if values else np.empty((0, dim), dtype=np.float32)
    return Ragged(joined, np.cumsum(doclens))
