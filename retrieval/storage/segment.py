"""One segment: codes, offsets and documents, written once and then only mapped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.quantize import Codec
from retrieval.storage.documents import DocumentTable, write_documents
from retrieval.storage.files import FileRecord, HashingFile, make_folder, map_array, sync_folder
from retrieval.storage.records import SegmentRecord
from retrieval.types import Document, IntArray, Ragged

__all__ = ["SEGMENTS", "SegmentReader", "SegmentWriter"]

SEGMENTS = "segments"


class SegmentWriter:
    """Streams a segment's vectors to disk; nothing of it exists until the catalog names it."""

    def __init__(self, root: Path, segment: int, codec: Codec, dim: int) -> None:
        self.segment = segment
        self.n_tokens = 0
        self.max_norm = 0.0
        self.files: tuple[FileRecord, ...] = ()
        self._root, self._codec, self._dim = root, codec, dim
        self._folder = f"{SEGMENTS}/{segment:08d}"
        make_folder(root / self._folder)
        self._codes = HashingFile(root, f"{self._folder}/codes.bin")
        self._doclens: list[IntArray] = []

    def append(self, vectors: Ragged) -> None:
        """Encode and append the vectors of the next documents."""
        codes = self._codec.encode(vectors.values)
        self._codes.write_array(codes)
        self._doclens.append(vectors.doclens)
        self.n_tokens += len(codes)
        if len(codes):
            norms = np.linalg.norm(self._codec.decode(codes).astype(np.float64), axis=1)
            self.max_norm = max(self.max_norm, float(norms.max()))

    def finish(self, documents: Sequence[Document], metadata: Mapping[str, pa.Array]) -> None:
        """Write what belongs to whole documents and make every file durable; sets ``files``."""
        shape = (self.n_tokens, self._dim)
        codes = self._codes.finish("codes", self._codec.dtype.name, shape)
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        if self._doclens:
            np.cumsum(np.concatenate(self._doclens), out=offsets[1:])
        with HashingFile(self._root, f"{self._folder}/offsets.bin") as file:
            file.write_array(offsets)
            offsets_record = file.finish("offsets", "int64", offsets.shape)
        table = write_documents(self._root, f"{self._folder}/documents.arrow", documents, metadata)
        sync_folder(self._root / self._folder)
        self.files = (codes, offsets_record, table)

    def abandon(self) -> None:
        """Give up: close and remove what was written (after a kill, the next writer does it)."""
        with suppress(OSError):
            self._codes.close()
        shutil.rmtree(self._root / self._folder, ignore_errors=True)


class SegmentReader:
    """A committed segment, memory-mapped."""

    def __init__(self, root: Path, record: SegmentRecord) -> None:
        self.record = record
        self.codes: NDArray[Any] = map_array(root, record.file("codes"))
        self.offsets: IntArray = map_array(root, record.file("offsets"))
        self.documents = DocumentTable(root, record.file("documents"))

    def __len__(self) -> int:
        return self.record.n_documents

    def document_codes(self, ordinal: int) -> NDArray[Any]:
        """Codes of one document, ``(n_tokens_i, d)``."""
        return self.codes[self.offsets[ordinal] : self.offsets[ordinal + 1]]

    def problems(self) -> list[str]:
        """Broken invariants: lengths that disagree, offsets that fall, values that are not numbers."""
        found = self.documents.problems()
        record, offsets = self.record, self.offsets
        if len(self.documents) != record.n_documents or len(offsets) != record.n_documents + 1:
            found.append(
                f"{len(self.documents)} documents, {len(offsets)} offsets, committed {record.n_documents}"
            )
        if offsets[0] != 0 or offsets[-1] != record.n_tokens or (np.diff(offsets) < 0).any():
            found.append(f"offsets do not divide {record.n_tokens} tokens")
        if len(self.codes) != record.n_tokens:
            found.append(f"{len(self.codes)} codes, committed {record.n_tokens}")
        if not all(np.isfinite(self.codes[i : i + 65536]).all() for i in range(0, len(self.codes), 65536)):
            found.append("codes hold NaN or infinity")
        return found
