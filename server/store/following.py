"""What another process writes to `server.sqlite`, as it is now."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from server.store.file import file_state, open_to_read

__all__ = ["FollowedAliases", "Following"]


class Following:
    """A connection to read the file of another server by. One thread at a time.

    Raises:
        ConfigError: the file is damaged, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._frozen_at: list[tuple[int, int]] | None = None
        self.connection()

    def connection(self) -> sqlite3.Connection | None:
        """One that sees what was written last; None: there is no file yet."""
        seen = None if self._connection and self._frozen_at is None else file_state(self._path)
        if self._frozen_at not in (None, seen):
            self.close()
        if self._connection is None and (opened := open_to_read(self._path)) is not None:
            self._connection, frozen = opened
            self._frozen_at = seen if frozen else None
        return self._connection

    def close(self) -> None:
        """Close it; the next `connection` is a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class FollowedAliases:
    """The aliases, read again when something was committed. Any thread may call: each request does, on the
    event loop, so they wait for no other reading of the file.
    """

    def __init__(self, path: Path) -> None:
        self._following = Following(path)
        self._lock = threading.Lock()
        self._read_by: sqlite3.Connection | None = None
        self._version = 0
        self._aliases: Mapping[str, str] = {}

    def all(self) -> Mapping[str, str]:
        """Alias -> collection, by alias."""
        with self._lock:
            connection = self._following.connection()
            if connection is None:
                return {}
            # SQLite tells from its shared memory whether another connection has committed since.
            version = int(connection.execute("PRAGMA data_version").fetchone()[0])
            if connection is not self._read_by or version != self._version:
                rows = connection.execute("SELECT alias, collection FROM aliases ORDER BY alias").fetchall()
                self._read_by, self._version, self._aliases = connection, version, dict(rows)
            return self._aliases

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._following.close()
