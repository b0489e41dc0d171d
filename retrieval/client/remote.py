"""A collection on a server, used as an `Engine` is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from numpy.typing import NDArray

from retrieval.asked import FilterLike, SearchParams
from retrieval.build import BuildReport
from retrieval.client.collection import CollectionCalls, Mode, checked_name
from retrieval.client.copying import new_file
from retrieval.client.records import CollectionDetail, SnapshotInfo
from retrieval.client.transport import Session
from retrieval.client.writing import Ack, write
from retrieval.config import RecipeConfig
from retrieval.corpus import ErrorPolicy
from retrieval.maintenance import MaintenanceReport
from retrieval.queries import Query
from retrieval.storage import IndexInfo, VerifyReport
from retrieval.training import silent
from retrieval.types import (
    Document,
    EncoderKind,
    Explanation,
    Page,
    Precision,
    ProgressCallback,
    Record,
    SearchResult,
    TrainingProgress,
)

__all__ = ["RemoteEngine"]


class RemoteEngine:
    """A collection of a service (`Client.collection`): the methods of `Engine`, and the same results.

    What is different over HTTP: dates in metadata come back as ISO 8601 strings, NaN as None; scores and
    vectors are those of the server. Errors are the engine's own classes, or `RemoteError` for what only a
    service has. Safe to share between threads.
    """

    def __init__(self, session: Session, name: str, *, owns_session: bool = False) -> None:
        self._run, self._calls = session.run, CollectionCalls(checked_name(name))
        self._session = session if owns_session else None
        self.name, self.url = name, f"{session.target.url}/{self._calls.path()}"
        self._kind: EncoderKind | None = None

    @classmethod
    def open(
        cls, url: str, name: str, *, key: str | None = None, timeout_s: float = 30.0, retries: int = 3
    ) -> Self:
        """The collection ``name`` of the service at ``url``, with connections of its own, which `close`
        closes. The other arguments are those of `Client`.

        Raises:
            ConfigError, MissingExtraError: as `Client`.
        """
        return cls(Session(url, key, timeout_s, retries), name, owns_session=True)

    def __repr__(self) -> str:
        return f"RemoteEngine({self.url!r})"

    # -- reading ------------------------------------------------------------------------------

    @property
    def kind(self) -> EncoderKind:
        """One vector a text (``dense``), or one a token (``late``); asked once."""
        if self._kind is None:
            self._kind = self.detail().kind
        return self._kind

    @property
    def generation(self) -> int:
        """The number of the last commit."""
        return self.detail().generation

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
        mode: Mode | None = None,
        hybrid: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
        vectors: NDArray[Any] | None = None,
    ) -> SearchResult:
        """`Engine.search`. Only here: ``mode``, the options of ``hybrid`` (as in the HTTP API), the
        ``vectors`` beside the text of a hybrid search, and the milliseconds after which the server gives up.

        Raises:
            QueryError: also for more hits than the server gives at once, and a ``mode`` that it has not.
            RemoteError: ``deadline_exceeded``, ``overloaded``.
        """
        options: dict[str, Any] = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        only_here: dict[str, Any] = {
            "mode": mode,
            "hybrid": hybrid,
            "timeout_ms": timeout_ms,
            "vectors": vectors,
        }
        return self._run(self._calls.search(query, k, **options, **only_here))

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
        mode: Mode | None = None,
        hybrid: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
        vectors: Sequence[NDArray[Any]] | None = None,
    ) -> list[SearchResult]:
        """`Engine.search_batch`, 100 queries a request: each request sees one commit, ``timings_ms`` are of
        its batch. Only here, as of `search`: ``mode``, ``hybrid``, ``timeout_ms`` and the ``vectors`` of the
        queries."""
        options: dict[str, Any] = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        only_here: dict[str, Any] = {
            "mode": mode,
            "hybrid": hybrid,
            "timeout_ms": timeout_ms,
            "vectors": vectors,
        }
        return self._run(self._calls.search_batch(queries, k, **options, **only_here))

    def rerank(
        self,
        query: Query,
        ids: Iterable[str],
        k: int | None = None,
        *,
        fields: Collection[str] | None = None,
    ) -> SearchResult:
        """`Engine.rerank`."""
        return self._run(self._calls.rerank(query, ids, k, fields))

    def explain(self, query: Query, doc_id: str) -> Explanation:
        """`Engine.explain`."""
        return self._run(self._calls.explain(query, [doc_id]))[0]

    def explain_batch(self, query: Query, doc_ids: Sequence[str]) -> list[Explanation]:
        """`Engine.explain_batch`."""
        return self._run(self._calls.explain(query, doc_ids))

    def get(self, doc_id: str) -> Document:
        """`Engine.get`."""
        return self._run(self._calls.get(doc_id))

    def fetch(self, ids: Iterable[str], *, fields: Collection[str] | None = None) -> Page:
        """`Engine.fetch`."""
        return self._run(self._calls.fetch(ids, fields))

    def scroll(
        self,
        after: str | None = None,
        limit: int = 100,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
    ) -> Page:
        """`Engine.scroll`. ``after`` is a ``next_after`` from the same service, not one of an `Engine`."""
        return self._run(self._calls.scroll(after, limit, filter, fields))

    def count(self, filter: FilterLike | None = None) -> int:
        """`Engine.count`."""
        return self._run(self._calls.count(filter))

    def facets(
        self, field: str, *, filter: FilterLike | None = None, limit: int = 10
    ) -> list[tuple[Any, int]]:
        """`Engine.facets`."""
        return self._run(self._calls.facets(field, filter, limit))

    def __len__(self) -> int:
        """Documents."""
        return self.count()

    def detail(self) -> CollectionDetail:
        """What the collection holds, all that the service tells."""
        return self._run(self._calls.detail())

    def inspect(self) -> IndexInfo:
        """`Engine.inspect`, as far as the service tells: of ``encoder`` the name alone; ``path`` is the url.
        What it does not tell is 0 (``format_version``, ``deleted``), empty (``fingerprint``) or None."""
        return self._run(self._calls.inspect(self.url))

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """`Engine.verify`, on the server. ``progress(done, 1000)``: thousandths, not bytes."""
        return self._run(self._calls.verify(progress))

    # -- writing ------------------------------------------------------------------------------

    def add(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
        ack: Ack = "searchable",
    ) -> BuildReport:
        """`Engine.add`, sent 256 documents (or 4 MiB) a request.

        **Each request is a commit of its own.** What fits into one is there whole or not at all, as with
        `Engine.add`. Of more, those before the one that failed stay; the error says how many. With
        ``ack="task"`` all go in one request, which the server keeps on disk before it begins; this waits for
        the task. A request that is repeated after a broken connection is not written twice (only where the
        server was killed after the commit and before it answered, `add` says that the ids are there already).

        The report's ``tokens`` and ``truncated`` are 0: the service does not tell.

        Raises:
            DataError: an id is there already, or a document cannot be used.
            RemoteError: ``forbidden``, ``read_only``, no answer in time (encoding takes its time: give the
                client a larger ``timeout_s``, or ``ack="task"``).
        """
        return self._run(write(self._calls, documents, policy, progress, mode="add", ack=ack))

    def upsert(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
        ack: Ack = "searchable",
    ) -> BuildReport:
        """`Engine.upsert`, sent as by `add`."""
        return self._run(write(self._calls, documents, policy, progress, mode="upsert", ack=ack))

    def delete(self, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """`Engine.delete`."""
        return self._run(self._calls.delete(ids, filter))

    def flush(self) -> int:
        """`Engine.flush`."""
        return self._run(self._calls.flush())

    def maintain(self) -> MaintenanceReport:
        """`Engine.maintain`."""
        return self._run(self._calls.maintain())

    def compact(
        self,
        precision: Precision | None = None,
        *,
        recipe: RecipeConfig | Mapping[str, Any] | None = None,
        retrain: bool = False,
        queries: Sequence[Query] | None = None,
        force: bool = False,
        progress: TrainingProgress = silent,
        preset: str | None = None,
    ) -> MaintenanceReport:
        """`Engine.compact`, on the server; waits until it is done. ``queries`` are texts. With a ``preset``,
        ``recipe`` may be the values that differ from it."""
        return self._run(self._calls.compact(precision, recipe, preset, retrain, queries, force, progress))

    def diagnose(
        self, queries: Sequence[Query] | None = None, *, progress: TrainingProgress = silent
    ) -> dict[str, Any]:
        """`Engine.diagnose`, on the server. ``queries`` are texts."""
        return self._run(self._calls.diagnose(queries, progress))

    def reload(self) -> CollectionDetail:
        """Let the server open the collection's folder anew, without a failed request."""
        return self._run(self._calls.reload())

    # -- copies -------------------------------------------------------------------------------

    def snapshot(self, name: str | None = None) -> SnapshotInfo:
        """Copy the last commit to a file that the server keeps, under a name of its choice if given none."""
        return self._run(self._calls.snapshot(name))

    def snapshots(self) -> list[SnapshotInfo]:
        """The snapshots that the server keeps, by name."""
        return self._run(self._calls.snapshots())

    def download_snapshot(self, name: str, file: str | Path) -> None:
        """Write a snapshot to a new file, which `import_index` makes an index of.

        Raises:
            IndexExistsError: ``file`` is there.
        """
        with new_file(Path(file)) as sink:
            self._run(self._calls.download(name, sink))

    def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot."""
        self._run(self._calls.delete_snapshot(name))

    def restore_snapshot(self, name: str, collection: str | None = None) -> None:
        """Make ``collection`` of a snapshot (None: this one, which it replaces); waits until it is there."""
        self._run(self._calls.restore(name, collection))

    def export(self, file: str | Path) -> SnapshotInfo:
        """Write the last commit to one new file here, by way of a snapshot that is deleted afterwards.

        Raises:
            IndexExistsError: ``file`` is there.
        """
        with new_file(Path(file)) as sink:
            return self._run(self._calls.export(sink))

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections that `open` made; those of a `Client` stay."""
        if self._session is not None:
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
