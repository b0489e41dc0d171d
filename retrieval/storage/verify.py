"""Whether an index is whole: every checksum, and that each document is in exactly one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.errors import IndexDamagedError
from retrieval.storage.births import birth_keys, find_births
from retrieval.storage.catalog import Catalog
from retrieval.storage.pending import PendingBuffer, PendingReader
from retrieval.storage.records import CodecRecord, SegmentRecord
from retrieval.storage.segment import SegmentReader, file_problems
from retrieval.storage.trained import Trained, load_trained, trained_problems

__all__ = ["VerifyReport", "verify_files"]

RESTORE = "restore the index from a copy"


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what is wrong."""

    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_files(
    root: Path, catalog: Catalog, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check every checksum and invariant of one generation, also while others write.

    ``progress(bytes_done, bytes_total)`` after each segment.
    """
    try:
        with catalog.reading():
            check = _Check(root, catalog)
            check.run(progress)
    except IndexDamagedError as error:
        return VerifyReport(0, 0, (str(error),))
    return VerifyReport(check.files, check.bytes, tuple(check.problems))


class _Check:
    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root, self._catalog = root, catalog
        self.files = self.bytes = 0
        self.problems = catalog.problems()
        self._unread = False  # some part could not be read, so documents cannot be counted
        self._live = self._dead = 0
        self._trained: Trained | None = None
        if damaged := catalog.register.count_damaged_tombstones():
            self.problems.append(f"catalog: {damaged} deletions are not what was committed; {RESTORE}")

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        try:
            self.trained()
            self.pending()
            self.segments(progress)
            self.counts()
        except IndexDamagedError as error:  # of the catalog: it ends the search, not what was found
            self.problems.append(str(error))

    def trained(self) -> None:
        """The arrays of the codec generation, and that they make a codec."""
        record = self._catalog.codec()
        try:
            found = trained_problems(self._root, record)
            if not found:
                self._trained = load_trained(self._root, record)
        except IndexDamagedError as error:
            found = [str(error)]
        self.files += len(record.files)
        self.bytes += sum(file.bytes for file in record.files)
        self._unread |= bool(found)
        self.problems += [] if found and self._codec_was_replaced(record) else found

    def segments(self, progress: Callable[[int, int], None] | None) -> None:
        records = self._catalog.segments()
        total = self.bytes + sum(file.bytes for record in records for file in record.files)
        for record in records:
            found = self._segment(record)
            self._unread |= bool(found)
            self.problems += found
            self.files += len(record.files)
            self.bytes += sum(file.bytes for file in record.files)
            if progress is not None:
                progress(self.bytes, total)

    def _segment(self, record: SegmentRecord) -> list[str]:
        """Checksums first: only a segment whose bytes are right is opened."""
        found, reader = file_problems(self._root, record), None
        if not found:
            try:
                reader = SegmentReader(self._root, record, self._trained)
            except IndexDamagedError as error:
                found = [str(error)]
        if reader is None:
            self._unread |= (replaced := self._was_replaced(record))
            return [] if replaced else found
        if not (found := reader.problems()):
            found = self._documents(reader)
        return [f"segment {record.segment}: {problem}" for problem in found]

    def _codec_was_replaced(self, record: CodecRecord) -> bool:
        """Whether the index was converted, or lost its search to a repair, since this generation was read."""
        with Catalog.open(self._root) as now:
            return now.codec() != record

    def _was_replaced(self, record: SegmentRecord) -> bool:
        """Whether a merge took the segment away since this generation was read."""
        with Catalog.open(self._root) as now:
            return now.segment(record.segment) is None

    def pending(self) -> None:
        register, codec = self._catalog.register, self._catalog.codec()
        number = register.buffer()
        if number is None or self._trained is None:
            return
        buffer = PendingBuffer(number, self._trained.codec, codec.dim)
        try:
            for batch in register.pending():
                buffer.append(batch)
        except IndexDamagedError as error:
            self.problems.append(str(error))
            self._unread = True
            return
        reader = buffer.reader(self._catalog.fields().types)
        self.problems += [f"pending: {problem}" for problem in self._documents(reader)]

    def _documents(self, reader: SegmentReader | PendingReader) -> list[str]:
        """Each document is registered under its birth, or buried."""
        register, found = self._catalog.register, []
        dead = np.zeros(reader.n_documents, dtype=np.bool_)
        dead[find_births(reader.births, birth_keys(register.tombstones(reader.origins)))] = True
        self._dead += int(dead.sum())
        self._live += int((~dead).sum())
        for doc_id, key, gone in zip(reader.documents.ids(), reader.births, dead, strict=True):
            birth = register.find(doc_id)
            here = birth == (int(key) >> 32, int(key) & 0xFFFFFFFF)
            if here == bool(gone):
                found.append(f"document {doc_id!r} is not where the catalog says; {RESTORE}")
        return found

    def counts(self) -> None:
        """Nothing is registered or buried beyond what there is."""
        if self._unread:
            return
        register = self._catalog.register
        for what, counted, held in (
            ("ids", register.count(), self._live),
            ("deletions", register.count_tombstones(), self._dead),
        ):
            if counted != held:
                self.problems.append(f"catalog: {counted} {what} registered, but there are {held}; {RESTORE}")
