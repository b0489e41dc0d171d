"""Which documents a search may find: what the filter accepts and nobody has deleted."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Filter, check, check_facet, count_values, evaluate, top_counts
from retrieval.storage import Snapshot

__all__ = ["Accept", "KnownFilters", "accepted", "accepted_ids", "count_accepted", "facet"]

Accept = Sequence[NDArray[np.bool_] | None]
"""A mask over ordinals for each segment of a snapshot; None accepts all of it."""
KEPT_BYTES, LONGEST = 32 << 20, 4096
"""Of masks and texts that are remembered for one snapshot, and of a filter's text that is worth it."""


def accepted(snapshot: Snapshot, wanted: Filter | None) -> Accept:
    """``accept = filter AND NOT tombstones``, segment by segment.

    Raises:
        FilterError: the filter does not fit the index's fields.
    """
    if wanted is None:
        return snapshot.live
    checked = check(wanted, snapshot.fields)
    masks = []
    for view in snapshot.segments:
        documents = view.documents
        mask = evaluate(checked, documents.column, view.n_documents, documents.id_column)
        masks.append(mask if view.live is None else mask & view.live)
    return masks


class KnownFilters:
    """`accepted` of one snapshot, with the masks of the last filters kept: a tenant's or a language's
    comes with every query. Whoever gets one does not write to it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot, self._lock = snapshot, Lock()
        self._kept: dict[str, Accept] = {}
        # The text counts as the longest: masks of few documents take next to nothing, however many they are.
        self._bytes = LONGEST + sum(view.n_documents for view in snapshot.segments)

    def accepted(self, wanted: Filter | None) -> Accept:
        """As the function of this name.

        Raises:
            FilterError: the filter does not fit the index's fields.
        """
        if wanted is None:
            return self._snapshot.live
        # Not the filter itself: as objects `true` and 1 are equal, as conditions they are not.
        key = repr(wanted)
        with self._lock:
            known = self._kept.pop(key, None)
            if known is not None:
                self._kept[key] = known  # the last one now
                return known
        accept = accepted(self._snapshot, wanted)
        if len(key) <= LONGEST and self._bytes <= KEPT_BYTES:
            with self._lock:
                self._kept[key] = accept
                while len(self._kept) * self._bytes > KEPT_BYTES:
                    del self._kept[next(iter(self._kept))]
        return accept


def count_accepted(snapshot: Snapshot, accept: Accept) -> int:
    """How many documents are accepted."""
    return sum(
        view.n_documents if mask is None else int(np.count_nonzero(mask))
        for view, mask in zip(snapshot.segments, accept, strict=True)
    )


def accepted_ids(snapshot: Snapshot, accept: Accept) -> list[str]:
    """Ids of the accepted documents."""
    return [
        doc_id
        for view, mask in zip(snapshot.segments, accept, strict=True)
        for doc_id in view.documents.ids(None if mask is None else np.flatnonzero(mask))
    ]


def facet(snapshot: Snapshot, accept: Accept, field: str, limit: int) -> list[tuple[Any, int]]:
    """The most frequent values of a metadata field among the accepted documents, with their counts.

    Raises:
        FilterError: no such field, or one whose values cannot be counted.
    """
    leaf = check_facet(field, snapshot.fields)
    name, *members = leaf.path
    counts = []
    for view, mask in zip(snapshot.segments, accept, strict=True):
        chosen = np.ones(view.n_documents, dtype=np.bool_) if mask is None else mask
        counts.append(count_values(view.documents.column(name), chosen, tuple(members)))
    return top_counts(counts, leaf.kind, limit)
