"""Naming a segment that was made of others: merged, folded, converted or repaired."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.storage import Catalog, SegmentRecord, SegmentWriter

__all__ = ["merged_record", "register_merged"]


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
