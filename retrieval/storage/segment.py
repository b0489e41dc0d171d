"""One segment: codes, offsets, births, documents and what the trained search arranged of them, written
once and then only mapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.building import teller
from retrieval.errors import IndexDamagedError, IndexFolderError
from retrieval.index import STRAIN as STRAIN_ARRAY
from retrieval.index import Probe, Searcher, TokenPipeline
from retrieval.quantize import Codec, ResidualCodec
from retrieval.storage import disk
from retrieval.storage.array_files import ArrayFiles
from retrieval.storage.births import all_born_here
from retrieval.storage.derived import Derived
from retrieval.storage.documents import DocumentTable, write_documents
from retrieval.storage.files import (
    FileRecord,
    HashingFile,
    check_numbers,
    check_size,
    hash_file,
    make_folder,
    map_array,
    remove,
    sync_folder,
)
from retrieval.storage.records import SegmentRecord
from retrieval.storage.trained import Trained
from retrieval.types import IntArray, Ragged

__all__ = [
    "CONVERTED",
    "PROVISIONAL",
    "SEGMENTS",
    "SegmentReader",
    "SegmentWriter",
    "arranged_part",
    "file_problems",
    "largest_norm",
    "stored_part",
]

SEGMENTS = "segments"
PROVISIONAL = 10**8
"""The first of the numbers of segments that are written before they get one (`SegmentWriter.renumber`)."""
CONVERTED = 2 * PROVISIONAL
"""The first of those that a conversion writes so."""
ARRANGED = "arranged/"
"""Files of what the trained search keeps of a segment: all made from its codes."""
STRAIN = ARRANGED + STRAIN_ARRAY
"""How badly the tokens of a segment fit the centroids; see `retrieval.index.tokens`. It is advice: no
search needs it."""
BLOCK = 16384
"""Vectors decoded at a time when they are arranged."""


class SegmentWriter:
    """Streams a segment's vectors to disk; nothing of it exists until the catalog names it.

    ``origins`` are the numbers under which its documents came to the index; a merge sets them.
    """

    def __init__(self, root: Path, segment: int, trained: Trained, dim: int) -> None:
        self.segment = segment
        self.n_documents = 0
        self.n_tokens = 0
        self.max_norm = 0.0
        self.files: tuple[FileRecord, ...] = ()
        self.origins: tuple[int, ...] = (segment,)
        self._root, self._trained, self._dim = root, trained, dim
        self._codec = trained.codec
        self._folder = f"{SEGMENTS}/{segment:08d}"
        remove(root / self._folder)  # left by a writer that died
        make_folder(root / self._folder)
        self._codes = HashingFile(root, f"{self._folder}/codes.bin")
        self._doclens: list[IntArray] = []

    def append(self, vectors: Ragged) -> None:
        """Encode and append the vectors of the next documents."""
        codes = self._codec.encode(vectors.values)
        self.append_codes(codes, vectors.doclens, largest_norm(self._codec, codes))

    def append_codes(self, codes: NDArray[Any], doclens: IntArray, max_norm: float) -> None:
        """Append codes of the next documents; ``max_norm`` bounds the norms of their vectors."""
        self._codes.write_array(codes)
        self._doclens.append(doclens)
        self.n_documents += len(doclens)
        self.n_tokens += len(codes)
        self.max_norm = max(self.max_norm, max_norm)

    def finish(
        self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], births: IntArray | None = None
    ) -> None:
        """Write what belongs to whole documents and make every file durable; sets ``files``.

        ``births`` are the `birth_keys` of documents that came to the index in other segments.
        """
        shape = (self.n_tokens, self._codec.width(self._dim))
        files = [self._codes.finish("codes", self._codec.dtype.name, shape)]
        offsets = np.zeros(self.n_documents + 1, dtype=np.int64)
        if self._doclens:
            np.cumsum(np.concatenate(self._doclens), out=offsets[1:])
        files.append(self._write_array("offsets", offsets))
        if births is not None:
            files.append(self._write_array("births", births))
        if self._trained.pipeline is not None:
            files += self._arrange(self._trained.pipeline, files[0], offsets)
        files.append(write_documents(self._root, f"{self._folder}/documents.arrow", schema, batches))
        sync_folder(self._root / self._folder)
        self.files = tuple(files)

    def file(self, name: str) -> FileRecord:
        """A file of a finished segment."""
        return next(file for file in self.files if file.name == name)

    def renumber(self, segment: int) -> None:
        """Give a finished segment its number, if it was written before there was one for it."""
        before, self._folder = self._folder, f"{SEGMENTS}/{segment:08d}"
        remove(self._root / self._folder)  # left by a writer that died
        with disk.telling("rename", self._root / before):
            disk.rename(self._root / before, self._root / self._folder)
        sync_folder(self._root / SEGMENTS)
        self.files = tuple(replace(f, path=f"{self._folder}/{Path(f.path).name}") for f in self.files)
        self.origins = tuple(segment if origin == self.segment else origin for origin in self.origins)
        self.segment = segment

    def _arrange(self, pipeline: Searcher, codes: FileRecord, offsets: IntArray) -> list[FileRecord]:
        """Let the trained search make its arrays of the codes just written."""
        stored, tell = map_array(self._root, codes), teller()

        def runs() -> Iterator[tuple[int, int]]:
            first, n = 0, len(offsets) - 1
            while first < n:
                last = int(np.searchsorted(offsets, offsets[first] + BLOCK, side="right")) - 1
                yield first, (last := min(max(last, first + 1), n))
                first = last

        def blocks() -> Iterator[Ragged]:
            for first, last in runs():
                tell("code the documents", first / self.n_documents)
                start, stop = offsets[first], offsets[last]
                values = np.ascontiguousarray(self._codec.decode(stored[start:stop]), dtype=np.float32)
                yield Ragged(values, offsets[first : last + 1] - start)

        files = ArrayFiles(self._root, self._folder)
        if isinstance(self._codec, ResidualCodec) and isinstance(pipeline, TokenPipeline):
            rows = ((stored[offsets[i] : offsets[j]], offsets[i : j + 1] - offsets[i]) for i, j in runs())
            pieces = pipeline.arrange_stored(rows, self.n_documents)
        else:
            pieces = pipeline.arrange(blocks(), self.n_documents)
        try:
            for name, piece in pieces:
                files.append(ARRANGED + name, piece)
            return files.finish()
        except BaseException:
            files.abandon()
            raise

    def _write_array(self, name: str, array: NDArray[Any]) -> FileRecord:
        with HashingFile(self._root, f"{self._folder}/{name.replace('/', '-')}.bin") as file:
            file.write_array(array)
            return file.finish(name, array.dtype.name, array.shape)

    def abandon(self) -> None:
        """Give up: close and remove what was written (after a kill, the next writer does it)."""
        self._codes.close()
        with suppress(IndexFolderError):  # what remains, the next writer removes
            remove(self._root / self._folder)


def largest_norm(codec: Codec, codes: NDArray[Any]) -> float:
    """The largest norm of the vectors that codes stand for, 0 for none."""
    if not len(codes):
        return 0.0
    return float(np.linalg.norm(codec.decode(codes).astype(np.float64), axis=1).max())


class SegmentReader:
    """A committed segment, memory-mapped.

    ``codes`` is ``(n_tokens, d)``, ``offsets`` ``(n + 1,)``, ``births`` the sorted `birth_keys` of
    its documents, ``search`` what the trained search arranged of it (None: nothing, or ``trained`` was
    not given). Opening checks what costs no reading of the whole: the catalog's row, the files'
    sizes, and that offsets and births can be followed without leaving the arrays.

    Raises:
        IndexDamagedError: one of these is not what was committed.
    """

    def __init__(self, root: Path, record: SegmentRecord, trained: Trained | None = None) -> None:
        if record.stored_checksum not in (None, record.checksum):
            raise IndexDamagedError(
                f"catalog: segment {record.segment} is not what was committed; restore the index from a copy"
            )
        self._root = root
        self.record = record
        self.number = record.segment
        self.max_norm = record.max_norm
        self.origins = record.origins
        self.codes: NDArray[Any] = map_array(root, record.file("codes"))
        self.offsets: IntArray = map_array(root, record.file("offsets"))
        self.documents = DocumentTable.mapped(root, record.file("documents"))
        self.births: IntArray = (
            map_array(root, record.file("births"))
            if record.has_file("births")
            else all_born_here(record.segment, record.n_documents)
        )
        if found := self._misfits():
            told = f"segment {record.segment}: {found[0]}"
            raise IndexDamagedError(f"{told}; restore the index from a copy")
        self.search: Probe | None = None
        pipeline = None if trained is None else trained.pipeline
        if trained is not None and pipeline is not None and (record.is_arranged or pipeline.keeps_nothing):
            arranged = {
                file.name.removeprefix(ARRANGED): map_array(root, file)
                for file in arranged_part(record).files
            }
            try:
                check_numbers(arranged)
                self.search = pipeline.attach(arranged, self.offsets, self.codes, trained.codec)
            except (IndexDamagedError, ValueError, KeyError, TypeError) as error:
                raise IndexDamagedError(
                    f"segment {record.segment}: {error}; repair the index, or restore it from a copy"
                ) from None

    @property
    def n_documents(self) -> int:
        """Documents in its files, deleted ones too."""
        return self.record.n_documents

    @property
    def derived(self) -> Derived:
        """What readers keep beside its documents."""
        return Derived(self._root, self.record)

    def document_codes(self, ordinal: int) -> NDArray[Any]:
        """Codes of one document, ``(n_tokens_i, d)``."""
        return self.codes[self.offsets[ordinal] : self.offsets[ordinal + 1]]

    def check_bytes(self) -> None:
        """Read every file that was not derived and compare: whoever copies a segment must not give damage a
        new checksum. What the search arranged is not copied, but arranged again.

        Raises:
            IndexDamagedError: a byte is not what was committed.
        """
        if found := file_problems(self._root, stored_part(self.record)):
            raise IndexDamagedError(found[0])

    def problems(self) -> list[str]:
        """Broken invariants of the contents: text that is none, values that are not numbers."""
        found = self.documents.problems()
        if not all(np.isfinite(self.codes[i : i + 65536]).all() for i in range(0, len(self.codes), 65536)):
            found.append("codes hold NaN or infinity")
        if not set(np.unique(self.births >> 32)) <= set(self.record.origins):
            found.append("births name origins that the catalog does not")
        return found

    def _misfits(self) -> list[str]:
        """Lengths that disagree, offsets that fall, births out of order."""
        found = []
        record, offsets = self.record, self.offsets
        if len(self.documents) != record.n_documents or len(offsets) != record.n_documents + 1:
            found.append(
                f"{len(self.documents)} documents, {len(offsets)} offsets, committed {record.n_documents}"
            )
        elif offsets[0] != 0 or offsets[-1] != record.n_tokens or (np.diff(offsets) < 0).any():
            found.append(f"offsets do not divide {record.n_tokens} tokens")
        if len(self.codes) != record.n_tokens:
            found.append(f"{len(self.codes)} codes, committed {record.n_tokens}")
        if len(self.births) != record.n_documents or (np.diff(self.births) <= 0).any():
            found.append("births do not name each document once")
        return found


def stored_part(record: SegmentRecord) -> SegmentRecord:
    """A segment without what the trained search arranged of it."""
    files = tuple(file for file in record.files if not file.name.startswith(ARRANGED))
    return replace(record, files=files, stored_checksum=None)


def arranged_part(record: SegmentRecord) -> SegmentRecord:
    """A segment with nothing but what searching it needs of that."""
    files = tuple(file for file in record.files if file.name.startswith(ARRANGED) and file.name != STRAIN)
    return replace(record, files=files, stored_checksum=None)


def file_problems(root: Path, record: SegmentRecord) -> list[str]:
    """Files of a segment that are not what was committed, by size and checksum."""
    found = []
    for file in record.files:
        try:
            path = check_size(root, file)
            if hash_file(path) != file.sha256:
                found.append(
                    f"{path}: its bytes are not those that were committed; "
                    "repair the index, or restore it from a copy"
                )
        except IndexFolderError as error:  # missing, or on a disk that cannot be read
            found.append(str(error))
    return found
