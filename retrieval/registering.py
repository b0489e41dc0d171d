"""Naming a segment that was made of others: merged, folded, converted or repaired."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retrieval.storage import Catalog, SegmentRecord, SegmentWriter, Snapshot, Trained, write_merged

__all__ = ["fold_pending", "merged_record", "register_merged"]


def fold_pending(root: Path, catalog: Catalog, snapshot: Snapshot, trained: Trained | None = None) -> int:
    """Write the pending documents of the newest ``snapshot`` as a segment and name it; returns how many. The
    caller holds the writer lock. ``trained`` takes the place of the snapshot's: without a search, nothing is
    arranged, and the segment is searched exactly."""
    pending = [view for view in snapshot.segments if view.is_pending]
    if not pending:
        return 0
    # The segment takes the buffer's number: its documents keep their births.
    (view,) = pending
    files = write_merged(root, view.number, snapshot, pending, trained=trained)
    with catalog.transaction("fold") as generation:
        catalog.register.clear_pending()
        catalog.register.clear_tombstones(view.origins, snapshot.generation)
        register_merged(catalog, files, files.origins, snapshot.record.codec, generation)
    if not files.n_documents:
        files.abandon()
    return files.n_documents


def register_merged(
    catalog: Catalog, files: SegmentWriter, origins: Sequence[int], codec: int, generation: int
) -> None:
    """Name a segment of documents that came to the index in ``origins``; inside a transaction. One
    without documents is not named."""
    if files.n_documents:
        catalog.add_segment(merged_record(files, origins, codec, generation))


def merged_record(files: SegmentWriter, origins: Sequence[int], codec: int, generation: int) -> SegmentRecord:
    """What the catalog is to know of it."""
    return SegmentRecord(
        segment=files.segment,
        codec=codec,
        generation=generation,
        n_documents=files.n_documents,
        n_tokens=files.n_tokens,
        max_norm=files.max_norm,
        records_read=0,
        records_sha256="",
        skipped=0,
        files=files.files,
        origins=tuple(origins),
    )
