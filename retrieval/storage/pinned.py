"""One generation of an index, held so that later commits cannot take its files away."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TypeVar

from retrieval.errors import IndexDamagedError, IndexFolderError
from retrieval.storage import disk
from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.files import FileRecord, inside
from retrieval.storage.partial import clear

__all__ = ["Meter", "Pinned", "checked_files", "damaged", "pieces", "with_pinned"]

Result = TypeVar("Result")

MAX_OPEN = 256
"""Files opened before the first is copied: a process may have few descriptors (often 1,024)."""

ATTEMPTS = 10
PIECE = 1 << 20

# A file of an index lies in a folder of it, never beside the catalog, and has a portable name.
_PLAIN = re.compile(r"(?:[\w-][\w.-]*/)+[\w-][\w.-]*", re.ASCII)


class _Vanished(Exception):
    """A file that the copied catalog names is not there; the argument is its path."""


class Pinned:
    """A copied catalog's generation and the files it names, in the order of their paths.

    ``bytes`` is the size of all, the catalog at ``catalog`` included.
    """

    def __init__(self, source: Path, catalog: Path, generation: int, files: Sequence[FileRecord]) -> None:
        self.catalog, self.generation, self.files = catalog, generation, tuple(files)
        self.bytes = catalog.stat().st_size + sum(file.bytes for file in files)
        self._source = source
        self._opened: dict[str, BinaryIO] = {}

    def pin(self, stack: ExitStack) -> None:
        """Open the first `MAX_OPEN` files: an open file stays readable when it is unlinked."""
        for record in self.files[:MAX_OPEN]:
            self._opened[record.path] = stack.enter_context(self._open(record))

    def read(self, record: FileRecord) -> Iterator[bytes]:
        """The bytes of a file, in pieces.

        Raises:
            IndexDamagedError: it is not as long as committed.
        """
        with self._opened.pop(record.path, None) or self._open(record) as file:
            if (size := file.seek(0, 2)) != record.bytes:
                raise IndexDamagedError(
                    f"{self._source / record.path} has {size} bytes, committed were {record.bytes}; "
                    "restore the index from a copy"
                )
            file.seek(0)
            yield from pieces(file, record.bytes)

    def _open(self, record: FileRecord) -> BinaryIO:
        path = inside(self._source, record.path)
        try:
            return disk.open_file(path)
        except FileNotFoundError:
            raise _Vanished(path) from None


class Meter:
    """Counts bytes for a callback ``progress(bytes_done, bytes_total)``."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def with_pinned(source: Path, folder: Path, use: Callable[[Pinned], Result]) -> Result:
    """Copy the catalog of ``source`` into ``folder`` and hand over the generation it fixes.

    If a later commit takes files away before they are all open, it all starts again, with
    ``folder`` empty.

    Raises:
        IndexNotFoundError, IndexFormatError
        IndexDamagedError: the catalog or a file is not what was committed.
        IndexFolderError: it cannot be written, or the index changed too often meanwhile.
    """
    for _ in range(ATTEMPTS):
        clear(folder)
        _copy_catalog(source, folder)
        with Catalog.open(folder) as copy:
            pinned = Pinned(source, folder / CATALOG, copy.generation(), checked_files(copy))
        try:
            with ExitStack() as stack:
                pinned.pin(stack)
                return use(pinned)
        except _Vanished as missing:
            with Catalog.open(source) as catalog:
                if catalog.generation() == pinned.generation:
                    raise IndexDamagedError(f"{missing} is missing; restore the index from a copy") from None
    raise IndexFolderError(f"{source} changed {ATTEMPTS} times while it was being read; try again")


def checked_files(catalog: Catalog) -> list[FileRecord]:
    """The files that a catalog names, by path, after checking the catalog against itself.

    Raises:
        IndexDamagedError: it is not what was committed, or a name does not belong in an index.
    """
    problems, segments = catalog.problems(), catalog.segments()
    problems += [
        f"segment {segment.segment} is not what was committed; restore the index from a copy"
        for segment in segments
        if segment.stored_checksum != segment.checksum
    ]
    try:
        deque(catalog.register.pending(), maxlen=0)  # to read a batch is to check it
    except IndexDamagedError as error:
        problems.append(str(error))
    if problems:
        raise IndexDamagedError(f"{catalog.root / CATALOG}: {problems[0]}")
    files = [*catalog.codec().files, *(file for segment in segments for file in segment.files)]
    seen: set[str] = set()
    for file in files:
        named = isinstance(file.path, str) and _PLAIN.fullmatch(file.path) and file.path not in seen
        if not named or not isinstance(file.bytes, int) or file.bytes < 0:
            raise IndexDamagedError(
                f"{catalog.root / CATALOG} names the file {file.path!r} of {file.bytes!r} bytes, "
                "which cannot belong to an index; restore the index from a copy"
            )
        seen.add(file.path)
    return sorted(files, key=lambda file: file.path)


def damaged(path: Path) -> IndexDamagedError:
    """The error that says so of a file whose SHA-256 is wrong."""
    return IndexDamagedError(
        f"{path}: its bytes are not those that were committed; restore the index from a copy"
    )


def pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next ``size`` bytes, or fewer at the end of the file."""
    while size > 0 and (piece := file.read(min(PIECE, size))):
        yield piece
        size -= len(piece)


def _copy_catalog(source: Path, folder: Path) -> None:
    with Catalog.open(source) as catalog:
        catalog.backup(folder / CATALOG)
