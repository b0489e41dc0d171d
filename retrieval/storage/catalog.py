"""`catalog.sqlite`: the one commit point. What it does not name does not exist.

WAL with ``synchronous=FULL``: a committed transaction survives a power loss, readers never wait,
and each read transaction sees one generation.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from retrieval.errors import (
    IndexDamagedError,
    IndexFolderError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
)
from retrieval.storage.connection import CATALOG, catalog_state, connect, is_immutable
from retrieval.storage.files import FileRecord
from retrieval.storage.records import CodecRecord, SegmentRecord
from retrieval.storage.schema import FORMAT_VERSION, KNOWN_FEATURES, TABLES

__all__ = ["CATALOG", "Catalog", "has_catalog"]


def has_catalog(root: Path) -> bool:
    """Whether a committed catalog is there; a killed creation leaves none."""
    if not (root / CATALOG).is_file():
        return False
    try:
        with Catalog.open(root):
            return True
    except IndexNotFoundError:
        return False


class Catalog:
    """A connection to an index's catalog, safe to share between threads."""

    def __init__(self, root: Path, connection: sqlite3.Connection) -> None:
        self.root = root
        self._connection = connection
        self._lock = threading.RLock()
        self._read_only_as = catalog_state(root) if is_immutable(connection) else None

    @classmethod
    def create(cls, root: Path, codec: CodecRecord, meta: Mapping[str, Any]) -> Self:
        """Write a new catalog in one transaction."""
        catalog = cls(root, connect(root / CATALOG, "rwc"))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        required = {"format_version": FORMAT_VERSION, "required_features": [], "created_at": created}
        with catalog.transaction("create"):
            for statement in TABLES.split(";"):
                catalog._connection.execute(statement)
            catalog._connection.execute("INSERT INTO commits VALUES (1, 'create', ?)", (created,))
            catalog._insert("codecs", (*codec.as_row(), _checksum(codec.as_row())))
            for key, value in {**required, **meta}.items():
                catalog.set_meta(key, value)
        return catalog

    @classmethod
    def open(cls, root: Path, *, write: bool = False) -> Self:
        """Open and check the version.

        Raises:
            IndexNotFoundError: no catalog, or its creation never finished.
            IndexFormatError: a newer version, or a required feature this code does not know.
            IndexDamagedError: SQLite cannot read it.
        """
        path = root / CATALOG
        if root.is_file():
            raise IndexNotFoundError(f"{root} is a file, not an index; an index is a folder that build made")
        if not path.is_file() and (root / "segments").exists():
            raise IndexDamagedError(
                f"{path} is missing, but segments are there; restore the index from a copy"
            )
        if not path.is_file():
            raise IndexNotFoundError(f"no index at {root}; build one with: retrieval build SOURCE {root}")
        catalog = cls(root, connect(path, "rw" if write else "ro"))
        try:
            catalog._check_format()
        except BaseException:
            catalog.close()
            raise
        return catalog

    def _check_format(self) -> None:
        tables = {row[0] for row in self._rows("SELECT name FROM sqlite_master")}
        if tables and "meta" not in tables:  # creation is one transaction: all tables or none
            raise IndexDamagedError(
                f"{self.root / CATALOG} is a database, but no catalog; choose another path"
            )
        if not tables:
            raise IndexNotFoundError(f"no index at {self.root}: its creation was interrupted")
        version, features = self.meta("format_version"), self.meta("required_features")
        with self._decoding("the format"):
            version, features = int(version), set(features)
        if version > FORMAT_VERSION:
            raise IndexFormatError(
                f"the index at {self.root} has format {version}, this version reads {FORMAT_VERSION}; upgrade"
            )
        unknown = sorted(features - KNOWN_FEATURES)
        if unknown:
            raise IndexFormatError(
                f"the index at {self.root} needs {', '.join(unknown)}, unknown here; upgrade"
            )

    @contextmanager
    def transaction(self, operation: str) -> Iterator[int]:
        """One commit, or nothing; gives the new generation. ``operation`` is kept in the history."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if operation == "create":
                    yield 1
                else:
                    yield self._next_generation(operation)
                self.set_meta("checksum", self._meta_checksum())
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # on a full disk SQLite has rolled back itself
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise IndexFolderError(
                        f"cannot write {self.root / CATALOG}: {error}; nothing was changed"
                    ) from None
                raise

    def _next_generation(self, operation: str) -> int:
        generation = self.generation() + 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._connection.execute("INSERT INTO commits VALUES (?, ?, ?)", (generation, operation, now))
        return generation

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All reads inside see one generation."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                with suppress(sqlite3.DatabaseError):  # nothing was written; the read told what is wrong
                    self._connection.execute("ROLLBACK")

    def generation(self) -> int:
        """Number of the last commit."""
        self._reopen_if_changed()
        return int(self._rows("SELECT max(generation) FROM commits")[0][0])

    def _reopen_if_changed(self) -> None:
        """A connection to a read-only medium takes the file for unchanging; look at it ourselves."""
        if self._read_only_as is None or self._read_only_as == (now := catalog_state(self.root)):
            return
        with self._lock:
            self._connection.close()
            self._connection = connect(self.root / CATALOG, "ro")
            self._read_only_as = now if is_immutable(self._connection) else None

    def meta(self, key: str) -> Any:
        """A stored JSON value.

        Raises:
            IndexDamagedError: there is none, or it is no JSON.
        """
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        with self._decoding(f"the value {key!r}"):
            return json.loads(rows[0][0])

    def set_meta(self, key: str, value: Any) -> None:
        """Store a JSON value; inside a transaction."""
        self._connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True))
        )

    def codec(self) -> CodecRecord:
        """The codec generation in use."""
        rows = self._rows("SELECT * FROM codecs ORDER BY codec DESC LIMIT 1")
        with self._decoding("the codec"):
            return CodecRecord.from_row(rows[0])

    def segments(self, operation: str | None = None) -> list[SegmentRecord]:
        """All segments with their files, oldest first; or those that one operation committed."""
        files: dict[int, list[FileRecord]] = {}
        stored = self._rows(
            "SELECT segment, name, path, bytes, sha256, dtype, shape FROM files ORDER BY path"
        )
        chosen = (
            ""
            if operation is None
            else ("WHERE generation IN (SELECT generation FROM commits WHERE operation = ?)")
        )
        values = () if operation is None else (operation,)
        rows = self._rows(f"SELECT * FROM segments {chosen} ORDER BY segment", values)
        with self._decoding("a segment"):
            for segment, name, path, size, sha256, dtype, shape in stored:
                shaped = tuple(json.loads(shape)) if shape else None
                files.setdefault(segment, []).append(FileRecord(name, path, size, sha256, dtype, shaped))
            return [SegmentRecord.from_row(row, files.get(row[0], [])) for row in rows]

    def add_segment(self, segment: SegmentRecord) -> None:
        """Register a segment and its files; inside a transaction."""
        self._insert("segments", (*segment.as_row(), segment.checksum))
        for file in segment.files:
            shape = json.dumps(file.shape) if file.shape is not None else None
            row = (file.path, segment.segment, file.name, file.bytes, file.sha256, file.dtype, shape)
            self._insert("files", row)

    def add_documents(self, segment: int, ids: Sequence[str], first: int = 0) -> None:
        """Register ids in the order of their ordinals; inside a transaction."""
        rows = ((doc_id, segment, ordinal) for ordinal, doc_id in enumerate(ids, first))
        self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?)", rows)

    def find(self, doc_id: str) -> tuple[int, int] | None:
        """(segment, ordinal) of a document."""
        rows = self._rows("SELECT segment, ordinal FROM documents WHERE doc_id = ?", (doc_id,))
        return (rows[0][0], rows[0][1]) if rows else None

    def n_documents(self) -> int:
        """How many ids are registered."""
        return int(self._rows("SELECT count(*) FROM documents")[0][0])

    def problems(self) -> list[str]:
        """What SQLite's own checks and our checksums find wrong with the catalog itself."""
        found = [f"catalog: {row[0]}" for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]
        found += [
            f"catalog: a row of {row[0]} names what is not there"
            for row in self._rows("PRAGMA foreign_key_check")
        ]
        if self.meta("checksum") != self._meta_checksum():
            found.append("catalog: its settings are not what was committed; restore the index from a copy")
        for codec, stored in self._rows("SELECT codec, sha256 FROM codecs"):
            rows = self._rows("SELECT * FROM codecs WHERE codec = ?", (codec,))
            if _checksum(rows[0][:-1]) != stored:
                found.append(
                    f"catalog: codec {codec} is not what was committed; restore the index from a copy"
                )
        return found

    def _meta_checksum(self) -> str:
        return _checksum(self._rows("SELECT key, value FROM meta WHERE key != 'checksum' ORDER BY key"))

    @contextmanager
    def _decoding(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            told = f"{self.root / CATALOG}: {what} cannot be read ({type(error).__name__}: {error})"
            raise IndexDamagedError(f"{told}; restore the index from a copy") from None

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.ProgrammingError:
                raise IndexFolderError(f"the index at {self.root} is closed; open it again") from None
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> IndexFolderError:
        told = f"{self.root / CATALOG} cannot be read ({error})"
        busy = isinstance(error, sqlite3.OperationalError) and "lock" in str(error)
        if busy:
            return IndexLockedError(f"{told}; another process is writing, try again")
        return IndexDamagedError(f"{told}; restore the index from a copy")

    def _insert(self, table: str, row: Sequence[Any]) -> None:
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)

    def close(self) -> None:
        """Close; the last writer folds the log into the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checksum(rows: Sequence[Any]) -> str:
    """SHA-256 of catalog rows: nothing else notices a changed byte inside a valid row."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
