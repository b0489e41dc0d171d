"""The file `server.sqlite`: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import ConfigError

__all__ = ["SCHEMA_VERSION", "file_state", "open_file", "open_memory", "open_to_read"]

SCHEMA_VERSION = 2
BUSY_SECONDS = 10.0

_ADDED = {
    2: "CREATE TABLE incarnations (collection TEXT PRIMARY KEY, identity TEXT NOT NULL, token TEXT NOT NULL) "
    "WITHOUT ROWID",
}
"""What each version added to the one before it."""

_TABLES = (
    "CREATE TABLE aliases (alias TEXT PRIMARY KEY, collection TEXT NOT NULL) WITHOUT ROWID",
    # payload is the last column, so that SQLite never reads a large one for the others' sake
    """CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        collection TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT,
        finished_at TEXT, progress TEXT NOT NULL, result TEXT, problem TEXT, request_id TEXT,
        attempts INTEGER NOT NULL, payload TEXT)""",
    "CREATE INDEX tasks_by_end ON tasks (finished_at)",
    """CREATE TABLE answers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, scope_key TEXT NOT NULL UNIQUE, digest TEXT NOT NULL,
        status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL, settled_at REAL NOT NULL)""",
    "CREATE INDEX answers_by_time ON answers (settled_at)",
    *_ADDED.values(),
)


def open_memory() -> sqlite3.Connection:
    """A store that lasts as long as the connection."""
    connection = _connected(":memory:")
    _make_tables(connection)
    return connection


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file to write, and make it where there is none.

    Raises:
        ConfigError: it cannot be opened, is damaged, or was written by a newer version.
    """
    try:
        connection = _connected(f"{path.resolve().as_uri()}?mode=rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            version = _version(connection, path)
            if version == 0:
                _make_tables(connection)
            elif version < SCHEMA_VERSION:
                _make(connection, [_ADDED[each] for each in range(version + 1, SCHEMA_VERSION + 1)])
            _check_whole(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    return connection


def open_to_read(path: Path) -> tuple[sqlite3.Connection, bool] | None:
    """Open the file of another server, to read. None: there is none yet.

    The second value says whether SQLite takes the file for unchanging, and would miss what is written
    later: on media that cannot be written there is no room for its shared memory.

    Raises:
        ConfigError: as `open_file`.
    """
    if not path.exists():
        return None
    try:
        connection, frozen = _read_only(path)
        try:
            made = _version(connection, path) != 0
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    if not made:  # its writer is just about to make it
        connection.close()
        return None
    return connection, frozen


def file_state(path: Path) -> list[tuple[int, int]]:
    """Size and time of the file and its log, those that are there."""
    files = (path, path.with_name(path.name + "-wal"))
    return [(status.st_size, status.st_mtime_ns) for status in (f.stat() for f in files if f.exists())]


def _read_only(path: Path) -> tuple[sqlite3.Connection, bool]:
    uri = path.resolve().as_uri()
    try:
        return _tried(f"{uri}?mode=ro"), False
    except sqlite3.OperationalError:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:  # of a server that was killed: to recover it is to write
            connection = _tried(f"{uri}?mode=rw")
            connection.execute("PRAGMA query_only = ON")
            return connection, False
        return _tried(f"{uri}?mode=ro&immutable=1"), True


def _tried(uri: str) -> sqlite3.Connection:
    """Connected, and something has been read: SQLite opens a file only then."""
    connection = _connected(uri)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)


def _make_tables(connection: sqlite3.Connection) -> None:
    _make(connection, _TABLES)


def _make(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} was written by a newer version of the server (its format is {version}, this version "
            f"knows {SCHEMA_VERSION}); install that version, or move the file away"
        )
    if version < 0 or (version == 0 and tables):
        raise ConfigError(f"{path} is a database of something else; move it away and start again")
    return version


def _check_whole(connection: sqlite3.Connection) -> None:
    told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if told != "ok":
        raise sqlite3.DatabaseError(told)


def _unusable(path: Path, error: sqlite3.Error) -> ConfigError:
    if isinstance(error, sqlite3.OperationalError):
        return ConfigError(f"cannot open {path}: {error}; check its permissions and the disk")
    return ConfigError(
        f"{path} is damaged ({' '.join(str(error).split())}); move it away and start again: aliases, tasks "
        "and remembered answers are lost then, documents are not"
    )
