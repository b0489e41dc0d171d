"""The write path: records -> encode -> quantize -> segments -> commit.

A build commits after every segment, so that a killed one is resumed from the last; an `add`
commits once, so that it is there whole or not at all. Where the source is cut into segments
depends on the source and the configuration alone: a resumed build gives the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.config import IndexConfig
from retrieval.corpus import ErrorPolicy, check_document, metadata_columns
from retrieval.encode import Encoder
from retrieval.encode.documents import DocumentEncoder
from retrieval.encode.given import as_numbers, check_vectors
from retrieval.errors import ConfigError, DataError
from retrieval.index import prepare_documents
from retrieval.storage import (
    Catalog,
    Clipped,
    SegmentRecord,
    SegmentWriter,
    add_clipped,
    clipped_of,
    document_batch,
    fields_to_write,
    load_current,
    load_trained,
)
from retrieval.types import BuildProgress, Document, ProgressCallback, Record, TrainingReport

__all__ = [
    "BuildReport",
    "Ingest",
    "truncated_documents",
    "with_place",
]

ENCODE_CHUNK = 512
"""Documents given to the encoder at once; sorted by length inside, so larger means less padding."""


_Span = tuple[float | None, float | None]


@dataclass(frozen=True)
class BuildReport:
    """What a build or an add did. ``documents`` and ``tokens`` (vectors stored, pooled ones where tokens
    are pooled) count this run and, with ``resumed_documents``, what an interrupted one had committed
    before."""

    documents: int
    tokens: int
    skipped: int
    skipped_samples: tuple[str, ...]
    resumed_documents: int
    seconds: float
    encode_seconds: float
    truncated: int = 0
    """Documents of this run that were longer than the encoder's token limit, and were cut; 0 also
    where the encoder cannot tell."""
    replaced: int = 0
    """Documents that were there before and have new content now."""
    training: TrainingReport | None = None
    """What was trained on the documents after they were in; None if nothing was."""


@dataclass(slots=True)
class Batch:
    """The documents of one segment, and the stretch of the source they came from."""

    documents: dict[str, Document] = field(default_factory=dict)
    bytes: int = 0
    records_read: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


class Ingest:
    """Brings documents into an index: `build` of a caller who holds the writer lock, a commit a segment;
    `retrieval.bulk.BulkAdd` does it beside other writers, in one."""

    def __init__(
        self,
        root: Path,
        catalog: Catalog,
        encoder: Encoder,
        policy: ErrorPolicy | None,
        progress: ProgressCallback | None,
    ) -> None:
        self._root, self._catalog, self._encoder = root, catalog, encoder
        self._policy = policy or ErrorPolicy()
        self._progress = progress
        self._config = IndexConfig.of(**catalog.meta("config"))
        self._document_encoder = DocumentEncoder(encoder, self._config.pooling)
        self._record, self._trained = load_current(root, catalog.codec, load_trained)
        self._types = fields_to_write(catalog)
        self._next_segment = int(catalog.meta("next_number"))
        self._started = time.perf_counter()
        self._truncated_before = truncated_documents(encoder)
        self._encode_seconds, self._clipped = 0.0, Clipped()
        self._resumed = 0
        self._documents = 0
        self._tokens = 0

    def build(self, source: Iterable[Document | Record]) -> BuildReport:
        """Add ``source`` with a commit per segment, after what earlier runs committed.

        Raises:
            DataError: the part of the source that is already committed has changed, or the
                source holds no documents.
            ConfigError: errors are to be collected, and a build commits before it has read everything.
        """
        if self._policy.on_error == "collect":
            raise ConfigError("on_error='collect' is for add and upsert; a build takes 'stop' or 'skip'")
        records = with_place(source)
        self._replay(records)
        if self._catalog.build_state()["complete"]:
            if next(records, None) is not None:
                raise DataError("the build is complete, and the input has grown since; add the new documents")
            return self._report()
        for batch, span in self._batches(records, _fraction_of(source)):
            writer = self._write(batch, span)
            with self._catalog.transaction("build") as generation:
                self._register(writer, batch, generation)
        if not self._documents:
            raise DataError(f"the source holds no documents ({self._policy.skipped} skipped)")
        with self._catalog.transaction("complete"):
            segments = len(self._catalog.segments("build"))
            self._catalog.set_meta("build", {"complete": True, "segments": segments})
        return self._report()

    def _replay(self, records: Iterator[Record]) -> None:
        """Read past what is committed, checking that it is still the same."""
        first = 1
        for part in self._catalog.built():
            digest = hashlib.sha256()
            for record in itertools.islice(records, part.records_read):
                digest.update(_record_bytes(record))
            if digest.hexdigest() != part.records_sha256:
                raise DataError(
                    f"the input changed since the build began (records {first} to "
                    f"{first + part.records_read - 1}); build into a new folder"
                )
            first += part.records_read
        self._count_committed()

    def _count_committed(self) -> None:
        """Start counting after what is committed already."""
        for part in self._catalog.built():
            self._documents += part.n_documents
            self._tokens += part.n_tokens
            self._policy.skipped = part.skipped
        self._resumed = self._documents

    def _batches(
        self, records: Iterator[Record], fraction: Callable[[], float | None]
    ) -> Iterator[tuple[Batch, _Span]]:
        """Cut the source into segments; with each, the share of the input before and after it."""
        while True:
            before = fraction()
            batch = self._fill(records)
            if batch.documents:
                yield batch, (before, fraction())
            if not batch.records_read:
                return

    def _fill(self, stream: Iterator[Record]) -> Batch:
        batch = Batch()
        for record in stream:
            batch.records_read += 1
            content = _record_bytes(record)
            batch.digest.update(content)
            try:
                document = self._checked(record, batch.documents)
            except DataError as error:
                self._policy.report(error)
                continue
            batch.documents[document.id] = document
            batch.bytes += len(content)
            full = len(batch.documents) >= self._config.segment_documents
            if full or batch.bytes >= self._config.segment_text_bytes:
                break
        return batch

    def _checked(self, record: Record, ids: Container[str]) -> Document:
        check_document(record.document, record.where)
        doc_id = record.document.id
        if self._is_taken(doc_id, ids):
            raise DataError(f"duplicate id {doc_id!r}; ids are unique in an index", record.where)
        document = check_vectors(record.document, self._encoder, record.where)
        self._types.observe(record)
        return document

    def _is_taken(self, doc_id: str, ids: Container[str]) -> bool:
        """Whether a document of this id is in the index, or among the ``ids`` of this segment."""
        return doc_id in ids or self._catalog.register.find(doc_id) is not None

    def _write(self, batch: Batch, span: _Span) -> SegmentWriter:
        """Encode a batch into a segment's files."""
        writer = self._next_writer()
        documents, done = list(batch.documents.values()), 0

        def encoded(n: int) -> None:
            nonlocal done
            done += n
            self._tell(done / len(documents), done, writer.n_tokens, span)

        try:
            for first in range(0, len(documents), ENCODE_CHUNK):
                chunk = documents[first : first + ENCODE_CHUNK]
                started = time.perf_counter()
                vectors = self._document_encoder.vectors_of(chunk, encoded)
                self._encode_seconds += time.perf_counter() - started
                prepared = prepare_documents(vectors, self._record.metric)
                self._clipped += clipped_of(self._trained.codec, prepared.values)
                writer.append(prepared)
            rows = document_batch(documents, metadata_columns(documents, self._types.types))
            writer.finish(rows.schema, [rows])
        except BaseException:
            writer.abandon()
            raise
        return writer

    def _next_writer(self) -> SegmentWriter:
        """An empty segment, under the next number."""
        writer = SegmentWriter(self._root, self._next_segment, self._trained, self._record.dim)
        self._next_segment += 1
        return writer

    def _register(self, writer: SegmentWriter, batch: Batch, generation: int) -> None:
        """Name a finished segment in the catalog; inside a transaction."""
        segment = SegmentRecord(
            segment=writer.segment,
            codec=self._record.codec,
            generation=generation,
            n_documents=len(batch.documents),
            n_tokens=writer.n_tokens,
            max_norm=writer.max_norm,
            records_read=batch.records_read,
            records_sha256=batch.digest.hexdigest(),
            skipped=self._policy.skipped,
            files=writer.files,
            origins=(writer.segment,),
        )
        self._catalog.add_segment(segment)
        add_clipped(self._catalog, self._clipped)
        self._clipped = Clipped()
        self._catalog.set_meta("next_number", writer.segment + 1)
        self._catalog.register.add(segment.segment, list(batch.documents))
        self._catalog.set_meta("fields", self._types.to_json())
        self._documents += segment.n_documents
        self._tokens += segment.n_tokens

    def _tell(self, share: float, done: int, tokens: int, span: _Span) -> None:
        if self._progress is None:
            return
        before, after = span
        fraction = None if after is None else (before or 0.0) + ((after - (before or 0.0)) * share)
        state = BuildProgress(self._documents + done, self._tokens + tokens, self._policy.skipped, fraction)
        self._progress(state)

    def _report(self) -> BuildReport:
        return BuildReport(
            documents=self._documents,
            tokens=self._tokens,
            skipped=self._policy.skipped,
            skipped_samples=tuple(self._policy.samples),
            resumed_documents=self._resumed,
            seconds=time.perf_counter() - self._started,
            encode_seconds=self._encode_seconds,
            truncated=truncated_documents(self._encoder) - self._truncated_before,
        )


