"""`catalog.sqlite`: the one commit point. What it does not name does not exist.

WAL with ``synchronous=FULL``: a committed transaction survives a power loss, readers never wait,
and each read transaction sees one generation.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from retrieval.errors import IndexDamagedError, IndexFormatError, IndexNotFoundError
from retrieval.storage.files import FileRecord
from retrieval.storage.records import CodecRecord, SegmentRecord
from retrieval.storage.schema import FORMAT_VERSION, KNOWN_FEATURES, TABLES

__all__ = ["CATALOG", "Catalog", "has_catalog"]

CATALOG = "catalog.sqlite"
BUSY_SECONDS = 10.0


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

    @classmethod
    def create(cls, root: Path, codec: CodecRecord, meta: Mapping[str, Any]) -> Self:
        """Write a new catalog in one transaction."""
        catalog = cls(root, _connect(root / CATALOG, "rwc"))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        required = {"format_version": FORMAT_VERSION, "required_features": [], "created_at": created}
        with catalog.transaction("create"):
            for statement in TABLES.split(";"):
                catalog._connection.execute(statement)
            catalog._connection.execute("INSERT INTO commits VALUES (1, 'create', ?)", (created,))
            catalog._insert("codecs", codec.as_row())
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
        if not path.is_file():
            raise IndexNotFoundError(f"no index at {root}; build one with: retrieval build SOURCE {root}")
        catalog = cls(root, _connect(path, "rw" if write else "ro"))
        try:
            catalog._check_format()
        except BaseException:
            catalog.close()
            raise
        return catalog

    def _check_format(self) -> None:
        try:
            version, features = self.meta("format_version"), self.meta("required_features")
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error):
                raise IndexNotFoundError(f"no index at {self.root}: its creation was interrupted") from None
            raise IndexDamagedError(f"{self.root / CATALOG} cannot be read ({error})") from None
        if version > FORMAT_VERSION:
            raise IndexFormatError(
                f"the index at {self.root} has format {version}, this version reads {FORMAT_VERSION}; upgrade"
            )
        unknown = sorted(set(features) - KNOWN_FEATURES)
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
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
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
                self._connection.execute("COMMIT")

    def generation(self) -> int:
        """Number of the last commit."""
        return int(self._rows("SELECT max(generation) FROM commits")[0][0])

    def meta(self, key: str) -> Any:
        """A stored JSON value, None if there is none."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: Any) -> None:
        """Store a JSON value; inside a transaction."""
        self._connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True))
        )

    def codec(self) -> CodecRecord:
        """The codec generation in use."""
        return CodecRecord.from_row(self._rows("SELECT * FROM codecs ORDER BY codec DESC LIMIT 1")[0])

    def segments(self) -> list[SegmentRecord]:
        """All segments with their files, oldest first."""
        files: dict[int, list[FileRecord]] = {}
        for row in self._rows(
            "SELECT segment, name, path, bytes, sha256, dtype, shape FROM files ORDER BY path"
        ):
            shape = tuple(json.loads(row[6])) if row[6] else None
            files.setdefault(row[0], []).append(FileRecord(row[1], row[2], row[3], row[4], row[5], shape))
        rows = self._rows("SELECT * FROM segments ORDER BY segment")
        return [SegmentRecord.from_row(row, files.get(row[0], [])) for row in rows]

    def add_segment(self, segment: SegmentRecord) -> None:
        """Register a segment and its files; inside a transaction."""
        self._insert("segments", segment.as_row())
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
        """What SQLite's own checks find wrong."""
        found = [row[0] for row in self._rows("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [f"foreign key broken in {row[0]}" for row in self._rows("PRAGMA foreign_key_check")]

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

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


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    try:
        connection = _readable(path, mode)
    except sqlite3.OperationalError:
        if mode != "ro":
            raise
        connection = _recovered(path)
    except sqlite3.DatabaseError as error:
        raise IndexDamagedError(f"{path} is not a catalog ({error}); restore the index from a copy") from None
    if mode != "ro":
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _recovered(path: Path) -> sqlite3.Connection:
    """What read-only mode refuses: a log or journal that a killed process left (SQLite must write to
    recover it), or a read-only medium (no room for SQLite's shared memory, but no log either)."""
    left = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    if any(file.exists() and file.stat().st_size for file in left):
        return _readable(path, "rw")
    return _readable(path, "ro", "&immutable=1")


def _readable(path: Path, mode: str, more: str = "") -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}{more}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
