"""Documents to a collection: checked here as the engine checks them, sent in batches or as one task."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import pyarrow as pa

from retrieval.build import BuildReport, with_place
from retrieval.client.collection import CollectionCalls
from retrieval.client.errors import RemoteError
from retrieval.client.exchange import ARROW, NDJSON, Call, Reply, Request, ask, idempotency_key, understood
from retrieval.client.packing import packed
from retrieval.client.tasks import finished, task_of
from retrieval.corpus import ErrorPolicy, FieldTypes, check_document, metadata_columns
from retrieval.encode.given import as_numbers
from retrieval.errors import ConfigError, DataError, RetrievalError
from retrieval.jsonable import json_value
from retrieval.types import BuildProgress, Document, FloatArray, ProgressCallback, Record

__all__ = ["Ack", "write"]

Ack = Literal["searchable", "durable", "task"]
BATCH_DOCUMENTS = 256
BATCH_BYTES = 4 << 20
"""One request. A model needs seconds for so many documents, and an answer has to come within the timeout."""
IN_MEMORY = 16 << 20
"""Bytes of a task's documents that need no file."""


def write(
    calls: CollectionCalls,
    documents: Iterable[Document | Record],
    policy: ErrorPolicy | None,
    progress: ProgressCallback | None,
    *,
    mode: Literal["add", "upsert"],
    ack: Ack,
) -> Call[BuildReport]:
    """`Engine.add` or `Engine.upsert`.

    Raises:
        DataError: a document cannot be used, and the policy is ``stop``.
        ConfigError: two different policies, or an ``ack`` that there is not.
    """
    if ack not in ("searchable", "durable", "task"):
        raise ConfigError(f"ack={ack!r}: it is 'searchable', 'durable' or 'task'")
    writing = _Writing(calls, _policy_of(documents, policy), progress, mode, ack)
    return (yield from writing.as_task(documents) if ack == "task" else writing.in_batches(documents))


def _policy_of(source: object, given: ErrorPolicy | None) -> ErrorPolicy:
    """One policy for the reader and the writer, as `Engine.add` has it."""
    own = getattr(source, "policy", None)
    if own is not None and given is not None and own is not given:
        raise ConfigError(
            "the corpus and the engine were given two different policies; pass the same object to both"
        )
    return given or own or ErrorPolicy()


@dataclass(slots=True)
class _Batch:
    records: list[Record] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    size: int = 0

    def put(self, record: Record, line: bytes) -> None:
        self.records.append(record)
        self.lines.append(line)
        self.size += len(line)


@dataclass(frozen=True, slots=True)
class _Written:
    """What the service did with one request: ``errors`` are positions (-1: unknown) and sentences."""

    documents: int
    replaced: int
    encode_seconds: float
    errors: tuple[tuple[int, str], ...]


def _written_of(answer: Mapping[str, Any]) -> _Written:
    errors = [(item.get("index"), str(item["detail"])) for item in answer.get("errors") or ()]
    return _Written(
        int(answer["documents"]),
        int(answer.get("replaced", 0)),
        float((answer.get("timings_ms") or {}).get("encode", 0.0)) / 1000,
        tuple((at if isinstance(at, int) else -1, detail) for at, detail in errors),
    )


