"""Several segments into one, without the deleted documents; also pending documents into a segment.

Documents are written in the order of their births, in blocks: memory does not grow with the segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from retrieval.quantize import Codec
from retrieval.storage.births import all_born_here
from retrieval.storage.documents import document_schema
from retrieval.storage.segment import SegmentWriter, largest_norm
from retrieval.storage.snapshot import SegmentView, Snapshot
from retrieval.storage.trained import Trained
from retrieval.types import IntArray

__all__ = ["MergeStopped", "write_merged"]

BLOCK_DOCUMENTS = 4096
BLOCK_TOKENS = 1 << 16
BLOCK_BYTES = 256 << 20


class MergeStopped(Exception):
    """The merge was told to stop, and left nothing."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Living documents of one view, in order."""

    view: SegmentView
    ordinals: IntArray


def write_merged(
    root: Path,
    number: int,
    snapshot: Snapshot,
    views: Sequence[SegmentView],
    *,
    trained: Trained | None = None,
    stop: Callable[[], bool] = lambda: False,
    written: Callable[[int], None] = lambda _: None,
) -> SegmentWriter:
    """Write the living documents of ``views`` as segment ``number``; nothing is committed.

    ``written`` is told how many documents' vectors are. With another codec than the snapshot's
    (``trained``), vectors are decoded and encoded again.

    Raises:
        MergeStopped: ``stop`` said so between two blocks.
        IndexDamagedError: a view is damaged; its bytes must not get new checksums.
    """
    for view in views:
        view.check_bytes()
    target = trained or snapshot.trained
    writer = SegmentWriter(root, number, target, snapshot.record.dim)
    try:
        for block in _blocks(views, stop):
            _append(writer, block, snapshot.codec, target.codec)
            written(writer.n_documents)
        births = np.concatenate([np.empty(0, np.int64), *(b.view.births[b.ordinals] for b in _blocks(views))])
        writer.origins = tuple(np.unique(births >> 32).tolist())
        own = np.array_equal(births, all_born_here(number, len(births)))
        rows = _documents(_blocks(views, stop), snapshot.fields)
        writer.finish(document_schema(snapshot.fields), rows, None if own else births)
    except BaseException:
        writer.abandon()
        raise
    return writer


def _blocks(views: Sequence[SegmentView], stop: Callable[[], bool] = lambda: False) -> Iterator[_Block]:
    """The living documents of all views by birth: each origin lies in one view, in one piece."""
    pieces = sorted(((origin, view) for view in views for origin in view.origins), key=lambda piece: piece[0])
    for origin, view in pieces:
        bounds = np.array([origin, origin + 1], dtype=np.int64) << 32
        first, last = (int(bound) for bound in np.searchsorted(view.births, bounds))
        while first < last:
            if stop():
                raise MergeStopped
            end = int(np.searchsorted(view.offsets, view.offsets[first] + BLOCK_TOKENS, side="right")) - 1
            end = min(max(end, first + 1), first + BLOCK_DOCUMENTS, last)
            ordinals = np.arange(first, end)
            yield _Block(view, ordinals if view.live is None else ordinals[view.live[first:end]])
            first = end


def _append(writer: SegmentWriter, block: _Block, source: Codec, target: Codec) -> None:
    view, ordinals = block.view, block.ordinals
    if not len(ordinals):
        return
    first, last = int(ordinals[0]), int(ordinals[-1]) + 1
    codes = view.codes[view.offsets[first] : view.offsets[last]]
    doclens = np.diff(view.offsets[first : last + 1])
    if len(ordinals) < last - first:
        kept = np.zeros(last - first, dtype=np.bool_)
        kept[ordinals - first] = True
        codes, doclens = codes[np.repeat(kept, doclens)], doclens[kept]
    if target is source:
        writer.append_codes(codes, doclens, view.max_norm)
    else:
        codes = target.encode(source.decode(codes))
        writer.append_codes(codes, doclens, largest_norm(target, codes))


def _documents(blocks: Iterator[_Block], fields: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Record batches of up to `BLOCK_DOCUMENTS` and about `BLOCK_BYTES`, whatever origins they are of:
    Arrow holds at most 2 GiB of text in one, and many small ones make every filter slow."""
    waiting: list[pa.RecordBatch] = []
    documents = size = 0
    for block in blocks:
        for ordinals in _pieces(block):
            batch = block.view.documents.rows(ordinals, fields)
            if waiting and (documents + len(batch) > BLOCK_DOCUMENTS or size + batch.nbytes > BLOCK_BYTES):
                yield _joined(waiting)
                waiting, documents, size = [], 0, 0
            waiting.append(batch)
            documents, size = documents + len(batch), size + batch.nbytes
    if waiting:
        yield _joined(waiting)


def _pieces(block: _Block) -> Iterator[IntArray]:
    """The block's ordinals in runs of at most `BLOCK_BYTES` of text (one longer document: alone)."""
    if not len(block.ordinals):
        return
    ends = np.cumsum(block.view.documents.text_bytes(block.ordinals))
    runs = np.flatnonzero(np.diff(ends // BLOCK_BYTES)) + 1
    yield from np.split(block.ordinals, runs)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
