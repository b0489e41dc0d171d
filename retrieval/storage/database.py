"""The catalog's SQLite connection: transactions, consistent reads, and errors a person can act on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from retrieval.errors import (
    IndexDamagedError,
    IndexFolderError,
    IndexLockedError,
    IndexNotFoundError,
)
from retrieval.storage.connection import CATALOG, catalog_state, connect, is_immutable

__all__ = ["Database"]


# The low byte of SQLite's codes that tell of the system, not of the file's content.
_SYSTEM = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
}


class Database:
    """A connection to `catalog.sqlite`, safe to share between threads."""

    def __init__(self, root: Path, connection: sqlite3.Connection) -> None:
        self.root = root
        self._connection = connection
        self._lock = threading.RLock()
        self._file = _identity(root)
        self._read_only_as = catalog_state(root) if is_immutable(connection) else None

    @contextmanager
    def committing(self) -> Iterator[None]:
        """One commit, or nothing.

        Raises:
            IndexFolderError: it cannot be written, say because the disk is full or a value too large.
            IndexDamagedError: what it holds does not let itself be changed.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):  # on a full disk SQLite has rolled back itself
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise self._unwritable(error) from None
                if isinstance(error, sqlite3.DataError):
                    told = f"cannot write {self.root / CATALOG}: a document is too large for one commit"
                    raise IndexFolderError(f"{told}; nothing was changed, split it") from None
                if isinstance(error, sqlite3.DatabaseError):  # a broken rule, a broken page
                    told = f"cannot write {self.root / CATALOG}: {error}; nothing was changed"
                    raise IndexDamagedError(f"{told}, restore the index from a copy") from None
                raise

    def _unwritable(self, error: sqlite3.OperationalError) -> IndexFolderError:
        kind = IndexLockedError if "locked" in str(error) else IndexFolderError
        told = f"cannot write {self.root / CATALOG}: {error}"
        return kind(f"{told}; nothing was changed, check the disk and try again")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All reads inside see one generation."""
        with self._lock:
            self._reopen_if_changed()
            self._execute("BEGIN")
            try:
                yield
            finally:
                with suppress(sqlite3.Error):  # nothing was written; the read told what is wrong
                    self._connection.execute("ROLLBACK")

    def backup(self, target: Path) -> None:
        """Copy the database as of one moment to a new file, in a form without a log beside it."""
        with self._lock:
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.Error as error:
                raise IndexFolderError(f"cannot write {target}: {error}") from None
            finally:
                copy.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows that a query gives.

        Raises:
            IndexDamagedError, IndexLockedError, IndexFolderError: SQLite cannot read.
        """
        return self._execute(sql, values)

    def insert(self, table: str, row: Sequence[Any], *, replace: bool = False) -> None:
        """Add a row; inside `committing`."""
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        self.execute(f"{verb} INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Change rows, and say how many; inside `committing`."""
        with _writing():
            return self._connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, rows: Iterator[Sequence[Any]]) -> None:
        """The same change for many rows; inside `committing`."""
        with _writing():
            self._connection.executemany(sql, rows)

    @contextmanager
    def decoding(self, what: str) -> Iterator[None]:
        """Turn any failure to make sense of stored values into one error.

        Raises:
            IndexDamagedError: ``what`` cannot be read.
        """
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            told = f"{self.root / CATALOG}: {what} cannot be read ({type(error).__name__}: {error})"
            raise IndexDamagedError(f"{told}; restore the index from a copy") from None

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.ProgrammingError as error:
                if "closed" not in str(error):
                    raise
                raise IndexFolderError(f"the index at {self.root} is closed; open it again") from None
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> IndexFolderError:
        told = f"{self.root / CATALOG} cannot be read ({error})"
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SYSTEM:
            return IndexFolderError(f"{told}; check the disk and the number of open files, then try again")
        busy = isinstance(error, sqlite3.OperationalError) and "lock" in str(error)
        if busy:
            return IndexLockedError(f"{told}; another process is writing, try again")
        return IndexDamagedError(f"{told}; restore the index from a copy")

    def _reopen_if_changed(self) -> None:
        """A connection to a read-only medium takes the file for unchanging; look at it ourselves."""
        if self._read_only_as is None:
            return
        with self._lock:
            # Inside `reading` all is of one generation: the next one will look.
            if self._read_only_as is None or self._connection.in_transaction:
                return
            # Another index in its place, which may have a generation of the same number: what is mapped is
            # of this one.
            if _identity(self.root) != self._file:
                return
            if self._read_only_as != (now := catalog_state(self.root)):
                before, self._connection = self._connection, connect(self.root / CATALOG, "ro")
                before.close()
                self._read_only_as = now if is_immutable(self._connection) else None

    def check_in_place(self) -> None:
        """Whether the file that is open is still the one in the folder. What is read of it says
        nothing about the files of another index.

        Raises:
            IndexNotFoundError: it is not.
        """
        if _identity(self.root) != self._file:
            raise IndexNotFoundError(
                f"the index at {self.root} has been removed or replaced since it was opened; open it again"
            )

    def close(self) -> None:
        """Close; the last writer folds the log into the file."""
        with self._lock:
            self._read_only_as = None  # what is closed is not opened again
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _writing() -> Iterator[None]:
    """Errors of the driver as SQLite's: it cannot even tell one whose message quotes damaged bytes,
    and hands over no value of 2 GiB."""
    try:
        yield
    except OverflowError as error:
        raise sqlite3.DataError(str(error)) from None
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(str(error)) from None


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = (root / CATALOG).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
