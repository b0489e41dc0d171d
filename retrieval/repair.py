"""Repair of a damaged index: what can be derived is derived again from the stored documents.

A segment whose codes, offsets or births are damaged, but whose documents are whole, is encoded anew;
where only what the trained search keeps of it is damaged, that is made again from its codes. One whose
documents are damaged is lost: it is named with its ids, and dropped only on request. A trained search
whose own arrays are damaged is dropped: until it is trained again, every stored vector is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrieval.build import ENCODE_CHUNK
from retrieval.config import RuntimeConfig
from retrieval.encode import Encoder, load_stored_encoder
from retrieval.encode.base import check_encoder, check_fingerprint, fingerprint_of
from retrieval.encode.documents import DocumentEncoder
from retrieval.errors import IndexDamagedError, IndexFolderError, IndexLockedError, IndexUnfinishedError
from retrieval.index import prepare_documents
from retrieval.registering import register_merged
from retrieval.storage import (
    CODEC,
    FEATURE,
    Catalog,
    DocumentTable,
    SegmentReader,
    SegmentRecord,
    SegmentView,
    SegmentWriter,
    Snapshot,
    Trained,
    birth_keys,
    document_schema,
    file_problems,
    load_codec,
    load_trained,
    merge_lock,
    remove_segments,
    remove_untrained,
    stored_part,
    trained_problems,
    without_search,
    write_merged,
    writer_lock,
)
from retrieval.types import IntArray

__all__ = ["LostSegment", "RepairReport", "repair_index"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class LostSegment:
    """A segment that cannot be derived again, why, and the documents that were in it."""

    segment: int
    problem: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did: ``segments`` rebuilt, ``documents`` encoded again, and what is ``lost``;
    the latter is still there unless ``dropped``. ``search`` tells what became of a trained search that
    could not be kept; None: nothing was wrong with it."""

    segments: int
    documents: int
    lost: tuple[LostSegment, ...]
    dropped: bool
    search: str | None = None


def repair_index(
    path: str | Path,
    encoder: Encoder | None = None,
    *,
    runtime: RuntimeConfig | None = None,
    drop_lost: bool = False,
    progress: Progress | None = None,
) -> RepairReport:
    """Rebuild damaged segments from their documents, each in one commit, while others read.

    Without ``encoder`` the one that the index was built with is loaded, when it is needed.
    ``progress(documents_done, documents_total)``.

    Raises:
        IndexDamagedError: the catalog itself, a pending document, or the calibration without which no
            stored vector can be read, is damaged: restore a copy.
        IndexLockedError: another process is writing or merging.
        EncoderMismatchError: ``encoder`` is not the one the index was built with.
    """
    root = Path(path)
    Catalog.check_present(root)
    with writer_lock(root), merge_lock(root) as free, Catalog.open(root, write=True) as catalog:
        if not free:
            raise IndexLockedError(f"{root} is being merged by another process; try again later")
        _check_catalog(root, catalog)
        repair = _Repair(root, catalog, encoder, runtime)
        return repair.run(drop_lost=drop_lost, progress=progress)


def _check_catalog(root: Path, catalog: Catalog) -> None:
    """Only a catalog that is whole can say what has to be repaired."""
    if not catalog.build_state()["complete"]:
        raise IndexUnfinishedError(f"the build of {root} was interrupted; finish it with --resume first")
    problems = catalog.problems()
    if catalog.register.count_damaged_tombstones():
        problems.append("catalog: deletions are not what was committed; restore the index from a copy")
    for record in catalog.segments():
        if record.stored_checksum != record.checksum:
            problems.append(
                f"catalog: segment {record.segment} is not what was committed; restore the index from a copy"
            )
    if problems:
        raise IndexDamagedError(problems[0])
    for _ in catalog.register.pending():
        pass  # to read a batch is to check it