class _Writing:
    """One call of ``add`` or ``upsert``."""

    def __init__(
        self,
        calls: CollectionCalls,
        policy: ErrorPolicy,
        progress: ProgressCallback | None,
        mode: str,
        ack: Ack,
    ) -> None:
        self._path, self._policy, self._progress = calls.path("documents"), policy, progress
        # Whatever a policy does beside stopping, the server is to name all that it leaves out.
        on_error = "skip" if policy.on_error == "skip" else "stop"
        self._params = {"mode": mode, "ack": ack, "on_error": on_error}
        self._types = FieldTypes()
        self._started = time.perf_counter()
        self._written = self._replaced = 0
        self._encoding = 0.0

    def in_batches(self, documents: Iterable[Document | Record]) -> Call[BuildReport]:
        """A commit for each batch."""
        try:
            for batch in self._batches(documents):
                self._policy.settle()
                reply = yield from self._sent(self._body(batch), batch.records)
                self._account(reply.read(_written_of), batch.records)
            self._policy.settle()
        except RetrievalError as error:
            if self._written:  # whatever went wrong: the caller has to know that this is not nothing
                error.args = (f"{error}; {self._written} documents of batches before it are written",)
            raise
        return self._report()

    def as_task(self, documents: Iterable[Document | Record]) -> Call[BuildReport]:
        """One request, which the server has on disk before it answers."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
            places: list[str] = []
            for record, line in self._lines(documents):
                if _holds_time(record.document.metadata):
                    raise DataError(
                        "metadata with dates or time stamps is not sent as a task; use ack='searchable', or "
                        "write them as ISO 8601 strings",
                        record.where,
                    )
                spool.write(line)
                places.append(record.where)
            self._policy.settle()
            if not places:
                return self._report()
            reply = yield from ask(self._request(cast(BinaryIO, spool), NDJSON))
        done = yield from finished(reply.read(task_of))
        written = understood(lambda: _written_of(done.result or {}), f"the result of the task {done.id}")
        self._account(written, [Record(Document("", ""), where) for where in places])
        return self._report()

    # -- what is sent -------------------------------------------------------------------------

    def _lines(self, documents: Iterable[Document | Record]) -> Iterator[tuple[Record, bytes]]:
        for record in with_place(documents):
            try:
                check_document(record.document, record.where)
                self._types.observe(record)
                line = _line(record)
            except DataError as error:
                self._policy.report(error)
                continue
            yield record, line

    def _batches(self, documents: Iterable[Document | Record]) -> Iterator[_Batch]:
        batch = _Batch()
        for record, line in self._lines(documents):
            full = len(batch.records) >= BATCH_DOCUMENTS or batch.size + len(line) > BATCH_BYTES
            if full and batch.records:
                yield batch
                batch = _Batch()
            batch.put(record, line)
        if batch.records:
            yield batch

    def _body(self, batch: _Batch) -> Request:
        if any(_holds_time(record.document.metadata) for record in batch.records):
            # JSON would make strings of them, which a field of dates refuses.
            return self._request(_arrow([record.document for record in batch.records], self._types), ARROW)
        return self._request(b"".join(batch.lines), NDJSON)

    def _request(self, content: bytes | BinaryIO, content_type: str) -> Request:
        key = idempotency_key()  # a repetition is harmless then, whatever happened to the first
        return Request("POST", self._path, self._params, content, content_type, key, repeatable=True)

    # -- what comes back ----------------------------------------------------------------------

    def _sent(self, request: Request, records: list[Record]) -> Call[Reply]:
        try:
            return (yield from ask(request))
        except DataError as error:
            raise self._placed(error, records) from error.__cause__

    def _placed(self, error: DataError, records: list[Record]) -> DataError:
        """The error with the place that the caller knows the document by."""
        remote = error.__cause__
        listed = remote.errors if isinstance(remote, RemoteError) else ()
        found = [(_index_of(item), str(item.get("detail"))) for item in listed]
        named = [DataError(told, records[at].where) for at, told in found if 0 <= at < len(records)]
        if not named:
            return error
        more = f"; and {len(named) - 1} more" if len(named) > 1 else ""
        return DataError(f"{named[0].detail}{more}", named[0].where, named)

    def _account(self, written: _Written, records: list[Record]) -> None:
        self._written += written.documents
        self._replaced += written.replaced
        self._encoding += written.encode_seconds
        for at, detail in written.errors:
            self._policy.report(DataError(detail, records[at].where if 0 <= at < len(records) else None))
        if self._progress is not None:
            self._progress(BuildProgress(self._written, 0, self._policy.skipped, None))

    def _report(self) -> BuildReport:
        return BuildReport(
            documents=self._written,
            tokens=0,
            skipped=self._policy.skipped,
            skipped_samples=tuple(self._policy.samples),
            resumed_documents=0,
            seconds=time.perf_counter() - self._started,
            encode_seconds=self._encoding,
            replaced=self._replaced,
        )


def _line(record: Record) -> bytes:
    document = record.document
    values: dict[str, Any] = {"id": document.id, "title": document.title, "text": document.text}
    if document.metadata:
        values["metadata"] = json_value(document.metadata)
    if (vectors := _vectors(document, record.where)) is not None:
        values["vector" if vectors.ndim == 1 else "vectors"] = packed(vectors)
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _vectors(document: Document, where: str | None = None) -> FloatArray | None:
    """Those that the document brings; what is no vectors at all is refused here, the rest by the service.

    Raises:
        DataError: no numbers.
    """
    if document.vectors is None:
        return None
    array = as_numbers(document.vectors)
    if array is None or array.ndim not in (1, 2) or not array.size:
        raise DataError("the vectors are no array of numbers, all rows of the same length", where)
    return array


def _holds_time(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_time(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_time(item) for item in value)
    return isinstance(value, date)  # a time stamp is one too


def _arrow(documents: list[Document], types: FieldTypes) -> bytes:
    """Documents as an Arrow stream; metadata is one column, so that no field can hide ``id`` or ``text``."""
    fields = metadata_columns(documents, types.types)
    columns = {name: pa.array([getattr(one, name) for one in documents]) for name in ("id", "title", "text")}
    vectors = [_vectors(one) for one in documents]
    if any(each is not None for each in vectors):
        rows = [None if each is None else list(np.atleast_2d(each)) for each in vectors]
        columns["vectors"] = pa.array(rows, pa.list_(pa.list_(pa.float32())))
    columns["metadata"] = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def _index_of(item: Mapping[str, Any]) -> int:
    """Which document a pointer such as ``/documents/3`` names; -1 for none."""
    parts = str(item.get("pointer")).split("/")
    return int(parts[2]) if len(parts) > 2 and parts[1] == "documents" and parts[2].isdecimal() else -1
