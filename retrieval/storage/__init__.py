"""An index on disk: a catalog that commits, and immutable files that it names."""

from retrieval.storage.births import birth_keys
from retrieval.storage.catalog import Catalog, Session, has_catalog
from retrieval.storage.clipping import Clipped, add_clipped, clipped_of
from retrieval.storage.digits import fields_to_write
from retrieval.storage.documents import DocumentTable, document_batch, document_schema
from retrieval.storage.files import make_folder, map_array
from retrieval.storage.folder import clear_folder, clear_leftovers, is_index_folder, remove_segments
from retrieval.storage.inspect import IndexInfo, describe_index
from retrieval.storage.lock import WAIT_SECONDS, add_lock, merge_lock, writer_lock
from retrieval.storage.merge_policy import SegmentSize, choose_merge
from retrieval.storage.merging import MergeStopped, write_merged
from retrieval.storage.pending import pending_batch
from retrieval.storage.records import CodecRecord, SegmentRecord
from retrieval.storage.salvage import (
    DamagedPending,
    StoredVectors,
    damaged_pending,
    whole_vectors,
    write_salvaged,
)
from retrieval.storage.segment import (
    CONVERTED,
    PROVISIONAL,
    STRAIN,
    SegmentReader,
    SegmentWriter,
    file_problems,
    stored_part,
)
from retrieval.storage.snapshot import SegmentView, Snapshot, SnapshotKeeper
from retrieval.storage.trained import (
    CODEC,
    FEATURE,
    Trained,
    load_codec,
    load_current,
    load_trained,
    remove_trained,
    remove_untrained,
    trained_problems,
    without_search,
    write_trained,
)
from retrieval.storage.verify import VerifyReport, verify_files

__all__ = [
    "CODEC",
    "CONVERTED",
    "FEATURE",
    "PROVISIONAL",
    "STRAIN",
    "WAIT_SECONDS",
    "Catalog",
    "Clipped",
    "CodecRecord",
    "DamagedPending",
    "DocumentTable",
    "IndexInfo",
    "MergeStopped",
    "SegmentReader",
    "SegmentRecord",
    "SegmentSize",
    "SegmentView",
    "SegmentWriter",
    "Session",
    "Snapshot",
    "SnapshotKeeper",
    "StoredVectors",
    "Trained",
    "VerifyReport",
    "add_clipped",
    "add_lock",
    "birth_keys",
    "choose_merge",
    "clear_folder",
    "clear_leftovers",
    "clipped_of",
    "damaged_pending",
    "describe_index",
    "document_batch",
    "document_schema",
    "fields_to_write",
    "file_problems",
    "has_catalog",
    "is_index_folder",
    "load_codec",
    "load_current",
    "load_trained",
    "make_folder",
    "map_array",
    "merge_lock",
    "pending_batch",
    "remove_segments",
    "remove_trained",
    "remove_untrained",
    "stored_part",
    "trained_problems",
    "verify_files",
    "whole_vectors",
    "without_search",
    "write_merged",
    "write_salvaged",
    "write_trained",
    "writer_lock",
]
