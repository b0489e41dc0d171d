"""Where documents are: the ids of the living, the pending ones themselves, tombstones of the dead.

A document is known by its birth: the number of the segment or buffer it came to the index in
(``origin``) and its ``ordinal`` there. Neither ever changes, wherever merges carry the document:
each segment says which births it holds, so a merge rewrites no row of a document.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import NamedTuple

import numpy as np

from retrieval.errors import IndexDamagedError
from retrieval.storage.database import Database
from retrieval.storage.records import PendingBatch
from retrieval.types import IntArray

__all__ = ["Birth", "PendingSize", "Register"]

AT_ONCE = 500
"""Ids looked up by one statement: SQLite bounds how many values one may name."""


class Birth(NamedTuple):
    """Where a document came to the index."""

    origin: int
    ordinal: int


class PendingSize(NamedTuple):
    """How much waits to be folded into a segment."""

    documents: int
    bytes: int


class Register:
    """The document tables of a catalog. Of a format 1 catalog nothing is pending or deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- the living ---------------------------------------------------------------------------

    def find(self, doc_id: str) -> Birth | None:
        """The birth of a document that is in the index."""
        rows = self._database.rows("SELECT * FROM documents WHERE doc_id = ?", (doc_id,))
        return Birth(rows[0][1], rows[0][2]) if rows else None

    def find_all(self, ids: Sequence[str]) -> dict[str, Birth]:
        """The births of those of many documents that are in the index."""
        found: dict[str, Birth] = {}
        for first in range(0, len(ids), AT_ONCE):
            some = tuple(ids[first : first + AT_ONCE])
            marks = ", ".join("?" * len(some))
            rows = self._database.rows(f"SELECT * FROM documents WHERE doc_id IN ({marks})", some)
            found |= {doc_id: Birth(*birth) for doc_id, *birth in rows}
        return found

    def count(self) -> int:
        """How many documents there are."""
        return int(self._database.rows("SELECT count(*) FROM documents")[0][0])

    def add(self, origin: int, ids: Sequence[str], first: int = 0) -> None:
        """Register ids in the order of their ordinals; inside a transaction."""
        rows = ((doc_id, origin, ordinal) for ordinal, doc_id in enumerate(ids, first))
        self._database.execute_many("INSERT INTO documents VALUES (?, ?, ?)", rows)

    def born_in(self, origins: Sequence[int]) -> dict[str, Birth]:
        """The documents that came to the index in these origins and live. Looks at all there are."""
        found: dict[str, Birth] = {}
        for origin in origins:
            rows = self._database.rows("SELECT * FROM documents WHERE origin = ?", (origin,))
            found |= {doc_id: Birth(*birth) for doc_id, *birth in rows}
        return found

    def born_in_no_segment(self) -> dict[str, Birth]:
        """The documents that live and came to the index in none of the origins that segments hold."""
        query = "SELECT * FROM documents WHERE origin NOT IN (SELECT origin FROM origins)"
        return {doc_id: Birth(*birth) for doc_id, *birth in self._database.rows(query)}

    def forget(self, origins: Sequence[int]) -> None:
        """Drop all that is known of the documents of origins that are lost; inside a transaction."""
        for origin in origins:
            for table in ("documents", "tombstones"):
                self._database.execute(f"DELETE FROM {table} WHERE origin = ?", (origin,))

    def bury(self, ids: Sequence[str], generation: int) -> list[str]:
        """Turn documents into tombstones; inside a transaction. Returns the ids that were there."""
        found = [(doc_id, birth) for doc_id in ids if (birth := self.find(doc_id)) is not None]
        stones = ((*birth, generation) for _, birth in found)
        rows = ((*stone, _checksum(stone)) for stone in stones)
        self._database.execute_many("INSERT INTO tombstones VALUES (?, ?, ?, ?)", rows)
        self._database.execute_many("DELETE FROM documents WHERE doc_id = ?", ((i,) for i, _ in found))
        return [doc_id for doc_id, _ in found]

    # -- the dead -----------------------------------------------------------------------------

    def tombstones(self, origins: Sequence[int]) -> IntArray:
        """Births ``(n, 2)`` of the deleted documents of these origins, sorted."""
        rows: list[tuple[int, int]] = []
        if self._has_changes():
            for origin in origins:
                query = "SELECT origin, ordinal FROM tombstones WHERE origin = ?"
                rows += self._database.rows(query, (origin,))
        return self._births(rows)

    def tombstones_since(self, generation: int) -> IntArray:
        """Births ``(n, 2)`` of documents buried after a generation."""
        if not self._has_changes():
            return self._births([])
        query = "SELECT origin, ordinal FROM tombstones WHERE generation > ? ORDER BY origin, ordinal"
        return self._births(self._database.rows(query, (generation,)))

    def count_tombstones(self) -> int:
        """How many deleted documents still take room."""
        if not self._has_changes():
            return 0
        return int(self._database.rows("SELECT count(*) FROM tombstones")[0][0])

    def count_damaged_tombstones(self) -> int:
        """How many tombstones are not what was committed."""
        rows = self._database.rows("SELECT * FROM tombstones") if self._has_changes() else []
        return sum(_checksum(stone) != stored for *stone, stored in rows)

    def clear_tombstones(self, origins: Sequence[int], until: int) -> None:
        """Drop the stones of documents that a merge left out; inside a transaction."""
        for origin in origins:
            query = "DELETE FROM tombstones WHERE origin = ? AND generation <= ?"
            self._database.execute(query, (origin, until))

    # -- the pending --------------------------------------------------------------------------

    def buffer(self) -> int | None:
        """The number of the buffer that pending documents are in; None if there are none."""
        if not self._has_changes():
            return None
        number = self._database.rows("SELECT max(buffer) FROM pending")[0][0]
        return None if number is None else int(number)

    def pending(
        self, after: int = 0, skipped: Callable[[IndexDamagedError], object] | None = None
    ) -> Iterator[PendingBatch]:
        """Batches committed after a generation, oldest first.

        Raises:
            IndexDamagedError: one is not what was committed, and ``skipped``, which would be told instead,
                is not given.
        """
        if self._has_changes():
            query = "SELECT * FROM pending WHERE generation > ? ORDER BY generation"
            for row in self._database.rows(query, (after,)):
                try:
                    batch = PendingBatch.from_row(row)
                except IndexDamagedError as error:
                    if skipped is None:
                        raise
                    skipped(error)
                else:
                    yield batch

    def pending_size(self) -> PendingSize:
        """How much is pending."""
        if not self._has_changes():
            return PendingSize(0, 0)
        blobs = "length(documents) + length(doclens) + length(codes)"
        sums = self._database.rows(f"SELECT sum(n_documents), sum({blobs}) FROM pending")[0]
        with self._database.decoding("the size of the pending documents"):
            return PendingSize(index(sums[0] or 0), index(sums[1] or 0))

    def add_pending(self, batch: PendingBatch) -> None:
        """Keep a batch; inside a transaction."""
        self._database.insert("pending", batch.as_row())

    def clear_pending(self) -> None:
        """Forget all batches, once they are in a segment; inside a transaction."""
        self._database.execute("DELETE FROM pending")

    def drop_pending(self, lost: Sequence[str]) -> None:
        """`clear_pending` where some of the documents are lost: forget these too, and which ones of all were
        deleted; inside a transaction."""
        self.clear_pending()
        self._database.execute_many("DELETE FROM documents WHERE doc_id = ?", ((doc_id,) for doc_id in lost))
        self._database.execute("DELETE FROM tombstones WHERE origin NOT IN (SELECT origin FROM origins)")

    def _births(self, rows: Sequence[tuple[int, int]]) -> IntArray:
        with self._database.decoding("the deletions"):
            return np.array(sorted(rows), dtype=np.int64).reshape(-1, 2)

    def _has_changes(self) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE name = 'tombstones'"
        return bool(self._database.rows(query)[0][0])


def _checksum(stone: Sequence[int]) -> int:
    return zlib.crc32(" ".join(map(str, stone)).encode())
