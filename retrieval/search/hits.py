"""From scored documents to hits: fetch what the caller asked to see."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Sequence
from itertools import repeat
from operator import itemgetter

import numpy as np

from retrieval.errors import QueryError
from retrieval.search.execute import Scored
from retrieval.storage import Snapshot
from retrieval.types import Document, Hit

__all__ = ["FIELDS", "check_fields", "fetch", "fetch_document", "fetch_documents"]

FIELDS = ("title", "text", "metadata")
_PLACES = tuple(vars(Hit)[each.name].__set__ for each in dataclasses.fields(Hit))
"""What sets a field of a hit; the first two are those of `Scored`, the others may be None."""


def check_fields(fields: Collection[str] | None) -> Collection[str]:
    """The fields to fetch; None means all.

    Raises:
        QueryError: an unknown field, named.
    """
    if fields is None:
        return FIELDS
    if isinstance(fields, str):
        raise QueryError(f"fields is a list of names, such as [{fields!r}]")
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise QueryError(f"unknown field {unknown[0]!r}; there are: {', '.join(FIELDS)}")
    return fields


def fetch(scored: Sequence[Scored], snapshot: Snapshot, fields: Collection[str]) -> tuple[Hit, ...]:
    """Hits with the named fields filled in."""
    if not fields:
        return _bare(scored)
    hits = []
    for item in scored:
        table = snapshot.segments[item.segment].documents
        hits.append(
            Hit(
                id=item.id,
                score=item.score,
                title=table.title(item.ordinal) if "title" in fields else None,
                text=table.text(item.ordinal) if "text" in fields else None,
                metadata=table.metadata(item.ordinal) if "metadata" in fields else None,
            )
        )
    return tuple(hits)


def _bare(scored: Sequence[Scored]) -> tuple[Hit, ...]:
    """Hits of ids and scores alone. What is frozen sets its fields one by one, in Python: for a hundred hits
    that takes as long as to find them, and so they are set here all at once."""
    hits = tuple(map(object.__new__, repeat(Hit, len(scored))))
    for i, place in enumerate(_PLACES):
        deque(map(place, hits, map(itemgetter(i), scored) if i < 2 else repeat(None)), maxlen=0)
    return hits


def fetch_document(snapshot: Snapshot, segment: int, ordinal: int) -> Document:
    """A stored document; ``segment`` is its position in the snapshot."""
    return snapshot.segments[segment].documents.document(ordinal)


def fetch_documents(
    snapshot: Snapshot, places: Sequence[tuple[int, int]], fields: Collection[str]
) -> tuple[Document, ...]:
    """Stored documents in the order of their ``places`` (position of the segment, ordinal there), each
    named once; the named fields filled in, the others empty. Columns are read once a segment."""
    pairs = np.array(places, dtype=np.int64).reshape(-1, 2)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    found: dict[int, Document] = {}
    for position in np.unique(pairs[:, 0]).tolist():
        mine = order[pairs[order, 0] == position]
        read = snapshot.segments[position].documents.documents(pairs[mine, 1], fields)
        found |= zip(mine.tolist(), read, strict=True)
    return tuple(found[i] for i in range(len(places)))
