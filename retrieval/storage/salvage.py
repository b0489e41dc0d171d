"""What is whole of something damaged: the vectors of a segment; pending documents of which a commit is
damaged, which ones are lost, and the rest as a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.storage.catalog import Catalog
from retrieval.storage.files import map_array
from retrieval.storage.merging import write_merged
from retrieval.storage.pending import PendingBuffer
from retrieval.storage.records import PendingBatch, SegmentRecord
from retrieval.storage.segment import SegmentWriter, file_problems
from retrieval.storage.snapshot import SegmentView, Snapshot
from retrieval.storage.trained import Trained
from retrieval.types import EncoderKind, IntArray

__all__ = ["DamagedPending", "StoredVectors", "damaged_pending", "whole_vectors", "write_salvaged"]


class StoredVectors(NamedTuple):
    """Codes ``(n_tokens, d)`` of a segment's documents, ``offsets`` ``(n + 1,)`` where each begins, and what
    bounds the norms."""

    codes: NDArray[Any]
    offsets: IntArray
    max_norm: float

    def of(self, ordinals: IntArray) -> tuple[NDArray[Any], IntArray]:
        """The codes of some documents, one after the other, and how many each has."""
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in ordinals]
        return self.codes[np.concatenate(spans)], np.diff(self.offsets)[ordinals]


def whole_vectors(root: Path, record: SegmentRecord, kind: EncoderKind) -> StoredVectors | None:
    """The vectors of a segment of which something else is damaged, and be it where they begin, as long as
    there is one a document; None where they are damaged themselves."""

    def mapped(name: str) -> NDArray[Any] | None:
        file = record.file(name)
        return None if file_problems(root, replace(record, files=(file,))) else map_array(root, file)

    codes, offsets = mapped("codes"), mapped("offsets")
    if offsets is None and kind == "dense":
        offsets = np.arange(record.n_documents + 1)
    if codes is None or offsets is None or len(offsets) != record.n_documents + 1:
        return None
    is_whole = offsets[0] == 0 and offsets[-1] == len(codes) == record.n_tokens
    if not is_whole or (np.diff(offsets) < 0).any():
        return None
    return StoredVectors(codes, offsets, record.max_norm)


class DamagedPending(NamedTuple):
    """What is wrong with the first damaged commit, the ids of living documents that were in them, and the
    commits that are ``whole``."""

    problem: str
    ids: tuple[str, ...]
    whole: tuple[PendingBatch, ...]


def damaged_pending(catalog: Catalog) -> DamagedPending | None:
    """Look at every pending commit; None where all are whole."""
    problems: list[str] = []
    whole = tuple(catalog.register.pending(skipped=lambda error: problems.append(str(error))))
    if not problems:
        return None
    kept = {(batch.buffer, batch.first + i) for batch in whole for i in range(batch.n_documents)}
    # What a damaged row says of itself may be wrong too: its documents are those that are nowhere else.
    waiting = catalog.register.born_in_no_segment()
    ids = tuple(sorted(doc_id for doc_id, birth in waiting.items() if birth not in kept))
    return DamagedPending(problems[0], ids, whole)


def write_salvaged(
    root: Path, catalog: Catalog, trained: Trained, whole: Sequence[PendingBatch]
) -> SegmentWriter:
    """The living documents of whole commits as the segment that they were to become, each with its birth;
    nothing is committed. ``whole`` is at least one."""
    record, number = catalog.codec(), whole[0].buffer
    buffer = PendingBuffer(number, trained.codec, record.dim)
    for batch in whole:
        buffer.append(batch)
    fields = catalog.fields().types
    view = SegmentView(buffer.reader(fields)).without(catalog.register.tombstones([number]))
    return write_merged(root, number, Snapshot(catalog.generation(), record, trained, [view], fields), [view])
