"""What an open index holds: documents by id, in their order, counted; facts, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from retrieval.asked import FilterLike, filter_of
from retrieval.checks import describe, verify_index
from retrieval.errors import DocumentNotFoundError, IndexFolderError, IndexUnfinishedError, QueryError
from retrieval.queries import check_id, check_k
from retrieval.search import (
    Cursor,
    Place,
    accepted,
    check_fields,
    count_accepted,
    facet,
    fetch_document,
    fetch_documents,
    page_after,
)
from retrieval.storage import Catalog, IndexInfo, Snapshot, SnapshotKeeper, VerifyReport
from retrieval.types import Document, EncoderKind, Page

__all__ = ["Contents", "asked_ids"]


class Contents:
    """An index that is open, without its encoder. Safe to share between threads.

    ``path`` is the index's folder, ``kind`` says whether it holds one vector a text (``dense``)
    or one a token (``late``), ``dim`` how many numbers a vector has,
    ``created_at`` when the index was made (ISO 8601).
    """

    def __init__(self, root: Path, *, skip_damaged: bool = False) -> None:
        self.path = root
        self._closed = False
        self._catalog = Catalog.open(root)
        try:
            self._check_complete()
            self._snapshots = SnapshotKeeper(root, self._catalog, skip_damaged=skip_damaged)
            self._record = self._catalog.codec()
            created_at = self._catalog.meta("created_at")
        except BaseException:
            self._catalog.close()
            raise
        self.kind: EncoderKind = self._record.kind
        self.dim: int = self._record.dim
        self.created_at: str = created_at

    def get(self, doc_id: str) -> Document:
        """A stored document.

        Raises:
            DocumentNotFoundError: no such document.
            QueryError: an id that no document can have.
        """
        return fetch_document(*self._locate(doc_id))

    def fetch(self, ids: Iterable[str], *, fields: Collection[str] | None = None) -> Page:
        """Stored documents in the order of their ``ids``, all of one commit; one that is asked for twice
        comes once. Ids that are not in the index are ``missing``. ``fields`` as for `search`; those that are
        left out are empty.

        Raises:
            QueryError: an id that no document can have, unknown field.
        """
        wanted, asked = check_fields(fields), list(dict.fromkeys(asked_ids(ids, "fetch")))
        snapshot, places = self._placed(asked)
        there = [doc_id for doc_id in asked if doc_id in places]
        documents = fetch_documents(snapshot, [places[doc_id] for doc_id in there], wanted)
        missing = tuple(doc_id for doc_id in asked if doc_id not in places)
        return Page(documents, snapshot.generation, missing)

    def scroll(
        self,
        after: str | None = None,
        limit: int = 100,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
    ) -> Page:
        """The first ``limit`` documents that the filter accepts, or the next ones ``after`` the page whose
        ``next_after`` that is. ``fields`` as for `fetch`.

        They come in the order in which they came to the index; a large commit (more than
        `RuntimeConfig.pending_documents`) counts as later than the small ones around it that are folded
        into one segment. Each page is of the newest commit. Whatever is written, folded or merged between
        two pages, a document that stays as it is comes exactly once; one that is replaced counts as new
        and comes (again) later; one that is added comes later too.

        Raises:
            QueryError: an ``after`` that no page gave, ``limit`` below 1, unknown field.
            FilterError: as `search`.
        """
        wanted, limit, condition = check_fields(fields), check_k(limit, "limit"), filter_of(filter)
        cursor = Cursor() if after is None else Cursor.parse(after)
        self._check_open()
        snapshot = self._snapshots.latest()
        places, behind = page_after(snapshot, accepted(snapshot, condition), cursor, limit)
        documents = fetch_documents(snapshot, places, wanted)
        return Page(documents, snapshot.generation, next_after=None if behind is None else str(behind))

    def count(self, filter: FilterLike | None = None) -> int:
        """How many documents a filter accepts; all of them without one."""
        snapshot = self._snapshots.latest()
        return count_accepted(snapshot, accepted(snapshot, filter_of(filter)))

    def facets(
        self, field: str, *, filter: FilterLike | None = None, limit: int = 10
    ) -> list[tuple[Any, int]]:
        """The most frequent values of a metadata field among the documents that a filter accepts,
        with the number of documents that have each; most frequent first, then by value."""
        snapshot = self._snapshots.latest()
        return facet(snapshot, accepted(snapshot, filter_of(filter)), field, limit)

    @property
    def generation(self) -> int:
        """The number of the last commit: what `SearchResult.generation` of a search begun now is, or less."""
        self._check_open()
        return self._catalog.generation()

    @property
    def damaged(self) -> tuple[str, ...]:
        """What searches leave out, and why; empty unless opened with ``skip_damaged``."""
        return tuple(damage.problem for damage in self._snapshots.latest().damaged)

    def inspect(self) -> IndexInfo:
        """Documents, tokens, bytes per component, encoder, metadata fields, of the newest commit."""
        self._check_open()
        return describe(self.path, self._catalog)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Check every checksum and invariant; ``progress(bytes_done, bytes_total)``."""
        return verify_index(self.path, progress)

    def __len__(self) -> int:
        """Documents."""
        return len(self._snapshots.latest())

    def close(self) -> None:
        """Close the index. Results already returned stay valid."""
        self._closed = True
        self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------

    def _check_complete(self) -> None:
        if not self._catalog.build_state()["complete"]:
            done = self._catalog.register.count()
            raise IndexUnfinishedError(
                f"the build of {self.path} was interrupted ({done} documents committed); "
                "finish it by running the same build with --resume (in Python: resume=True)"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise IndexFolderError(f"the index at {self.path} is closed; open it again")

    def _placed(self, ids: Sequence[str]) -> tuple[Snapshot, dict[str, Place]]:
        """The newest snapshot, and where in it those of ``ids`` are that it holds."""
        self._check_open()
        if not ids:
            return self._snapshots.latest(), {}
        snapshot, births = self._snapshots.locate_all(ids)
        held = {origin for view in snapshot.segments for origin in view.origins}
        # What damage has taken away is left out, where the index was opened so; else it is an error.
        there = births if not snapshot.damaged else {i: b for i, b in births.items() if b.origin in held}
        return snapshot, dict(zip(there, snapshot.places([*there.values()]), strict=True))

    def _located_all(self, doc_ids: Sequence[str]) -> tuple[Snapshot, list[Place]]:
        """The newest snapshot, and where in it each of the documents is; one may come twice."""
        snapshot, births = self._snapshots.locate_all([check_id(doc_id) for doc_id in doc_ids])
        missing = [doc_id for doc_id in doc_ids if doc_id not in births]
        if missing:
            raise DocumentNotFoundError(f"no document {missing[0]!r} in {self.path.name}")
        return snapshot, [snapshot.place(births[doc_id]) for doc_id in doc_ids]

    def _locate(self, doc_id: str) -> tuple[Snapshot, int, int]:
        snapshot, (place,) = self._located_all([doc_id])
        return (snapshot, *place)


def asked_ids(ids: Iterable[str], purpose: str) -> list[str]:
    """The ids of documents that are asked for, as a list.

    Raises:
        QueryError: one text instead of several, or an id that no document can have.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise QueryError(f"the ids to {purpose} are a list of strings, such as [{ids!r}]")
    return [check_id(doc_id) for doc_id in ids]
