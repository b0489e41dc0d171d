"""An index on disk: a catalog that commits, and immutable files that it names."""

from retrieval.storage.catalog import Catalog, has_catalog
from retrieval.storage.files import make_folder
from retrieval.storage.folder import clear_folder, is_index_folder, open_catalog
from retrieval.storage.inspect import IndexInfo, VerifyReport, describe_index, verify_files
from retrieval.storage.lock import writer_lock
from retrieval.storage.records import CodecRecord, SegmentRecord
from retrieval.storage.segment import SegmentReader, SegmentWriter
from retrieval.storage.snapshot import Snapshot, SnapshotKeeper

__all__ = [
    "Catalog",
    "CodecRecord",
    "IndexInfo",
    "SegmentReader",
    "SegmentRecord",
    "SegmentWriter",
    "Snapshot",
    "SnapshotKeeper",
    "VerifyReport",
    "clear_folder",
    "describe_index",
    "has_catalog",
    "is_index_folder",
    "make_folder",
    "open_catalog",
    "verify_files",
    "writer_lock",
]
