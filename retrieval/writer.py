"""Small commits to an index that is being read: add, upsert, delete.

Each is one transaction in the catalog, durable when it returns and seen by the next search. What
comes in many documents goes to segments at once (`BulkAdd`), all in one commit too. Either is encoded before
the writer lock is taken.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.build import ENCODE_CHUNK, BuildReport, truncated_documents, with_place
from retrieval.bulk import BulkAdd
from retrieval.corpus import ErrorPolicy, FieldTypes, check_document
from retrieval.encode import Encoder
from retrieval.encode.documents import DocumentEncoder
from retrieval.errors import ConfigError, DataError, IndexLockedError, QueryError
from retrieval.index import prepare_documents
from retrieval.storage import (
    WAIT_SECONDS,
    Catalog,
    add_clipped,
    add_lock,
    clear_leftovers,
    clipped_of,
    load_codec,
    pending_batch,
    writer_lock,
)
from retrieval.types import BuildProgress, Document, ProgressCallback, Ragged, Record

__all__ = ["Writer", "check_ids"]

CHARACTERS_PER_TOKEN = 4
"""A guess, and a low one, of how much text gives a vector: it decides where a commit is stored."""


class Writer:
    """Commits to one index. Threads take turns; another process that writes is waited for shortly.

    ``reading`` is a catalog to look things up in without keeping others from writing;
    ``max_documents`` and ``max_bytes`` bound a commit that goes to the catalog instead of to
    segments. Where damage is skipped nothing is written: what cannot be seen could not be kept either.
    """

    def __init__(
        self,
        root: Path,
        reading: Catalog,
        max_documents: int,
        max_bytes: int,
        *,
        skip_damaged: bool = False,
    ) -> None:
        self._root, self._reading = root, reading
        self._max_documents, self._max_bytes = max_documents, max_bytes
        self._skip_damaged = skip_damaged
        self._turn, self._adding = threading.RLock(), threading.RLock()
        self._catalog: Catalog | None = None

    @contextmanager
    def session(self, patience: float = WAIT_SECONDS) -> Iterator[Catalog]:
        """The catalog to write to, while nobody else writes; ``patience`` is how many seconds to
        wait for another process.

        Raises:
            ConfigError: damage is being skipped.
            IndexLockedError: another process is writing; the message names it.
            IndexNotFoundError: the index has been removed, or replaced by another.
        """
        self.check_writable()
        with self._turn:
            Catalog.check_present(self._root)  # before a lock file is made where there is no index
            with writer_lock(self._root, patience):
                catalog = self._opened()
                clear_leftovers(self._root, catalog)
                yield catalog

    @contextmanager
    def adding(self) -> Iterator[None]:
        """While many documents are added, or all are converted: nobody else does either, and small commits
        go on.

        Raises:
            IndexLockedError: another process is doing one of them.
        """
        with self._adding:
            Catalog.check_present(self._root)
            with add_lock(self._root, WAIT_SECONDS) as free:
                if not free:
                    raise IndexLockedError(
                        f"another process is adding many documents to {self._root}; wait for it or stop it"
                    )
                yield

    def check_writable(self) -> None:
        """Whether this may write at all.

        Raises:
            ConfigError: damage is being skipped.
        """
        if self._skip_damaged:
            raise ConfigError(
                f"{self._root} was opened with skip_damaged, which is for reading only; "
                "repair it, then open it without"
            )

    def _opened(self) -> Catalog:
        # What was read belongs to the old index: nothing of it may be written to a new one.
        self._reading.check_in_place()
        if self._catalog is None:
            self._catalog = Catalog.open(self._root, write=True)
        self._catalog.check_in_place()
        return self._catalog

    def wait(self) -> None:
        """Wait for what is being written."""
        with self._adding, self._turn:
            pass

    def close(self) -> None:
        """Close the catalog, after what is being written."""
        with self._adding, self._turn:
            if self._catalog is not None:
                self._catalog.close()
                self._catalog = None

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents in one commit; returns how many there were."""
        with self.session() as catalog:
            return self.delete_in(catalog, ids)

    def delete_in(self, catalog: Catalog, ids: Sequence[str]) -> int:
        """`delete` inside a session."""
        there = [doc_id for doc_id in dict.fromkeys(ids) if catalog.register.find(doc_id) is not None]
        if there:
            with catalog.transaction("delete") as generation:
                catalog.register.bury(there, generation)
        return len(there)

    def put(
        self,
        source: Iterable[Document | Record],
        encoder: Encoder,
        policy: ErrorPolicy | None,
        progress: ProgressCallback | None,
        *,
        replace: bool,
    ) -> BuildReport:
        """Add documents in one commit; with ``replace`` they take the place of those there.

        Raises:
            DataError: a document cannot be used, or without ``replace`` its id is there already; see
                `ErrorPolicy` for which of them.
        """
        records, policy = with_place(source), policy or ErrorPolicy()
        head, is_all = self._head(records)
        if is_all:
            return _SmallCommit(self, encoder, policy, replace).run(head, self._reading, progress)
        self.check_writable()
        with self.adding():
            bulk = BulkAdd(self._root, self._reading, encoder, policy, progress, replace=replace)
            return bulk.run(_Rejoined(head, records, source), self.session)

    def _head(self, records: Iterator[Record]) -> tuple[list[Record], bool]:
        """The first records, and whether they are all and few enough for a commit in the catalog."""
        codec = self._reading.codec()
        stored = load_codec(self._root, codec)
        vector = stored.width(codec.dim) * stored.dtype.itemsize
        head, size = [], 0
        for record in records:
            head.append(record)
            length = sum(len(part) for part in _texts(record.document))
            size += length + vector * (1 if codec.kind == "dense" else length // CHARACTERS_PER_TOKEN + 1)
            if len(head) > self._max_documents or size > self._max_bytes:
                return head, False
        return head, True


def _texts(document: Document) -> list[str]:
    return [part for part in (document.title, document.text) if isinstance(part, str)]


class _Rejoined:
    """A source whose first records were read already."""

    def __init__(self, head: Sequence[Record], rest: Iterator[Record], source: object) -> None:
        self._head, self._rest = head, rest
        self.fraction: Callable[[], float | None] = getattr(source, "fraction", lambda: None)

    def __iter__(self) -> Iterator[Record]:
        return itertools.chain(self._head, self._rest)


@dataclass(frozen=True, slots=True)
class _Screened:
    """Documents that can be added, as far as one generation tells, and the fields with theirs."""

    records: tuple[Record, ...]
    types: FieldTypes
    generation: int


class _SmallCommit:
    """Documents on their way into the catalog. They are encoded before the writer lock is taken."""

    def __init__(self, writer: Writer, encoder: Encoder, policy: ErrorPolicy, replace: bool) -> None:
        self._writer, self._encoder = writer, encoder
        self._policy, self._replace = policy, replace

    def run(
        self, records: Sequence[Record], reading: Catalog, progress: ProgressCallback | None
    ) -> BuildReport:
        started, cut = time.perf_counter(), truncated_documents(self._encoder)
        with reading.reading():
            screened = self._screen(records, reading)
        self._policy.settle()
        encoding = time.perf_counter()
        vectors = self._encode([record.document for record in screened.records], reading, progress)
        encoded, replaced = time.perf_counter(), 0
        if screened.records:
            with self._writer.session() as catalog:
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
        types = catalog.fields()
        kept: dict[str, Record] = {}
        for record in records:
            try:
                check_document(record.document, record.where)
                doc_id = record.document.id
                there = doc_id in kept or catalog.register.find(doc_id) is not None
                if there and not self._replace:
                    raise DataError(f"duplicate id {doc_id!r}; ids are unique in an index", record.where)
                types.observe(record)
            except DataError as error:
                self._policy.report(error)
            else:
                kept[doc_id] = record
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

    def _encode(
        self, documents: Sequence[Document], catalog: Catalog, progress: ProgressCallback | None
    ) -> Ragged:
        record, parts, done = catalog.codec(), [], 0
        encoder = DocumentEncoder(self._encoder, catalog.pooling())
        for first in range(0, len(documents), ENCODE_CHUNK):
            texts = [document.full_text for document in documents[first : first + ENCODE_CHUNK]]
            parts.append(prepare_documents(encoder.encode(texts), record.metric))
            done += len(texts)
            if progress is not None:
                tokens = sum(len(part.values) for part in parts)
                progress(BuildProgress(done, tokens, self._policy.skipped, done / len(documents)))
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


def check_ids(ids: object) -> list[str]:
    """Ids as a list.

    Raises:
        QueryError: one id instead of a list, or something that is no string.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise QueryError(f"ids is a list of document ids, such as [{ids!r}]")
    listed = list(ids)
    wrong = [doc_id for doc_id in listed if not isinstance(doc_id, str)]
    if wrong:
        raise QueryError(f"a document id is a string, not {wrong[0]!r}")
    return listed
