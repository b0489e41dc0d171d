"""A snapshot: one generation of an index, mapped, that no later commit can change."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.index import Probe
from retrieval.storage.births import birth_keys, find_births
from retrieval.storage.catalog import Catalog
from retrieval.storage.derived import Derived
from retrieval.storage.pending import PendingBuffer, PendingReader
from retrieval.storage.records import CodecRecord, SegmentRecord
from retrieval.storage.register import Birth
from retrieval.storage.segment import SegmentReader, arranged_part, file_problems, stored_part
from retrieval.storage.trained import CODEC, PIPELINE, Trained, load_codec, load_trained, trained_problems
from retrieval.types import IntArray

__all__ = ["Damage", "SegmentView", "Snapshot", "SnapshotKeeper"]

Mask = NDArray[np.bool_]
ATTEMPTS = 20
"""How often a reader starts again when merges keep taking away the files it is about to map."""


class Damage(NamedTuple):
    """A segment that cannot be read (None: pending documents), and why."""

    segment: int | None
    problem: str


class SegmentView:
    """A segment, or the pending documents, as one snapshot sees it.

    ``live`` is False where a document has been deleted, None if none has.
    """

    def __init__(self, reader: SegmentReader | PendingReader, live: Mask | None = None) -> None:
        self._reader = reader
        self.live = live
        self.number, self.origins, self.max_norm = reader.number, reader.origins, reader.max_norm
        self.codes, self.offsets, self.births = reader.codes, reader.offsets, reader.births
        self.documents = reader.documents

    def __len__(self) -> int:
        """Documents that are not deleted."""
        return self.n_documents if self.live is None else int(np.count_nonzero(self.live))

    @property
    def n_documents(self) -> int:
        """Ordinals, those of deleted documents too."""
        return self._reader.n_documents

    @property
    def is_pending(self) -> bool:
        """Whether these are the pending documents."""
        return isinstance(self._reader, PendingReader)

    @property
    def search(self) -> Probe | None:
        """The trained search of this segment, None where every vector is scored."""
        return self._reader.search if isinstance(self._reader, SegmentReader) else None

    @property
    def derived(self) -> Derived | None:
        """What readers keep beside the documents of a segment; None of pending ones."""
        return self._reader.derived if isinstance(self._reader, SegmentReader) else None

    @property
    def bytes(self) -> int:
        """Bytes of codes and documents."""
        return self.codes.nbytes + self.documents.nbytes

    def document_codes(self, ordinal: int) -> NDArray[Any]:
        """Codes of one document, ``(n_tokens_i, d)``."""
        return self._reader.document_codes(ordinal)

    def check_bytes(self) -> None:
        """Compare every byte with what was committed (of pending documents that is done on reading).

        Raises:
            IndexDamagedError: one differs.
        """
        if isinstance(self._reader, SegmentReader):
            self._reader.check_bytes()

    def without(self, births: IntArray) -> SegmentView:
        """This view after the documents of these births were deleted."""
        dead = find_births(self.births, birth_keys(births))
        if not len(dead):
            return self
        live = np.ones(self.n_documents, dtype=np.bool_) if self.live is None else self.live.copy()
        live[dead] = False
        return SegmentView(self._reader, live)


class Snapshot:
    """The segments of one generation, the pending documents last, with the codec that reads them.

    ``fields`` are the metadata fields and their Arrow types, ``damaged`` says what had to be left out,
    ``live`` are the masks of the segments.
    """

    def __init__(
        self,
        generation: int,
        record: CodecRecord,
        trained: Trained,
        segments: Sequence[SegmentView],
        fields: Mapping[str, pa.DataType],
        damaged: Sequence[Damage] = (),
    ) -> None:
        self.generation = generation
        self.damaged = tuple(damaged)
        self.record, self.trained, self.codec = record, trained, trained.codec
        self.segments = tuple(segments)
        self.live = tuple(view.live for view in self.segments)
        self.fields = fields
        self._position = {origin: i for i, view in enumerate(self.segments) for origin in view.origins}

    def __len__(self) -> int:
        """Documents."""
        return sum(len(view) for view in self.segments)

    def place(self, birth: Birth) -> tuple[int, int]:
        """Where a living document is: position in ``segments``, ordinal there.

        Raises:
            IndexDamagedError: nowhere.
        """
        return self.places([birth])[0]

    def places(self, births: Sequence[Birth]) -> list[tuple[int, int]]:
        """`place` of many documents, in their order."""
        origins = np.array([birth.origin for birth in births], dtype=np.int64)
        positions = np.array([self._position.get(birth.origin, -1) for birth in births], dtype=np.int64)
        keys = birth_keys(np.array(births, dtype=np.int64).reshape(-1, 2))
        ordinals = np.full(len(births), -1, dtype=np.int64)
        for position in np.unique(positions[positions >= 0]).tolist():
            mine, held = np.flatnonzero(positions == position), self.segments[position].births
            found = np.searchsorted(held, keys[mine])
            there = found < len(held)
            there[there] = held[found[there]] == keys[mine[there]]
            ordinals[mine[there]] = found[there]
        if (ordinals < 0).any():
            lost = int(origins[ordinals < 0][0])
            raise IndexDamagedError(
                f"a document of origin {lost} is in no segment; restore the index from a copy"
            )
        return list(zip(positions.tolist(), ordinals.tolist(), strict=True))


class SnapshotKeeper:
    """Gives the newest snapshot; what did not change stays mapped. Safe to share between threads.

    With ``skip_damaged`` every byte of a segment is checked before it is used, and one that is not
    what was committed is left out instead of being an error; a search that is damaged is done without.
    """

    def __init__(self, root: Path, catalog: Catalog, *, skip_damaged: bool = False) -> None:
        self._root, self._catalog, self._skip_damaged = root, catalog, skip_damaged
        self._lock = threading.Lock()
        self._current: Snapshot | None = None
        self._buffer: PendingBuffer | None = None

    def latest(self) -> Snapshot:
        """The snapshot of the last commit, the same object until there is a newer one."""
        current = self._current
        if current is not None and current.generation == self._catalog.generation():
            return current
        with self._lock:
            return self._attempt(())[0]

    def locate(self, doc_id: str) -> tuple[Snapshot, Birth | None]:
        """The newest snapshot, and the birth of a document in it if it is there."""
        snapshot, births = self.locate_all((doc_id,))
        return snapshot, births.get(doc_id)

    def locate_all(self, ids: Sequence[str]) -> tuple[Snapshot, dict[str, Birth]]:
        """The newest snapshot, and the births of those of some documents that are in it."""
        with self._lock:
            return self._attempt(ids)

    def _attempt(self, ids: Sequence[str]) -> tuple[Snapshot, dict[str, Birth]]:
        for _ in range(ATTEMPTS):
            generation = None
            try:
                with self._catalog.reading():
                    generation = self._catalog.generation()
                    snapshot = self._refreshed(generation)
                    births = self._catalog.register.find_all(ids)
                if snapshot is not self._current:
                    # Else the files that were mapped may be another index's, of the same names and sizes.
                    self._catalog.check_in_place()
                if self._are_there(snapshot.damaged):
                    self._current = snapshot
                    return snapshot, births
            except IndexDamagedError:
                self._catalog.check_in_place()
                # A merge may have replaced a segment after we read its name: then look again.
                if generation is None or generation == self._catalog.generation():
                    raise
        raise IndexDamagedError(f"the index at {self._root} changes faster than it can be opened; try again")

    def _are_there(self, damaged: Sequence[Damage]) -> bool:
        """Whether what was left out is still named: else a merge took it away while we looked."""
        numbers = {damage.segment for damage in damaged} - {None}
        return not numbers or numbers <= set(self._catalog.segment_numbers())

    def _refreshed(self, generation: int) -> Snapshot:
        """The snapshot of the generation being read, made from the last one."""
        current = self._current
        if current is not None and current.generation == generation:
            return current
        record = self._catalog.codec()
        trained = self._trained(record)
        fields = self._catalog.fields().types
        damaged: list[Damage] = []
        views = self._segments(trained, damaged)
        pending = self._pending(trained, record.dim, fields, damaged)
        views += [pending] if pending is not None else []
        return Snapshot(generation, record, trained, views, fields, damaged)

    def _trained(self, record: CodecRecord) -> Trained:
        """What a codec generation holds; the one that is in use stays mapped."""
        if self._current is not None and self._current.record == record:
            return self._current.trained
        self._buffer = None  # its codes are of another generation
        if self._skip_damaged:
            return self._checked_trained(record)
        return load_trained(self._root, record)

    def _checked_trained(self, record: CodecRecord) -> Trained:
        """After a look at every byte: without the search, where only that is damaged."""
        if found := trained_problems(self._root, record, CODEC):
            raise IndexDamagedError(found[0])
        if trained_problems(self._root, record, PIPELINE):
            return Trained(load_codec(self._root, record))
        try:
            return load_trained(self._root, record)
        except IndexDamagedError:
            return Trained(load_codec(self._root, record))

    def _segments(self, trained: Trained, damaged: list[Damage]) -> list[SegmentView]:
        """Views of the segments there are: those we had, with what was deleted since, and new ones."""
        register, known = self._catalog.register, {}
        if (current := self._current) is not None:
            buried = register.tombstones_since(current.generation)
            mapped = [view for view in current.segments if not view.is_pending]
            known = {view.number: view.without(buried) for view in mapped}
        views = []
        for number in self._catalog.segment_numbers():
            try:
                views.append(known[number] if number in known else self._open(number, trained))
            except IndexDamagedError as error:
                self._leave_out(number, error, damaged)
        return views

    def _leave_out(self, segment: int | None, error: IndexDamagedError, damaged: list[Damage]) -> None:
        if not self._skip_damaged:
            raise error
        damaged.append(Damage(segment, str(error)))

    def _open(self, number: int, trained: Trained) -> SegmentView:
        record = self._catalog.segment(number)
        if record is None:
            raise IndexDamagedError(f"the catalog of {self._root} has no segment {number}")
        buried = self._catalog.register.tombstones(record.origins)
        open_one = self._checked_segment if self._skip_damaged else SegmentReader
        view = SegmentView(open_one(self._root, record, trained))
        return view.without(buried)

    @staticmethod
    def _checked_segment(root: Path, record: SegmentRecord, trained: Trained) -> SegmentReader:
        """After a look at every byte: where only what the search arranged is damaged, its documents are
        scored one by one, and nothing is left out."""
        reader = SegmentReader(root, record)
        if found := file_problems(root, stored_part(record)):
            raise IndexDamagedError(found[0])
        if file_problems(root, arranged_part(record)):
            return reader
        try:
            return SegmentReader(root, record, trained)
        except IndexDamagedError:
            return reader

    def _pending(
        self, trained: Trained, dim: int, fields: Mapping[str, pa.DataType], damaged: list[Damage]
    ) -> SegmentView | None:
        register = self._catalog.register
        number = register.buffer()
        if number is None:
            self._buffer = None
            return None
        if self._buffer is None or self._buffer.number != number:
            self._buffer = PendingBuffer(number, trained.codec, dim)
        try:
            for batch in register.pending(self._buffer.generation):
                self._buffer.append(batch)
        except IndexDamagedError as error:
            self._leave_out(None, error, damaged)  # and what follows: ordinals count from the first
        view = SegmentView(self._buffer.reader(fields))
        return view.without(register.tombstones([number]))
