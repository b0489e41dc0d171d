"""Connections to `catalog.sqlite`: for writing, for reading, and on media that cannot be written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from retrieval.errors import IndexDamagedError, IndexFolderError

__all__ = ["CATALOG", "catalog_state", "connect", "is_immutable"]

CATALOG = "catalog.sqlite"
BUSY_SECONDS = 10.0


def is_immutable(connection: sqlite3.Connection) -> bool:
    """Whether the connection takes the file for unchanging, and so would miss later commits."""
    # An immutable database has no shared-memory file, so SQLite tells no log mode for it.
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal")


def catalog_state(root: Path) -> list[tuple[int, int]]:
    """Size and time of the catalog's files, those that are there."""
    files = sorted(root.glob(CATALOG + "*"))
    return [(status.st_size, status.st_mtime_ns) for status in map(Path.stat, files)]


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the catalog; ``mode`` is SQLite's: ro, rw or rwc.

    Raises:
        IndexDamagedError: it is no SQLite database.
        IndexFolderError: it cannot be opened.
    """
    try:
        connection = _opened(path, mode)
        try:
            if mode != "ro":
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        advice = "check its permissions, the disk and the number of open files, then try again"
        raise IndexFolderError(f"cannot open {path}: {error}; {advice}") from None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise IndexDamagedError(f"{path} is not a catalog ({error}); restore the index from a copy") from None
    return connection


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    try:
        return _readable(path, mode)
    except sqlite3.OperationalError:
        if mode != "ro":
            raise
        return _recovered(path)


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
    except BaseException:
        connection.close()
        raise
    return connection
