"""Pending documents of which a commit is damaged: which ones are lost, and the rest as a segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from retrieval.storage.catalog import Catalog
from retrieval.storage.merging import write_merged
from retrieval.storage.pending import PendingBuffer
from retrieval.storage.records import PendingBatch
from retrieval.storage.segment import SegmentWriter
from retrieval.storage.snapshot import SegmentView, Snapshot
from retrieval.storage.trained import Trained

__all__ = ["DamagedPending", "damaged_pending", "write_salvaged"]


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
