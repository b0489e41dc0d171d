"""Small commits to an index that is being read: add, upsert, delete.

Each is one transaction in the catalog, durable when it returns and seen by the next search. Few documents
wait in the catalog (`SmallAdd`); many go to segments at once (`BulkAdd`), all in one commit too. Either are
encoded before the writer lock is taken.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retrieval.build import BuildReport, with_place
from retrieval.bulk import BulkAdd
from retrieval.corpus import ErrorPolicy
from retrieval.encode import Encoder
from retrieval.encode.given import as_numbers
from retrieval.errors import ConfigError, IndexLockedError
from retrieval.small import SmallAdd
from retrieval.storage import (
    WAIT_SECONDS,
    Catalog,
    add_lock,
    clear_leftovers,
    load_codec,
    load_current,
    writer_lock,
)
from retrieval.types import Document, ProgressCallback, Record

__all__ = ["Writer"]

CHARACTERS_PER_TOKEN = 4
"""A guess, and a low one, of how much text gives a vector: it decides where a commit is stored."""


class Writer:
    """Commits to one index. Threads take turns; another process that writes is waited for shortly.

    ``reading`` is a catalog to look things up in without keeping others from writing;
    ``max_documents`` and ``max_bytes`` bound a commit that goes to the catalog instead of to
    segments. Where damage is skipped nothing is written: what cannot be seen could not be kept either.
    """

    def __init__(
        self,
        root: Path,
        reading: Catalog,
        max_documents: int,
        max_bytes: int,
        *,
        skip_damaged: bool = False,
    ) -> None:
        self._root, self._reading = root, reading
        self._max_documents, self._max_bytes = max_documents, max_bytes
        self._skip_damaged = skip_damaged
        self._turn, self._adding = threading.RLock(), threading.RLock()
        self._catalog: Catalog | None = None

    @contextmanager
    def session(self, patience: float = WAIT_SECONDS) -> Iterator[Catalog]:
        """The catalog to write to, while nobody else writes; ``patience`` is how many seconds to
        wait for another process.

        Raises:
            ConfigError: damage is being skipped.
            IndexLockedError: another process is writing; the message names it.
            IndexNotFoundError: the index has been removed, or replaced by another.
        """
        self.check_writable()
        with self._turn:
            Catalog.check_present(self._root)  # before a lock file is made where there is no index
            with writer_lock(self._root, patience):
                catalog = self._opened()
                clear_leftovers(self._root, catalog)
                yield catalog

    @contextmanager
    def adding(self) -> Iterator[None]:
        """While many documents are added: nobody else does, and small commits go on.

        Raises:
            IndexLockedError: another process does.
        """
        with self._adding:
            Catalog.check_present(self._root)
            with add_lock(self._root, WAIT_SECONDS) as free:
                if not free:
                    raise IndexLockedError(
                        f"another process is adding many documents to {self._root}; wait for it or stop it"
                    )
                yield

    def check_writable(self) -> None:
        """Whether this may write at all.

        Raises:
            ConfigError: damage is being skipped.
        """
        if self._skip_damaged:
            raise ConfigError(
                f"{self._root} was opened with skip_damaged, which is for reading only; "
                "repair it, then open it without"
            )

    def _opened(self) -> Catalog:
        # What was read belongs to the old index: nothing of it may be written to a new one.
        self._reading.check_in_place()
        if self._catalog is None:
            self._catalog = Catalog.open(self._root, write=True)
        self._catalog.check_in_place()
        return self._catalog

    def wait(self) -> None:
        """Wait for what is being written."""
        with self._adding, self._turn:
            pass

    def close(self) -> None:
        """Close the catalog, after what is being written."""
        with self._adding, self._turn:
            if self._catalog is not None:
                self._catalog.close()
                self._catalog = None

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents in one commit; returns how many there were."""
        with self.session() as catalog:
            return self.delete_in(catalog, ids)

    def delete_in(self, catalog: Catalog, ids: Sequence[str]) -> int:
        """`delete` inside a session."""
        there = [doc_id for doc_id in dict.fromkeys(ids) if catalog.register.find(doc_id) is not None]
        if there:
            with catalog.transaction("delete") as generation:
                catalog.register.bury(there, generation)
        return len(there)

    def put(
        self,
        source: Iterable[Document | Record],
        encoder: Encoder,
        policy: ErrorPolicy | None,
        progress: ProgressCallback | None,
        *,
        replace: bool,
    ) -> BuildReport:
        """Add documents in one commit; with ``replace`` they take the place of those there.

        Raises:
            DataError: a document cannot be used, or without ``replace`` its id is there already; see
                `ErrorPolicy` for which of them.
        """
        records, policy = with_place(source), policy or ErrorPolicy()
        head, is_all = self._head(records)
        if is_all:
            small = SmallAdd(self._reading, encoder, policy, progress, replace=replace)
            return small.run(head, self.session)
        self.check_writable()
        with self.adding():
            bulk = BulkAdd(self._root, self._reading, encoder, policy, progress, replace=replace)
            return bulk.run(_Rejoined(head, records, source), self.session)

    def _head(self, records: Iterator[Record]) -> tuple[list[Record], bool]:
        """The first records, and whether they are all and few enough for a commit in the catalog."""
        codec, stored = load_current(self._root, self._reading.codec, load_codec)
        vector = stored.width(codec.dim) * stored.dtype.itemsize
        head, size = [], 0
        for record in records:
            head.append(record)
            length = sum(len(part) for part in _texts(record.document))
            size += length + vector * (1 if codec.kind == "dense" else _tokens(record.document, length))
            if len(head) > self._max_documents or size > self._max_bytes:
                return head, False
        return head, True


def _tokens(document: Document, length: int) -> int:
    """About how many vectors a document of so many characters has, of one a token."""
    if document.vectors is None:
        return length // CHARACTERS_PER_TOKEN + 1
    given = as_numbers(document.vectors)
    return 1 if given is None or given.ndim < 2 else len(given)


def _texts(document: Document) -> list[str]:
    return [part for part in (document.title, document.text) if isinstance(part, str)]


class _Rejoined:
    """A source whose first records were read already."""

    def __init__(self, head: Sequence[Record], rest: Iterator[Record], source: object) -> None:
        self._head, self._rest = head, rest
        self.fraction: Callable[[], float | None] = getattr(source, "fraction", lambda: None)

    def __iter__(self) -> Iterator[Record]:
        return itertools.chain(self._head, self._rest)