def truncated_documents(encoder: Encoder) -> int:
    """How many documents an encoder has cut so far, 0 if it does not count."""
    return int(getattr(encoder, "truncated_documents", 0))


def with_place(source: Iterable[Document | Record]) -> Iterator[Record]:
    """Records as they are; bare documents numbered from 1."""
    if isinstance(source, Document | Record | str | bytes) or not isinstance(source, Iterable):
        raise DataError(
            f"documents must come as a list or another iterable, not as one {type(source).__name__}"
        )
    for number, item in enumerate(source, 1):
        if not isinstance(item, Document | Record):
            raise DataError(f"expected a Document, not {type(item).__name__}", f"document {number}")
        yield item if isinstance(item, Record) else Record(item, f"document {number}")


def _fraction_of(source: object) -> Callable[[], float | None]:
    """How much of the source has been read, if it can tell."""
    return getattr(source, "fraction", lambda: None)


def _record_bytes(record: Record) -> bytes:
    """A document as bytes, for comparing two readings of a source."""
    document = record.document
    try:
        parts = [document.id, document.title, document.text, dict(document.metadata)]
        content = json.dumps(parts, sort_keys=True, default=str).encode()
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"not a usable document ({error})", record.where) from None
    given = None if document.vectors is None else as_numbers(document.vectors)
    return content if given is None else content + given.tobytes()
