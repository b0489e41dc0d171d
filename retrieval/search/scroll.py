"""All documents, a page at a time, while others change the index.

The order is that of births (`retrieval.storage.register`): a merge keeps them, and a document that is
replaced gets a new one. Only the buffer of pending documents can grow behind a reader: a commit of many
documents takes the next number and goes to a segment at once, and small commits after it still go to the
buffer. So a cursor that has left the buffer behind remembers how far it was, and comes back for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError
from retrieval.search.accept import Accept
from retrieval.search.rerank import Place
from retrieval.storage import SegmentView, Snapshot, birth_keys
from retrieval.types import IntArray

__all__ = ["Cursor", "page_after"]

_BIRTH = r"(\d{1,10}):(\d{1,10})"
_WRITTEN = re.compile(rf"{_BIRTH}(?:,{_BIRTH})?", re.ASCII)
_LARGEST = 2**31
"""Origins and ordinals are below, so that a birth is one int64."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far somebody has read: up to the birth ``last``; of the origin of ``behind``, which is an earlier
    one, only up to that. Both are `birth_keys`."""

    last: int = -1
    behind: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str``.

        Raises:
            QueryError: not what that writes.
        """
        match = _WRITTEN.fullmatch(text) if isinstance(text, str) else None
        numbers = [int(number) for number in match.groups() if number is not None] if match else []
        if not numbers or max(numbers) >= _LARGEST or numbers[2:3] >= numbers[:1]:
            raise QueryError(
                f"{_shortly(text)} is no place to go on from; give the next_after of the last page"
            )
        keys = birth_keys(np.array(numbers, dtype=np.int64).reshape(-1, 2)).tolist()
        return cls(*keys)

    def __str__(self) -> str:
        keys = [self.last] if self.behind is None else [self.last, self.behind]
        return ",".join(f"{key >> 32}:{key & 0xFFFFFFFF}" for key in keys)

    def runs(self, births: IntArray) -> Iterator[tuple[int, int]]:
        """Where in a segment's sorted ``births`` those lie that were not read yet."""
        if self.behind is not None:
            bounds = np.searchsorted(births, [self.behind + 1, (self.behind >> 32) + 1 << 32])
            yield int(bounds[0]), int(bounds[1])
        yield int(np.searchsorted(births, self.last, side="right")), len(births)

    def moved(self, key: int, snapshot: Snapshot) -> Cursor:
        """The cursor once the birth ``key`` was read, and all that come before it of this snapshot."""
        if key < self.last:  # it catches up with what came behind it
            return Cursor(self.last, key)
        for view in snapshot.segments:
            if view.is_pending and view.number < key >> 32:
                return Cursor(key, (view.number << 32) + view.n_documents - 1)
        return Cursor(key)


def page_after(
    snapshot: Snapshot, accept: Accept, cursor: Cursor, limit: int
) -> tuple[list[Place], Cursor | None]:
    """The places of the next ``limit`` accepted documents, and the cursor behind them; None where there are
    no more. Looks at births and masks only."""
    found = [
        _unread(view, mask, position, cursor, limit + 1)
        for position, (view, mask) in enumerate(zip(snapshot.segments, accept, strict=True))
    ]
    rows = np.concatenate([np.empty((0, 3), dtype=np.int64), *found])
    rows = rows[np.argsort(rows[:, 0])]
    page = rows[:limit]
    places = [(position, ordinal) for _, position, ordinal in page.tolist()]
    return places, cursor.moved(int(page[-1, 0]), snapshot) if len(rows) > limit else None


def _unread(
    view: SegmentView, mask: NDArray[np.bool_] | None, position: int, cursor: Cursor, most: int
) -> IntArray:
    """Births, position and ordinals ``(n, 3)`` of the first documents that were not read, of each run."""
    ordinals = np.concatenate(
        [
            np.arange(start, min(stop, start + most))
            if mask is None
            else start + np.flatnonzero(mask[start:stop])[:most]
            for start, stop in cursor.runs(view.births)
        ]
    )
    return np.column_stack([view.births[ordinals], np.full(len(ordinals), position), ordinals])


def _shortly(value: object) -> str:
    told = repr(value)
    return told if len(told) <= 60 else told[:57] + "..."
