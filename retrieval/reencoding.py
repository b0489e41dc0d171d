"""Stored documents encoded again: segments that were damaged, or the whole index where nothing can read its
vectors any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from retrieval.build import ENCODE_CHUNK
from retrieval.config import RecipeConfig, RuntimeConfig
from retrieval.conversion import convert
from retrieval.encode import Encoder, GivenVectors, load_stored_encoder
from retrieval.encode.base import check_encoder, check_fingerprint, fingerprint_of
from retrieval.encode.documents import DocumentEncoder
from retrieval.errors import ConfigError, IndexDamagedError, IndexFolderError
from retrieval.index import prepare_documents
from retrieval.quantize import FloatCodec
from retrieval.registering import register_merged
from retrieval.storage import (
    Catalog,
    DocumentTable,
    SegmentRecord,
    SegmentWriter,
    SnapshotKeeper,
    StoredVectors,
    Trained,
    birth_keys,
    document_schema,
    file_problems,
    remove_segments,
    remove_trained,
)
from retrieval.storage.pending import PendingDocuments
from retrieval.training import Conversion
from retrieval.types import Document, IntArray, Precision, Ragged

__all__ = ["READABLE", "Lost", "Reencoder", "encode_all"]

READABLE: Precision = "float16"
"""What vectors are stored as until they are calibrated again."""


class Lost(Exception):
    """Documents that cannot be read, or are not those that the catalog names."""


class Documents(Protocol):
    """Some documents: a segment's (`DocumentTable`), or pending ones."""

    def ids(self) -> list[str]:
        """Of all, in their order."""

    def document(self, ordinal: int) -> Document:
        """Everything of one."""

    def rows(self, ordinals: IntArray, fields: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """Some as columns, with the index's metadata fields."""


class Reencoder:
    """Encodes documents of one index. Without ``encoder`` the index's own is loaded, when it is needed.

    Raises:
        EncoderMismatchError: ``encoder`` is not the one that the index was built with.
    """

    def __init__(
        self, root: Path, catalog: Catalog, encoder: Encoder | None, runtime: RuntimeConfig | None
    ) -> None:
        self._root, self._catalog, self._runtime = root, catalog, runtime
        self._record, self._fields = catalog.codec(), catalog.fields().types
        self._given = None if encoder is None else check_encoder(encoder)
        if self._given is not None:
            check_fingerprint(self._record.encoder_fingerprint, fingerprint_of(self._given))

    def encoder(self) -> Encoder:
        """The encoder."""
        if self._given is None:
            record = self._record
            self._given = load_stored_encoder(
                self._root, record.encoder, record.encoder_fingerprint, self._runtime
            )
        return self._given

    @property
    def is_possible(self) -> bool:
        """Whether there is a model: vectors that were given (`GivenVectors`) come only once."""
        return GivenVectors.of(self._record.encoder_fingerprint) is None

    def documents(self, record: SegmentRecord) -> DocumentTable:
        """The documents of a segment.

        Raises:
            Lost: they are damaged.
        """
        file = record.file("documents")
        if found := file_problems(self._root, replace(record, files=(file,))):
            raise Lost(found[0])
        return DocumentTable.mapped(self._root, file)

    def living(self, documents: Documents, origins: tuple[int, ...]) -> tuple[IntArray, IntArray]:
        """Ordinals and births of the documents that are not deleted; the births by the catalog. Within
        one segment an id stands only once.

        Raises:
            Lost: the catalog names others.
        """
        births = self._catalog.register.born_in(origins)
        found = [(i, births[doc_id]) for i, doc_id in enumerate(documents.ids()) if doc_id in births]
        ordinals = np.array([i for i, _ in found], dtype=np.int64)
        keys = birth_keys(np.array([birth for _, birth in found], dtype=np.int64).reshape(-1, 2))
        if len(found) != len(births) or (np.diff(keys) <= 0).any():
            told = ", ".join(map(str, origins))
            raise Lost(f"the documents of {told} are not those that the catalog names")
        return ordinals, keys

    def write(
        self,
        number: int,
        trained: Trained,
        documents: Documents,
        living: tuple[IntArray, IntArray],
        tell: Callable[[int], None],
        stored: StoredVectors | None = None,
    ) -> SegmentWriter:
        """The `living` ones as segment ``number``; nothing is committed. ``tell`` learns how many are
        encoded; of those with ``stored`` vectors none is."""
        ordinals, keys = living
        writer = SegmentWriter(self._root, number, trained, self._record.dim)
        try:
            for chunk in _chunks(ordinals):
                if stored is None:
                    writer.append(self._encoded(documents, chunk))
                    tell(writer.n_documents)
                else:
                    codes, doclens = stored.of(chunk)
                    writer.append_codes(codes, doclens, stored.max_norm)
            rows = (documents.rows(chunk, self._fields) for chunk in _chunks(ordinals))
            writer.finish(document_schema(self._fields), rows, keys)
        except BaseException:
            writer.abandon()
            raise
        return writer

    def _encoded(self, documents: Documents, ordinals: IntArray) -> Ragged:
        texts = [documents.document(int(ordinal)).full_text for ordinal in ordinals]
        encoder = DocumentEncoder(self.encoder(), self._catalog.pooling())
        return prepare_documents(encoder.encode(texts), self._record.metric)


@dataclass(frozen=True, slots=True)
class _Part:
    """Documents that lie together: of a segment, or pending ones."""

    number: int
    origins: tuple[int, ...]
    documents: Documents
    living: tuple[IntArray, IntArray]


def encode_all(
    root: Path, catalog: Catalog, again: Reencoder, progress: Callable[[int, int], None]
) -> tuple[int, bool]:
    """Encode every document anew, pending ones too, and train again what was trained: for an index whose
    calibration is lost, or no longer fits. The caller holds both locks.

    It is two steps. After the first, one commit, all documents are stored as float16 and scored exactly;
    should the second, a conversion, not be possible, they stay so.

    Returns:
        How many documents were encoded, and whether they are stored and searched as before.

    Raises:
        IndexDamagedError: documents are damaged too; nothing was changed.
    """
    record = catalog.codec()
    try:
        parts = [*_segments(catalog, again), *_pending(catalog)]
    except Lost as error:
        told = str(error).rpartition(";")[0] or str(error)
        raise IndexDamagedError(
            f"no vector can be read, and not every text: {told}; restore the index from a copy"
        ) from None
    done = _replace(root, catalog, again, parts, progress)
    recipe = record.config.get("recipe")
    wanted = Conversion(
        record.config["precision"],
        RecipeConfig() if recipe is None else RecipeConfig.of(**recipe),
        encoder=again.encoder,
        force=True,
    )
    try:
        convert(root, lambda _: nullcontext(catalog), SnapshotKeeper(root, catalog), wanted)
    except ConfigError:
        return done, False
    return done, True


def _segments(catalog: Catalog, again: Reencoder) -> Iterator[_Part]:
    for record in catalog.segments():
        documents = again.documents(record)
        yield _Part(record.segment, record.origins, documents, again.living(documents, record.origins))


def _pending(catalog: Catalog) -> Iterator[_Part]:
    """The pending documents as one; it becomes the segment of its own number."""
    batches = list(catalog.register.pending())
    if not batches:
        return
    number = batches[0].buffer
    tables = [DocumentTable.from_bytes(batch.documents) for batch in batches]
    ids, n = [doc_id for table in tables for doc_id in table.ids()], sum(map(len, tables))
    firsts, fields = [batch.first for batch in batches], catalog.fields().types
    births = catalog.register.born_in((number,))
    # An id may stand there more than once: only the last was born to live.
    there = [i for i, doc_id in enumerate(ids) if doc_id in births and births[doc_id].ordinal == i]
    ordinals = np.array(there, dtype=np.int64)
    keys = birth_keys(np.stack([np.full_like(ordinals, number), ordinals], axis=1))
    if len(there) != len(births):
        raise Lost("the pending documents are not those that the catalog names")
    yield _Part(number, (number,), PendingDocuments(tables, firsts, ids, n, fields), (ordinals, keys))


def _replace(
    root: Path,
    catalog: Catalog,
    again: Reencoder,
    parts: list[_Part],
    progress: Callable[[int, int], None],
) -> int:
    """The first commit: every part anew in a codec generation that needs no calibration."""
    before, generation, number = catalog.codec(), catalog.generation(), int(catalog.meta("next_number"))
    codec = FloatCodec(READABLE)
    record = replace(before, codec=before.codec + 1, name=codec.name, config=codec.state()[0])
    total, done = sum(len(part.living[0]) for part in parts), 0
    written: list[SegmentWriter] = []
    try:
        for place, part in enumerate(parts):
            tell = _counting(progress, done, total)
            files = again.write(number + place, Trained(codec), part.documents, part.living, tell)
            written.append(files)
            done += files.n_documents
    except BaseException:
        for files in written:
            files.abandon()
        raise
    # A commit that fails or is interrupted may have happened: only `clear_leftovers` can tell.
    with catalog.transaction("repair") as new:
        catalog.set_meta("next_number", number + len(parts))
        catalog.keep_built()
        catalog.register.clear_pending()
        catalog.remove_segments(catalog.segment_numbers())
        catalog.replace_codecs(record, [])
        for part, files in zip(parts, written, strict=True):
            catalog.register.clear_tombstones(part.origins, generation)
            register_merged(catalog, files, part.origins, record.codec, new)
    for files in written:
        if not files.n_documents:
            files.abandon()
    remove_segments(root, [part.number for part in parts])
    with suppress(IndexFolderError):  # what remains, the next writer removes
        remove_trained(root, before.codec)
    return done


def _counting(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    return lambda encoded: progress(before + encoded, total)


def _chunks(ordinals: IntArray) -> Iterator[IntArray]:
    for first in range(0, len(ordinals), ENCODE_CHUNK):
        yield ordinals[first : first + ENCODE_CHUNK]
