"""The engine: one object to create, fill, search and explain an index.

Engine.build("my-index", open_corpus("docs.jsonl"), "minilm")
with Engine.open("my-index") as engine:
    for hit in engine.search("who built the first telescope?", k=5):
        print(hit.score, hit.id, hit.text)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from retrieval.build import BuildReport, Ingest
from retrieval.checks import inspect_index, verify_index
from retrieval.config import EncoderConfig, IndexConfig, RuntimeConfig
from retrieval.copies import CopyReport, export_index, snapshot_index
from retrieval.corpus import ErrorPolicy
from retrieval.encode import Encoder, load_encoder, load_stored_encoder
from retrieval.encode.base import (
    check_encoder,
    check_fingerprint,
    fingerprint_of,
    text_tokens,
)
from retrieval.errors import (
    ConfigError,
    DocumentNotFoundError,
    IndexUnfinishedError,
    QueryError,
)
from retrieval.filters import Filter, parse_filter
from retrieval.lifecycle import begin_build, check_target, create_index
from retrieval.maintenance import Maintenance, MaintenanceReport
from retrieval.queries import Query, check_k, query_vectors
from retrieval.search import (
    accepted,
    accepted_ids,
    check_fields,
    count_accepted,
    execute,
    explain_document,
    facet,
    fetch,
    fetch_document,
)
from retrieval.storage import (
    Catalog,
    IndexInfo,
    Snapshot,
    SnapshotKeeper,
    VerifyReport,
)
from retrieval.types import (
    Document,
    EncoderKind,
    Explanation,
    Precision,
    ProgressCallback,
    Ragged,
    Record,
    SearchResult,
)
from retrieval.writer import Writer, check_ids

__all__ = ["Engine", "FilterLike"]

FilterLike = Filter | Mapping[str, Any] | str
"""A filter, or its JSON as objects or text."""


class Engine:
    """An open index. Safe to share between threads; every search sees one commit as a whole.

    ``path`` is the index's folder, ``kind`` says whether it holds one vector a text (``dense``)
    or one a token (``late``).
    """

    def __init__(
        self,
        root: Path,
        encoder: Encoder | None,
        runtime: RuntimeConfig | None,
        *,
        skip_damaged: bool = False,
    ) -> None:
        self.path = root
        self._catalog = Catalog.open(root)
        try:
            self._check_complete()
            self._snapshots = SnapshotKeeper(root, self._catalog, skip_damaged=skip_damaged)
            self._record = self._catalog.codec()
            if encoder is not None:
                check_fingerprint(self._record.encoder_fingerprint, fingerprint_of(encoder))
        except BaseException:
            self._catalog.close()
            raise
        self.kind: EncoderKind = self._record.kind
        self._encoder, self._runtime = encoder, runtime
        runtime = runtime or RuntimeConfig.of()
        self._backend = runtime.backend_of_kernels
        self._loading = threading.Lock()
        limit = runtime.pending_documents
        self._writer = Writer(root, self._catalog, limit, skip_damaged=skip_damaged)
        self._maintenance = Maintenance(root, self._writer, self._snapshots, runtime)

    # -- making and opening -------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoder | EncoderConfig | str,
        *,
        config: IndexConfig | None = None,
        runtime: RuntimeConfig | None = None,
    ) -> Self:
        """Make an empty index, ready for `add`.

        Raises:
            IndexExistsError: there is an index, or another file or folder, at ``path``.
        """
        check_target(Path(path))
        known = _resolve(encoder, runtime)
        create_index(Path(path), known, config or IndexConfig.of())
        return cls(Path(path), known, runtime)

    @classmethod
    def build(
        cls,
        path: str | Path,
        corpus: Iterable[Document | Record],
        encoder: Encoder | EncoderConfig | str,
        *,
        config: IndexConfig | None = None,
        runtime: RuntimeConfig | None = None,
        resume: bool = False,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
    ) -> BuildReport:
        """Build an index from a corpus (`open_corpus`, or any iterable of documents).

        Commits as it goes; a killed build is continued by the same call with ``resume=True`` and
        gives the same index as one that was never interrupted. A build that fails before its
        first commit leaves nothing behind.

        Raises:
            IndexExistsError: a complete index is there and ``resume`` is False.
            IndexUnfinishedError: an unfinished one is there and ``resume`` is False.
            DataError: a document cannot be used and the policy is ``stop``.
        """
        check_target(Path(path), resume=resume)  # before a model is loaded
        known = _resolve(encoder, runtime)
        with begin_build(Path(path), known, config or IndexConfig.of(), resume) as catalog:
            return Ingest(Path(path), catalog, known, _policy_of(corpus, policy), progress).build(corpus)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: Encoder | EncoderConfig | str | None = None,
        *,
        runtime: RuntimeConfig | None = None,
        skip_damaged: bool = False,
    ) -> Self:
        """Open an index. Without ``encoder``, the one it was built with is loaded when a text
        first needs it (or by `warm_up`). A name says where that model is now; its options stay.

        With ``skip_damaged`` the index can be read, not written, although parts of it are damaged:
        every byte is checked first, ``damaged`` tells what is left out, and results are ``partial``.

        Raises:
            IndexNotFoundError, IndexUnfinishedError, IndexFormatError, IndexDamagedError
            EncoderMismatchError: ``encoder`` is not the one the index was built with.
        """
        root = Path(path)
        if isinstance(encoder, str):
            # The same model at another place: its options are those of the index.
            with Catalog.open(root) as catalog:
                stored = catalog.codec().encoder or {}
            encoder = EncoderConfig.of(**{**stored, "name": encoder})
        known = None if encoder is None else _resolve(encoder, runtime)
        return cls(root, known, runtime, skip_damaged=skip_damaged)

    def warm_up(self) -> None:
        """Load the encoder now, so that the first query does not wait for it."""
        _ = self.encoder

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use and checked against the index."""
        with self._loading:
            if self._encoder is None:
                stored, fingerprint = self._record.encoder, self._record.encoder_fingerprint
                self._encoder = load_stored_encoder(self.path, stored, fingerprint, self._runtime)
            return self._encoder

    # -- writing ------------------------------------------------------------------------------

    def add(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
    ) -> BuildReport:
        """Add documents in one commit: when this returns they are durable and the next search
        sees them; if it raises, none was added.

        Raises:
            DataError: an id is in the index already, or a document cannot be used.
            IndexLockedError: another process is writing.
        """
        return self._put(documents, policy, progress, replace=False)

    def upsert(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
    ) -> BuildReport:
        """As `add`, but a document takes the place of the one with its id, if there is one; of
        several with the same id the last counts."""
        return self._put(documents, policy, progress, replace=True)

    def _put(
        self,
        documents: Iterable[Document | Record],
        policy: ErrorPolicy | None,
        progress: ProgressCallback | None,
        *,
        replace: bool,
    ) -> BuildReport:
        self._writer.check_writable()  # before a model is loaded
        chosen, encoder = _policy_of(documents, policy), self.encoder
        report = self._writer.put(documents, encoder, chosen, progress, replace=replace)
        self._maintenance.wake()
        return report

    def delete(self, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Delete documents by id, or all that a filter accepts, in one commit. Returns how many.

        Ids that are not there are not counted. No later search finds a deleted document; its room
        is given back by merges.

        Raises:
            QueryError: neither or both of ``ids`` and ``filter``, or one that cannot be used.
            IndexLockedError: another process is writing.
        """
        if (ids is None) == (filter is None):
            raise QueryError("delete takes either ids or a filter")
        if ids is not None:
            deleted = self._writer.delete(check_ids(ids))
        else:
            wanted = _filter_of(filter)
            with self._writer.session() as catalog:
                snapshot = self._snapshots.latest()
                found = accepted_ids(snapshot, accepted(snapshot, wanted))
                deleted = self._writer.delete_in(catalog, found)
        self._maintenance.wake()
        return deleted

    def flush(self) -> int:
        """Write the pending documents as a segment now; returns how many there were."""
        return self._maintenance.fold()

    def maintain(self) -> MaintenanceReport:
        """Do now what is due of the upkeep that otherwise goes on in the background."""
        return self._maintenance.run()

    def compact(self, precision: Precision | None = None) -> MaintenanceReport:
        """Make one segment of everything, without deleted documents; with a ``precision``, convert
        the stored vectors to it (what a lower one loses, a higher one does not bring back)."""
        return self._maintenance.compact(precision)

    def snapshot(self, target: str | Path) -> CopyReport:
        """Copy the last commit to a new folder, while others read and write; see `snapshot_index`."""
        return snapshot_index(self.path, target)

    def export(self, file: str | Path) -> CopyReport:
        """Write the last commit to one file; see `export_index`, and `import_index` for the way back."""
        return export_index(self.path, file)

    # -- reading ------------------------------------------------------------------------------

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
    ) -> SearchResult:
        """The best ``k`` documents that the filter accepts, score descending, ties by id ascending.

        ``query`` is a text, or its vectors ``(d,)`` or ``(n_tokens, d)``. ``fields`` picks from
        ``title``, ``text`` and ``metadata``; None is all, ``()`` only ids and scores. There are
        fewer hits than ``k`` only where fewer documents are accepted.

        Raises:
            QueryError: an empty query, ``k`` below 1, vectors of the wrong shape, unknown field.
            FilterError: a filter that cannot be read or does not fit the fields.
        """
        return self.search_batch([query], k, filter=filter, fields=fields)[0]

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
    ) -> list[SearchResult]:
        """`search` for many queries at once: they share the encoder's batches and the passes over
        the codes. ``timings_ms`` are of the whole batch."""
        wanted, k, condition = check_fields(fields), check_k(k), _filter_of(filter)
        if isinstance(queries, str):
            raise QueryError("search_batch takes a list of queries; for one use search")
        if any(isinstance(query, str) for query in queries):
            self.warm_up()  # loading a model is not encoding
        started = time.perf_counter()
        vectors = self._query_vectors(queries)
        encoded = time.perf_counter()
        snapshot = self._snapshots.latest()
        accept = accepted(snapshot, condition)
        filtered = time.perf_counter()
        found, seconds = execute(vectors, snapshot, accept, k, self._backend)
        searched = time.perf_counter()
        hits = [fetch(scored, snapshot, wanted) for scored in found]
        fetched = time.perf_counter()
        timings = {
            "encode": encoded - started,
            "filter": filtered - encoded,
            **seconds,
            "search": searched - encoded,
            "fetch": fetched - searched,
        }
        in_ms = {stage: 1000 * value for stage, value in {**timings, "total": fetched - started}.items()}
        partial = bool(snapshot.damaged)
        return [SearchResult(each, snapshot.generation, in_ms, partial) for each in hits]

    def explain(self, query: str, doc_id: str) -> Explanation:
        """Take the score of one document for a query apart, token by token.

        Raises:
            DocumentNotFoundError: no such document.
        """
        return self.explain_batch(query, [doc_id])[0]

    def explain_batch(self, query: str, doc_ids: Sequence[str]) -> list[Explanation]:
        """`explain` for several documents; the query is encoded once."""
        if not isinstance(query, str):
            raise QueryError(f"only a text can be explained, not {type(query).__name__}")
        vectors = self._query_vectors([query])
        query_tokens = text_tokens(self.encoder, query, len(vectors[0]), side="query")
        explanations = []
        for doc_id in doc_ids:
            snapshot, segment, ordinal = self._locate(doc_id)
            text = fetch_document(snapshot, segment, ordinal).full_text
            n_tokens = len(snapshot.segments[segment].document_codes(ordinal))
            document_tokens = text_tokens(self.encoder, text, n_tokens, side="document")
            explanations.append(
                explain_document(query, vectors, query_tokens, document_tokens, snapshot, segment, ordinal)
            )
        return explanations

    def get(self, doc_id: str) -> Document:
        """A stored document.

        Raises:
            DocumentNotFoundError: no such document.
        """
        return fetch_document(*self._locate(doc_id))

    def count(self, filter: FilterLike | None = None) -> int:
        """How many documents a filter accepts; all of them without one."""
        snapshot = self._snapshots.latest()
        return count_accepted(snapshot, accepted(snapshot, _filter_of(filter)))

    def facets(
        self, field: str, *, filter: FilterLike | None = None, limit: int = 10
    ) -> list[tuple[Any, int]]:
        """The most frequent values of a metadata field among the documents that a filter accepts,
        with the number of documents that have each; most frequent first, then by value."""
        snapshot = self._snapshots.latest()
        return facet(snapshot, accepted(snapshot, _filter_of(filter)), field, limit)

    @property
    def damaged(self) -> tuple[str, ...]:
        """What searches leave out, and why; empty unless opened with ``skip_damaged``."""
        return tuple(damage.problem for damage in self._snapshots.latest().damaged)

    def inspect(self) -> IndexInfo:
        """Documents, tokens, bytes per component, encoder, metadata fields."""
        return inspect_index(self.path)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Check every checksum and invariant; ``progress(bytes_done, bytes_total)``."""
        return verify_index(self.path, progress)

    def __len__(self) -> int:
        """Documents."""
        return len(self._snapshots.latest())

    def close(self) -> None:
        """Close the index; a merge in the background is given up. Results already returned stay valid."""
        self._maintenance.stop()
        self._catalog.close()
        self._writer.close()  # last: a connection for reading cannot fold SQLite's log into the file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------

    def _check_complete(self) -> None:
        if not self._catalog.meta("build")["complete"]:
            done = self._catalog.register.count()
            raise IndexUnfinishedError(
                f"the build of {self.path} was interrupted ({done} documents committed); "
                "finish it by running the same build with --resume (in Python: resume=True)"
            )

    def _locate(self, doc_id: str) -> tuple[Snapshot, int, int]:
        snapshot, birth = self._snapshots.locate(doc_id)
        if birth is None:
            raise DocumentNotFoundError(f"no document {doc_id!r} in {self.path}")
        return (snapshot, *snapshot.place(birth))

    def _query_vectors(self, queries: Sequence[Query]) -> Ragged:
        return query_vectors(queries, lambda: self.encoder, self.kind, self._record.dim)


def _resolve(encoder: Encoder | EncoderConfig | str, runtime: RuntimeConfig | None) -> Encoder:
    if isinstance(encoder, str | EncoderConfig):
        return load_encoder(encoder, runtime)
    return check_encoder(encoder)


def _filter_of(given: FilterLike | None) -> Filter | None:
    return given if given is None or isinstance(given, Filter) else parse_filter(given)


def _policy_of(source: object, given: ErrorPolicy | None) -> ErrorPolicy | None:
    """One policy for the reader and the engine: whoever was given it shares it."""
    own = getattr(source, "policy", None)
    if own is not None and given is not None and own is not given:
        raise ConfigError(
            "the corpus and the engine were given two different policies; pass the same object to both"
        )
    return given or own
