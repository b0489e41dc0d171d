"""An index as one file: an uncompressed tar of its catalog and the files that the catalog names.

    catalog.sqlite, then each file by path; no owner, no time, nothing else

So an index gives the same archive until its next commit, any tar program can list one, and
`import_index`, which trusts nothing, needs to accept no more than this. Checksums show damage, not
who made the archive.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from retrieval.errors import IndexDamagedError, IndexNotFoundError
from retrieval.storage import disk
from retrieval.storage.catalog import CATALOG, Catalog
from retrieval.storage.connection import connect
from retrieval.storage.copies import CopyReport, Progress, check_free, make_writable
from retrieval.storage.files import FileRecord, HashingFile, make_folder, sync_folder
from retrieval.storage.partial import check_apart, preparing, publish
from retrieval.storage.pinned import Meter, Pinned, checked_files, damaged, pieces, with_pinned
from retrieval.storage.verify import verify_files

__all__ = ["export_index", "import_index"]

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
_ARCHIVE = "archive.tar"

# What checks of a well-formed file with senseless content may raise, beside our own errors.
_SENSELESS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    sqlite3.Error,
    pa.ArrowException,
)


def export_index(source: Path, file: Path, progress: Progress | None = None) -> CopyReport:
    """Write the last committed generation of ``source`` to the new file ``file``.

    Raises:
        IndexExistsError: ``file`` is there.
        IndexNotFoundError, IndexFormatError, IndexDamagedError: of ``source``.
        IndexFolderError: it cannot be read or written.
    """
    source, file = source.resolve(), file.resolve()
    check_apart(source, file)
    with preparing(source, file) as folder:
        check_free(file)
        archive = folder / _ARCHIVE

        def write(pinned: Pinned) -> CopyReport:
            _write_archive(archive, source, pinned, Meter(progress, pinned.bytes))
            return CopyReport(str(file), pinned.generation, len(pinned.files) + 1, pinned.bytes)

        report = with_pinned(source, folder, write)
        publish(archive, file)
    return report


def _write_archive(archive: Path, source: Path, pinned: Pinned, meter: Meter) -> None:
    with disk.create(archive) as out:
        with disk.open_file(pinned.catalog) as catalog:
            size = os.fstat(catalog.fileno()).st_size
            _write_member(out, CATALOG, size, pieces(catalog, size), meter)
        for record in pinned.files:
            sha256 = _write_member(out, record.path, record.bytes, pinned.read(record), meter)
            if sha256 != record.sha256:
                raise damaged(source / record.path)
        disk.write(out, END)
        disk.sync(out)


def _write_member(out: BinaryIO, name: str, size: int, content: Iterable[bytes], meter: Meter) -> str:
    disk.write(out, header(name, size))
    digest = hashlib.sha256()
    for piece in content:
        disk.write(out, piece)
        digest.update(piece)
        meter.add(len(piece))
    disk.write(out, _padding(size))
    return digest.hexdigest()


def import_index(file: Path, target: Path, progress: Progress | None = None) -> CopyReport:
    """Make the new folder ``target`` an index from an archive that `export_index` wrote.

    The archive is read once, from its beginning to its end, and is not trusted: it must hold the
    files that its catalog names and nothing else. The index is checked as `verify` does.

    Raises:
        IndexExistsError: ``target`` is there and not an empty folder.
        IndexNotFoundError: there is no file.
        IndexFormatError: the archive's index is of a newer version.
        IndexDamagedError: anything in the archive is not as it must be.
        IndexFolderError: it cannot be read or written.
    """
    file, target = file.resolve(), target.resolve()
    check_apart(file, target)
    if not file.is_file():
        raise IndexNotFoundError(f"no archive at {file}; export an index to make one")
    with preparing(file, target) as folder:
        check_free(target)
        with disk.open_file(file) as stream:
            generation, records = _unpack(_Archive(file, stream, progress), folder)
        _check_whole(folder)
        make_writable(folder)
        size = (folder / CATALOG).stat().st_size + sum(record.bytes for record in records)
        publish(folder, target)
    return CopyReport(str(target), generation, len(records) + 1, size)


def header(name: str, size: int) -> bytes:
    """The tar header of a regular file: one block. A size from 8 GiB on is written in binary, as
    every tar program of today reads it."""
    member = tarfile.TarInfo(name)
    member.size = size
    block = member.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
    if len(block) != BLOCK:  # tar would put a long name into a member of its own
        raise IndexDamagedError(
            f"the name {name!r} is too long for an archive; restore the index from a copy"
        )
    return block


class _Archive:
    """Reads the members of an archive, in the order in which they must come."""

    def __init__(self, path: Path, stream: BinaryIO, progress: Progress | None) -> None:
        self._path, self._stream = path, stream
        self._meter = Meter(progress, os.fstat(stream.fileno()).st_size)

    def extract(self, folder: Path, name: str, size: int | None = None) -> FileRecord:
        """Write the next member, which must have this name and, if given, this size."""
        member = self._header(name)
        if not member.isreg() or member.type != tarfile.REGTYPE or member.name != name:
            raise self._wrong(f"has {member.name!r} (type {member.type!r}) where the file {name!r} must be")
        if member.size < 0 or (size is not None and member.size != size):
            raise self._wrong(f"has {member.size} bytes of {name!r}, committed were {size}")
        with HashingFile(folder, name) as file:
            for piece in pieces(self._stream, member.size):
                self._meter.add(file.write(piece))
            if file.tell() != member.size:
                raise self._wrong(f"ends within {name!r}")
            record = file.finish(name)
        self._zeros(_padding(member.size), f"behind {name!r}")
        return record

    def finish(self) -> None:
        """Nothing may follow but the mark of the end."""
        self._zeros(END, "at its end")
        if self._stream.read(1):
            raise self._wrong("goes on behind its end")

    def _header(self, name: str) -> tarfile.TarInfo:
        # The block alone is parsed: a tar reader would follow extended headers, of any length, to
        # other names, sizes and holes.
        try:
            member = tarfile.TarInfo.frombuf(self._read(BLOCK), "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise self._wrong(f"has no readable header where {name!r} must be ({error})") from None
        return member

    def _zeros(self, expected: bytes, where: str) -> None:
        if self._read(len(expected)) != expected:
            raise self._wrong(f"is cut, or holds other bytes than zeros, {where}")

    def _read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._meter.add(len(block))
        return block

    def _wrong(self, told: str) -> IndexDamagedError:
        return IndexDamagedError(f"{self._path} {told}; it is no whole export of an index, copy it again")


def _unpack(archive: _Archive, folder: Path) -> tuple[int, list[FileRecord]]:
    archive.extract(folder, CATALOG)
    _check_schema(folder)
    with Catalog.open(folder) as catalog:
        try:
            generation, records = catalog.generation(), checked_files(catalog)
        except _SENSELESS as error:
            raise _senseless(folder, error) from None
    for record in records:
        make_folder((folder / record.path).parent)
        if archive.extract(folder, record.path, record.bytes).sha256 != record.sha256:
            raise damaged(folder / record.path)
    archive.finish()
    for parent in {(folder / record.path).parent for record in records}:
        sync_folder(parent)
    return generation, records


def _check_schema(folder: Path) -> None:
    """A catalog has tables and indexes; views, triggers and virtual tables would run when it is read."""
    connection = connect(folder / CATALOG, "ro")
    try:
        stored = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        raise _senseless(folder, error) from None
    finally:
        connection.close()
    odd = [f"the {kind} {name!r}" for kind, name, sql in stored if _runs(kind, sql)]
    if odd or not stored:
        raise IndexDamagedError(
            f"{folder / CATALOG} holds {odd[0] if odd else 'nothing'}, as no export does; export it again"
        )


def _runs(kind: str, sql: str | None) -> bool:
    virtual = sql is not None and sql.upper().startswith("CREATE VIRTUAL")
    return kind not in ("table", "index") or virtual


def _check_whole(folder: Path) -> None:
    """Kernels trust the arrays of an index: what comes from outside must be consistent, not only
    unchanged since somebody computed the checksums."""
    with Catalog.open(folder) as catalog:
        try:
            problems = verify_files(folder, catalog).problems
        except _SENSELESS as error:
            raise _senseless(folder, error) from None
    if problems:
        raise IndexDamagedError(f"{folder}: {problems[0]}")


def _senseless(folder: Path, error: Exception) -> IndexDamagedError:
    return IndexDamagedError(
        f"{folder} holds what no index can hold ({type(error).__name__}: {error}); export it again"
    )


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)
