"""A snapshot: one generation of an index, mapped, that no later commit can change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.quantize import Codec, codec_from_state
from retrieval.storage.catalog import Catalog
from retrieval.storage.records import CodecRecord
from retrieval.storage.segment import SegmentReader

__all__ = ["Snapshot", "SnapshotKeeper"]


class Snapshot:
    """Segments of one generation, with the codec that reads them."""

    def __init__(self, generation: int, record: CodecRecord, segments: Sequence[SegmentReader]) -> None:
        self.generation = generation
        self.record = record
        self.codec: Codec = codec_from_state(record.name, record.config, {})
        self.segments = tuple(segments)
        self._position = {segment.record.segment: i for i, segment in enumerate(segments)}

    def __len__(self) -> int:
        """Documents."""
        return sum(len(segment) for segment in self.segments)

    def position(self, segment: int) -> int:
        """Where in ``segments`` the segment of this number is."""
        return self._position[segment]


class SnapshotKeeper:
    """Gives the newest snapshot; segments that did not change stay mapped."""

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root, self._catalog = root, catalog
        self._current: Snapshot | None = None

    def latest(self) -> Snapshot:
        """The snapshot of the last commit, the same object until there is a newer one."""
        current = self._current
        if current is not None and current.generation == self._catalog.generation():
            return current
        with self._catalog.reading():
            generation, codec = self._catalog.generation(), self._catalog.codec()
            records = self._catalog.segments()
        mapped: dict[Any, SegmentReader] = {s.record.segment: s for s in current.segments} if current else {}
        readers = [mapped.get(record.segment) or SegmentReader(self._root, record) for record in records]
        self._current = Snapshot(generation, codec, readers)
        return self._current
