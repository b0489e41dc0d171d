"""A snapshot: one generation of an index, mapped, that no later commit can change."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.corpus import FieldTypes
from retrieval.errors import IndexDamagedError
from retrieval.quantize import Codec, codec_from_state
from retrieval.storage.births import birth_keys, find_births
from retrieval.storage.catalog import Catalog
from retrieval.storage.pending import PendingBuffer, PendingReader
from retrieval.storage.records import CodecRecord
from retrieval.storage.register import Birth
from retrieval.storage.segment import SegmentReader
from retrieval.types import IntArray

__all__ = ["SegmentView", "Snapshot", "SnapshotKeeper"]

Mask = NDArray[np.bool_]
ATTEMPTS = 20
"""How often a reader starts again when merges keep taking away the files it is about to map."""


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
    def bytes(self) -> int:
        """Bytes of codes and documents."""
        return self.codes.nbytes + self.documents.nbytes

    def document_codes(self, ordinal: int) -> NDArray[Any]:
        """Codes of one document, ``(n_tokens_i, d)``."""
        return self._reader.document_codes(ordinal)

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

    ``fields`` are the metadata fields and their Arrow types.
    """

    def __init__(
        self,
        generation: int,
        record: CodecRecord,
        codec: Codec,
        segments: Sequence[SegmentView],
        fields: Mapping[str, pa.DataType],
    ) -> None:
        self.generation = generation
        self.record, self.codec = record, codec
        self.segments = tuple(segments)
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
        position = self._position.get(birth.origin)
        if position is not None:
            key = birth_keys(np.array([birth], dtype=np.int64))
            found = find_births(self.segments[position].births, key)
            if len(found):
                return position, int(found[0])
        raise IndexDamagedError(
            f"a document of origin {birth.origin} is in no segment; restore the index from a copy"
        )


class SnapshotKeeper:
    """Gives the newest snapshot; what did not change stays mapped. Safe to share between threads."""

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root, self._catalog = root, catalog
        self._lock = threading.Lock()
        self._current: Snapshot | None = None
        self._buffer: PendingBuffer | None = None

    def latest(self) -> Snapshot:
        """The snapshot of the last commit, the same object until there is a newer one."""
        current = self._current
        if current is not None and current.generation == self._catalog.generation():
            return current
        with self._lock:
            return self._attempt(None)[0]

    def locate(self, doc_id: str) -> tuple[Snapshot, Birth | None]:
        """The newest snapshot, and the birth of a document in it if it is there."""
        with self._lock:
            return self._attempt(doc_id)

    def _attempt(self, doc_id: str | None) -> tuple[Snapshot, Birth | None]:
        for _ in range(ATTEMPTS):
            generation = None
            try:
                with self._catalog.reading():
                    generation = self._catalog.generation()
                    self._current = snapshot = self._refreshed(generation)
                    return snapshot, self._catalog.register.find(doc_id) if doc_id is not None else None
            except IndexDamagedError:
                # A merge may have replaced a segment after we read its name: then look again.
                if generation is None or generation == self._catalog.generation():
                    raise
        raise IndexDamagedError(f"the index at {self._root} changes faster than it can be opened; try again")

    def _refreshed(self, generation: int) -> Snapshot:
        """The snapshot of the generation being read, made from the last one."""
        current = self._current
        if current is not None and current.generation == generation:
            return current
        record = self._catalog.codec()
        codec = codec_from_state(record.name, record.config, {})
        with self._catalog.decoding("the metadata fields"):
            fields = FieldTypes.from_json(self._catalog.meta("fields")).types
        views = self._segments()
        pending = self._pending(codec, record.dim, fields)
        views += [pending] if pending is not None else []
        return Snapshot(generation, record, codec, views, fields)

    def _segments(self) -> list[SegmentView]:
        """Views of the segments there are: those we had, with what was deleted since, and new ones."""
        register, known = self._catalog.register, {}
        if (current := self._current) is not None:
            buried = register.tombstones_since(current.generation)
            mapped = [view for view in current.segments if not view.is_pending]
            known = {view.number: view.without(buried) for view in mapped}
        numbers = self._catalog.segment_numbers()
        return [known[number] if number in known else self._open(number) for number in numbers]

    def _open(self, number: int) -> SegmentView:
        record = self._catalog.segment(number)
        if record is None:
            raise IndexDamagedError(f"the catalog of {self._root} has no segment {number}")
        buried = self._catalog.register.tombstones(record.origins)
        return SegmentView(SegmentReader(self._root, record)).without(buried)

    def _pending(self, codec: Codec, dim: int, fields: Mapping[str, pa.DataType]) -> SegmentView | None:
        register = self._catalog.register
        number = register.buffer()
        if number is None:
            self._buffer = None
            return None
        if self._buffer is None or self._buffer.number != number:
            self._buffer = PendingBuffer(number, codec, dim)
        for batch in register.pending(self._buffer.generation):
            self._buffer.append(batch)
        view = SegmentView(self._buffer.reader(fields))
        return view.without(register.tombstones([number]))
