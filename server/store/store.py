"""What the server itself remembers: aliases, tasks, and answers given under an Idempotency-Key."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from retrieval.errors import ConfigError
from server.http.problems import ProblemError
from server.store.file import open_file, open_memory
from server.store.following import FollowedAliases, Following
from server.store.task_rows import ENDED, LISTED, forget_tasks, json_text, record_of, row_of
from server.tasks.record import TaskRecord, TaskState

__all__ = ["Busy", "Claimed", "Conflict", "Known", "ServerStore", "TaskPage"]

LOCK = "server.lock"
LOCK_SECONDS = 1.0
ANSWER_SECONDS = 24 * 3600.0
MAX_ANSWERS = 100_000


@dataclass(frozen=True, slots=True)
class Claimed:
    """The request is the caller's to do: it then calls `ServerStore.settle` or `ServerStore.release`."""


@dataclass(frozen=True, slots=True)
class Known:
    """The request has been answered, with this."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The same request is being done right now."""


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, newest first; ``next_after`` is where the next page begins, None at the end."""

    records: list[TaskRecord]
    next_after: int | None


class ServerStore:
    """A SQLite file that one server writes; any thread may call. Every change is on disk when it returns.

    ``path`` None: in memory, gone with the process. ``read_only``: the file of a server that runs in
    another process; where it is not there yet, there are no aliases and no tasks.

    Methods raise ProblemError (500, store_failed) where the disk fails.

    Raises:
        ConfigError: the file is damaged, of a newer version, or another server writes it.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.read_only = read_only and path is not None
        self._lock = threading.RLock()
        self._claims: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._incarnations: dict[str, tuple[str, str]] = {}
        self._connection: sqlite3.Connection | None = None
        self._following: Following | None = None
        self._followed: FollowedAliases | None = None
        self._held: FileLock | None = None
        if path is None:
            self._connection = open_memory()
        elif read_only:
            self._following, self._followed = Following(path), FollowedAliases(path)
        else:
            self._held = _held(path)
            try:
                self._connection = open_file(path)
                self._aliases = dict(self._rows("SELECT alias, collection FROM aliases ORDER BY alias", ()))
                rows = self._rows("SELECT collection, identity, token FROM incarnations", ())
                self._incarnations = {name: (identity, token) for name, identity, token in rows}
                with self._transaction() as connection:
                    forget_tasks(connection)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            for each in (self._connection, self._following, self._followed):
                if each is not None:
                    each.close()
            self._connection = self._following = self._followed = None
            if self._held is not None:
                self._held.release()
            self._held = None

    # Aliases are kept in memory, because every request asks.

    def aliases(self) -> dict[str, str]:
        """Alias -> collection, by alias."""
        return dict(sorted(self._known_aliases().items()))

    def alias(self, name: str) -> str | None:
        """The collection of an alias; None: there is no such alias."""
        return self._known_aliases().get(name)

    def change_aliases(self, puts: Mapping[str, str], deletes: Collection[str] = ()) -> dict[str, str | None]:
        """Delete and put, all or nothing; what each alias named was before (None: nothing)."""
        with self._lock:
            with self._transaction() as connection:
                connection.executemany("DELETE FROM aliases WHERE alias = ?", [(name,) for name in deletes])
                connection.executemany("INSERT OR REPLACE INTO aliases VALUES (?, ?)", list(puts.items()))
            before = {name: self._aliases.get(name) for name in (*deletes, *puts)}
            kept = {name: to for name, to in self._aliases.items() if name not in set(deletes)}
            self._aliases = {**kept, **puts}  # replaced as a whole: readers take no lock
        return before

    # Tasks

    def add_task(self, record: TaskRecord) -> None:
        """Remember a new task."""
        values = (*row_of(record), json_text(record.payload))
        with self._transaction() as connection:
            places = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO tasks ({LISTED}, payload) VALUES ({places})", values)

    def update_task(self, record: TaskRecord) -> None:
        """Write what changed. Of a task that has ended the payload goes, and so do the oldest tasks."""
        names = ", ".join(f"{name.strip()} = ?" for name in LISTED.split(","))
        forget = ", payload = NULL" if record.final else ""
        with self._transaction() as connection:
            connection.execute(f"UPDATE tasks SET {names}{forget} WHERE id = ?", (*row_of(record), record.id))
            if record.final:
                forget_tasks(connection)

    def task(self, task_id: str) -> TaskRecord | None:
        """A task, without its payload; None: there is none with this id."""
        rows = self._rows(f"SELECT {LISTED} FROM tasks WHERE id = ?", (task_id,))
        return record_of(rows[0]) if rows else None

    def tasks(
        self,
        state: TaskState | None = None,
        collections: Collection[str] | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> TaskPage:
        """At most ``limit`` tasks, newest first, without payloads; ``collections`` None: of all."""
        names = None if collections is None else json.dumps(list(collections))
        rows = self._rows(
            f"SELECT {LISTED}, seq FROM tasks WHERE (?1 IS NULL OR state = ?1) "
            "AND (?2 IS NULL OR collection IN (SELECT value FROM json_each(?2))) "
            "AND (?3 IS NULL OR seq < ?3) ORDER BY seq DESC LIMIT ?4",
            (state, names, after, limit + 1),
        )
        shown = rows[:limit]
        return TaskPage([record_of(row[:-1]) for row in shown], shown[-1][-1] if len(rows) > limit else None)

    def task_collections(self) -> list[str]:
        """The collections that tasks are about."""
        return [row[0] for row in self._rows("SELECT DISTINCT collection FROM tasks ORDER BY 1", ())]

    def unfinished_tasks(self) -> list[TaskRecord]:
        """Tasks that have not ended, oldest first, with their payloads."""
        query = f"SELECT {LISTED}, payload FROM tasks WHERE NOT {ENDED} ORDER BY seq"
        return [record_of(row[:-1], row[-1]) for row in self._rows(query, ())]

    # Answers under an Idempotency-Key. Claims are in memory alone, and so none outlives its process.

    def claim(self, scope_key: str, digest: str) -> Claimed | Known | Conflict | Busy:
        """Ask to do the request that ``scope_key`` names and whose content has this ``digest``."""
        with self._lock:
            if (claimed := self._claims.get(scope_key)) is not None:
                return Busy() if claimed == digest else Conflict()
            rows = self._rows(
                "SELECT digest, status, headers, body FROM answers WHERE scope_key = ? AND settled_at > ?",
                (scope_key, time.time() - ANSWER_SECONDS),
            )
            if not rows:
                self._claims[scope_key] = digest
                return Claimed()
        known, status, headers, body = rows[0]
        return Known(status, json.loads(headers), body) if known == digest else Conflict()

    def settle(
        self, scope_key: str, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Remember the answer of a claimed request for 24 hours (and no more than the last 100,000)."""
        moment = time.time()
        with self._lock:
            row = (scope_key, self._claims[scope_key], status, json.dumps(dict(headers or {})), body, moment)
            with self._transaction() as connection:
                connection.execute("DELETE FROM answers WHERE settled_at <= ?", (moment - ANSWER_SECONDS,))
                connection.execute(
                    "INSERT OR REPLACE INTO answers (scope_key, digest, status, headers, body, settled_at) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
                connection.execute(
                    "DELETE FROM answers WHERE seq <= (SELECT max(seq) FROM answers) - ?", (MAX_ANSWERS,)
                )
            del self._claims[scope_key]

    def release(self, scope_key: str) -> None:
        """Give a claim back: the next one who asks may try."""
        with self._lock:
            self._claims.pop(scope_key, None)

    def incarnation(self, collection: str, identity: str, *, anew: bool = False) -> str:
        """A name for what a collection is until it is made or restored anew; ``identity`` tells its index
        from others. ``anew`` says that this has just happened: what was restored twice from one copy may look
        the same."""
        with self._lock:
            known, token = self._incarnations.get(collection, ("", ""))
            if known == identity and not anew:
                return token
            token = uuid.uuid4().hex
            with self._transaction() as connection:
                row = (collection, identity, token)
                connection.execute("INSERT OR REPLACE INTO incarnations VALUES (?, ?, ?)", row)
            self._incarnations[collection] = (identity, token)
            return token

    # Underneath

    def _known_aliases(self) -> Mapping[str, str]:
        if self._followed is None:
            return self._aliases
        with _telling():
            return self._followed.all()

    def _rows(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._lock, _telling():
            connection = self._connection if self._following is None else self._following.connection()
            if connection is None:
                if self.read_only:
                    return []
                raise sqlite3.ProgrammingError("it is closed")
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _telling():
            if self._connection is None or self.read_only:
                raise sqlite3.ProgrammingError("it is closed, or another server's")
            with self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection


def _held(path: Path) -> FileLock:
    """The right to write ``path``, which the system takes back when the process dies."""
    # By default a lock belongs to its thread; any thread may close the store.
    lock = FileLock(path.with_name(LOCK), timeout=LOCK_SECONDS, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        told = f"another server writes {path.parent}; stop it, or set read_only for this one"
        raise ConfigError(told) from None
    except OSError as error:
        raise ConfigError(f"cannot write {path.parent}: {error.strerror}; check its permissions") from None
    return lock


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        told = f"the server's own store failed: {error}; check the disk under data_dir and its free space"
        raise ProblemError(500, "store_failed", told) from None
