"""Many documents added in one commit, while others write.

They are encoded and written to segments that nobody else knows of, under numbers that no segment gets. The
writer lock is taken when all is on disk: then it is looked at once more what has come meanwhile, and the
segments get their numbers. So the lock is held for a moment, however long the encoder takes. Where the index
has been converted meanwhile, the vectors are first written anew in its new way.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from retrieval.build import ENCODE_CHUNK, Batch, BuildReport, Ingest
from retrieval.corpus import ErrorPolicy, FieldTypes
from retrieval.encode import Encoder
from retrieval.errors import DataError
from retrieval.quantize import Codec
from retrieval.storage import (
    PROVISIONAL,
    Catalog,
    Clipped,
    DocumentTable,
    SegmentWriter,
    Session,
    clipped_of,
    document_schema,
    fields_to_write,
    load_trained,
    map_array,
)
from retrieval.types import Document, ProgressCallback, Ragged, Record

__all__ = ["BulkAdd"]

COMMIT_PATIENCE = 60.0
"""Seconds that finished segments wait for another process to stop writing, before they are thrown away."""


class Source(Protocol):
    """Records, and the share of them that has been read (None: unknown)."""

    fraction: Callable[[], float | None]

    def __iter__(self) -> Iterator[Record]:
        """All records, once."""


class _Written(NamedTuple):
    """A segment on disk, and what `Ingest` knows of it; the texts are let go of."""

    files: SegmentWriter
    batch: Batch

    @property
    def ids(self) -> list[str]:
        """Of its documents, by their ordinals."""
        return [*self.batch.documents]


class BulkAdd(Ingest):
    """One add, or with ``replace`` an upsert; the caller holds the index's lock of adding.

    ``reading`` is a catalog to look things up in. Memory holds the texts of one segment, and all ids.
    """

    def __init__(
        self,
        root: Path,
        reading: Catalog,
        encoder: Encoder,
        policy: ErrorPolicy,
        progress: ProgressCallback | None,
        *,
        replace: bool,
    ) -> None:
        # Before all else: whatever comes later is looked at again.
        self._seen, self._types_seen = reading.generation(), reading.fields()
        super().__init__(root, reading, encoder, policy, progress)
        self._replace, self._replaced, self._next_segment = replace, 0, PROVISIONAL
        self._read: set[str] = set()

    def run(self, source: Source, session: Session) -> BuildReport:
        """Encode and write ``source``, then commit it in a ``session`` with the writer lock, for which it
        waits the seconds that it is given.

        Raises:
            DataError: a document cannot be used; see `ErrorPolicy` for which of them.
            IndexLockedError: another process keeps the lock.
        """
        written: list[_Written] = []
        try:
            for batch, span in self._batches(iter(source), source.fraction):
                self._read |= batch.documents.keys()
                if self._policy.is_refusing:  # read on for the other errors; encode no more
                    continue
                written.append(_Written(self._write(batch, span), batch))
                batch.documents = _named(batch.documents)
                self._count(written)
            self._policy.settle()
            while not self._commit(written, session):
                pass
        except BaseException:
            _abandon(written)
            raise
        return changed(self._report(), replaced=self._replaced)

    def _commit(self, written: list[_Written], session: Session) -> bool:
        """Commit all, or where the index has been converted, write all anew; returns whether it is done."""
        with session(COMMIT_PATIENCE) as self._catalog:
            record, before = self._catalog.codec(), self._trained.codec
            if record == self._record:
                with self._catalog.transaction("upsert" if self._replace else "add") as generation:
                    with _abandoning(written):  # before the lock goes: the next writer gets the same numbers
                        self._name(written, generation)
                    # A commit that fails may have happened: only `clear_leftovers` can tell.
                    written.clear()
                return True
            # With the lock: the next conversion would take it away.
            self._record, self._trained = record, load_trained(self._root, record)
        self._clipped = Clipped()
        for i, one in enumerate(written):
            written[i] = one._replace(files=self._rewritten(one.files, before))
            one.files.abandon()
        return False

    def _rewritten(self, files: SegmentWriter, before: Codec) -> SegmentWriter:
        """A segment with the same documents, in the way in which vectors are stored now."""
        codes, offsets = (
            map_array(self._root, files.file("codes")),
            map_array(self._root, files.file("offsets")),
        )
        writer = self._next_writer()
        try:
            for first in range(0, files.n_documents, ENCODE_CHUNK):
                bounds = offsets[first : first + ENCODE_CHUNK + 1]
                values = before.decode(codes[bounds[0] : bounds[-1]]).astype(np.float32, copy=False)
                self._clipped += clipped_of(self._trained.codec, values)
                writer.append(Ragged(values, bounds - bounds[0]))
            documents = DocumentTable.mapped(self._root, files.file("documents"))
            fields = self._types.types
            writer.finish(document_schema(fields), [documents.rows(np.arange(len(documents)), fields)])
        except BaseException:
            writer.abandon()
            raise
        return writer

    def _is_taken(self, doc_id: str, ids: Container[str]) -> bool:
        """Of several documents of one id the last takes the place of the others, if it may of any."""
        return not self._replace and (doc_id in self._read or super()._is_taken(doc_id, ids))

    def _register(self, writer: SegmentWriter, batch: Batch, generation: int) -> None:
        """As for a build, after what is replaced was deleted."""
        if self._replace:
            self._replaced += len(self._catalog.register.bury(list(batch.documents), generation))
        super()._register(writer, batch, generation)

    def _name(self, written: Sequence[_Written], generation: int) -> None:
        """Register all segments; inside a transaction."""
        taken: list[dict[str, str]] = [{}] * len(written)
        if generation > self._seen + 1:
            self._observe_again(written)
            taken = [self._taken(one) for one in written]
            self._policy.settle()
        self._count([])
        for one, others in zip(written, taken, strict=True):
            one.files.renumber(self._catalog.take_number())
            # A document that comes too late has an ordinal all the same: it is registered and buried.
            one.batch.documents = _named([others.get(doc_id, doc_id) for doc_id in one.ids])
            self._register(*one, generation)
            self._documents -= len(self._catalog.register.bury([*others.values()], generation))

    def _count(self, written: Sequence[_Written]) -> None:
        """For progress: what is on disk; and nothing before that is registered, and counted again."""
        self._documents = sum(one.files.n_documents for one in written)
        self._tokens = sum(one.files.n_tokens for one in written)

    def _observe_again(self, written: Sequence[_Written]) -> None:
        """Find the types of fields once more, if somebody else has changed them, or these do: then somebody
        else may have added integers that the new types would round."""
        types = fields_to_write(self._catalog)
        is_same = types.to_json() == self._types_seen.to_json()
        if is_same and not self._types.has_new_floats(self._types_seen):
            return
        for one in written:
            _observe(types, DocumentTable.mapped(self._root, one.files.file("documents")))
        self._types = types

    def _taken(self, one: _Written) -> dict[str, str]:
        """Ids that somebody else has added meanwhile, each with one that no document has."""
        if self._replace:
            return {}
        found = self._catalog.register.find_all(one.ids)
        for doc_id in found:
            told = f"duplicate id {doc_id!r}, which somebody else has added meanwhile"
            self._policy.report(DataError(f"{told}; ids are unique in an index"))
        return {doc_id: f"\0{doc_id}" for doc_id in found}


@contextmanager
def _abandoning(written: list[_Written]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _abandon(written)
        raise


def _abandon(written: list[_Written]) -> None:
    """Remove segments, once."""
    while written:
        written.pop().files.abandon()


def _named(ids: Sequence[str] | dict[str, Document]) -> dict[str, Document]:
    """Documents of which only the ids are left, in their order."""
    return {doc_id: Document(doc_id, "") for doc_id in ids}


def _observe(types: FieldTypes, documents: DocumentTable) -> None:
    """Whatever the policy: a column cannot hold the values of some documents in another type.

    Raises:
        DataError: a field's type does not go with the one that it has now.
    """
    for ordinal in range(len(documents)):
        document = documents.document(ordinal)
        types.observe(Record(document, f"document {document.id!r}"))