class _Repair:
    def __init__(
        self, root: Path, catalog: Catalog, encoder: Encoder | None, runtime: RuntimeConfig | None
    ) -> None:
        self._root, self._catalog, self._runtime = root, catalog, runtime
        self._record = catalog.codec()
        self._search: str | None = None
        self._trained = self._usable()
        self._fields = catalog.fields().types
        self._given = None if encoder is None else check_encoder(encoder)
        if self._given is not None:
            check_fingerprint(self._record.encoder_fingerprint, fingerprint_of(self._given))

    def _usable(self) -> Trained:
        """What was trained, as far as it is whole; the search is dropped where it is not."""
        root, record = self._root, self._record
        if found := trained_problems(root, record, CODEC):
            raise IndexDamagedError(
                f"{found[0]}, or build it anew: without this, no stored vector can be read"
            )
        codec = load_codec(root, record)
        found = trained_problems(root, record)
        try:
            if not found:
                return load_trained(root, record)
        except IndexDamagedError as error:
            found = [str(error)]
        self._record = without_search(record)
        with self._catalog.transaction("repair"):
            self._catalog.change_codec(self._record, [FEATURE] if self._record.files else [])
        with suppress(IndexFolderError):  # what remains does no harm
            remove_untrained(root, self._record)
        problem = found[0].rpartition(";")[0]
        self._search = (
            f"{problem}: the trained search was dropped, and every vector is scored now; "
            "train it again with compact --retrain, or another with compact --preset"
        )
        return Trained(codec)

    def run(self, *, drop_lost: bool, progress: Progress | None) -> RepairReport:
        damaged = [record for record in self._catalog.segments() if self._is_damaged(record)]
        total, rebuilt, done, lost = sum(record.n_documents for record in damaged), 0, 0, []

        def tell(encoded: int) -> None:
            if progress is not None:
                progress(done + encoded, total)

        for record in damaged:
            try:
                done += self._rebuild(record, tell)
                rebuilt += 1
            except _Lost as error:
                ids = tuple(self._catalog.register.born_in(record.origins))
                lost.append(LostSegment(record.segment, str(error), ids))
                if drop_lost:
                    self._drop(record)
        return RepairReport(rebuilt, done, tuple(lost), drop_lost and bool(lost), self._search)

    def _is_damaged(self, record: SegmentRecord) -> bool:
        if file_problems(self._root, record):
            return True
        try:
            return bool(SegmentReader(self._root, record, self._trained).problems())
        except IndexDamagedError:
            return True

    def _rebuild(self, record: SegmentRecord, tell: Callable[[int], None]) -> int:
        """Write the living documents of a segment as a new one; returns how many had to be encoded."""
        files = self._arranged_again(record)
        encoded = 0
        if files is None:
            documents = self._documents(record)
            ordinals, keys = self._living(record, documents)
            files = self._write(documents, ordinals, keys, tell)
            encoded = files.n_documents
        with self._catalog.transaction("repair") as generation:
            self._catalog.take_number()
            self._catalog.remove_segments([record.segment])
            self._catalog.register.clear_tombstones(record.origins, generation)
            register_merged(self._catalog, files, record.origins, self._record.codec, generation)
        if not files.n_documents:
            files.abandon()
        remove_segments(self._root, [record.segment])
        return encoded

    def _arranged_again(self, record: SegmentRecord) -> SegmentWriter | None:
        """A segment whose codes and documents are whole, written with what the search keeps of it; None
        where they are not."""
        stored = stored_part(record)
        if file_problems(self._root, stored):
            return None
        try:
            reader = SegmentReader(self._root, stored)
        except IndexDamagedError:
            return None
        if reader.problems():
            return None
        view = SegmentView(reader).without(self._catalog.register.tombstones(record.origins))
        generation, number = self._catalog.generation(), int(self._catalog.meta("next_number"))
        snapshot = Snapshot(generation, self._record, self._trained, [view], self._fields)
        return write_merged(self._root, number, snapshot, [view])

    def _documents(self, record: SegmentRecord) -> DocumentTable:
        """The documents of a segment.

        Raises:
            _Lost: they are damaged.
        """
        file = record.file("documents")
        if found := file_problems(self._root, replace(record, files=(file,))):
            raise _Lost(found[0])
        return DocumentTable.mapped(self._root, file)

    def _living(self, record: SegmentRecord, documents: DocumentTable) -> tuple[IntArray, IntArray]:
        """Ordinals and births of the documents that are not deleted; the births by the catalog. Within
        one segment an id stands only once."""
        births = self._catalog.register.born_in(record.origins)
        found = [(i, births[doc_id]) for i, doc_id in enumerate(documents.ids()) if doc_id in births]
        ordinals = np.array([i for i, _ in found], dtype=np.int64)
        keys = birth_keys(np.array([birth for _, birth in found], dtype=np.int64).reshape(-1, 2))
        if len(found) != len(births) or (np.diff(keys) <= 0).any():
            raise _Lost(f"segment {record.segment}: its documents are not those that the catalog names")
        return ordinals, keys

    def _write(
        self, documents: DocumentTable, ordinals: IntArray, keys: IntArray, tell: Callable[[int], None]
    ) -> SegmentWriter:
        number = int(self._catalog.meta("next_number"))
        writer = SegmentWriter(self._root, number, self._trained, self._record.dim)
        try:
            for chunk in _chunks(ordinals):
                texts = [documents.document(int(ordinal)).full_text for ordinal in chunk]
                vectors = self._document_encoder().encode(texts)
                writer.append(prepare_documents(vectors, self._record.metric))
                tell(writer.n_documents)
            rows = (documents.rows(chunk, self._fields) for chunk in _chunks(ordinals))
            writer.finish(document_schema(self._fields), rows, keys)
        except BaseException:
            writer.abandon()
            raise
        return writer

    def _encoder(self) -> Encoder:
        if self._given is None:
            record = self._record
            self._given = load_stored_encoder(
                self._root, record.encoder, record.encoder_fingerprint, self._runtime
            )
        return self._given

    def _document_encoder(self) -> DocumentEncoder:
        return DocumentEncoder(self._encoder(), self._catalog.pooling())

    def _drop(self, record: SegmentRecord) -> None:
        with self._catalog.transaction("drop"):
            self._catalog.remove_segments([record.segment])
            self._catalog.register.forget(record.origins)
        remove_segments(self._root, [record.segment])


class _Lost(Exception):
    """A segment cannot be derived again."""


def _chunks(ordinals: IntArray) -> Iterator[IntArray]:
    for first in range(0, len(ordinals), ENCODE_CHUNK):
        yield ordinals[first : first + ENCODE_CHUNK]
