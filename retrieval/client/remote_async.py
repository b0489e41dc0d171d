"""A collection on a server, used as an `Engine` is used, from asyncio."""

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
from retrieval.client.transport import AsyncSession
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

__all__ = ["AsyncRemoteEngine"]


class AsyncRemoteEngine:
    """`RemoteEngine` for asyncio: the same methods and arguments, to be awaited. Different are ``kind`` and
    ``generation``, methods here, and the number of documents, which is `count`."""

    def __init__(self, session: AsyncSession, name: str, *, owns_session: bool = False) -> None:
        self._run, self._calls = session.run, CollectionCalls(checked_name(name))
        self._session = session if owns_session else None
        self.name, self.url = name, f"{session.target.url}/{self._calls.path()}"
        self._kind: EncoderKind | None = None

    @classmethod
    def open(
        cls, url: str, name: str, *, key: str | None = None, timeout_s: float = 30.0, retries: int = 3
    ) -> Self:
        """`RemoteEngine.open`; nothing is awaited yet."""
        return cls(AsyncSession(url, key, timeout_s, retries), name, owns_session=True)

    def __repr__(self) -> str:
        return f"AsyncRemoteEngine({self.url!r})"

    # -- reading ------------------------------------------------------------------------------

    async def kind(self) -> EncoderKind:
        """`RemoteEngine.kind`."""
        if self._kind is None:
            self._kind = (await self.detail()).kind
        return self._kind

    async def generation(self) -> int:
        """`RemoteEngine.generation`."""
        return (await self.detail()).generation

    async def search(
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
        """`RemoteEngine.search`."""
        options: dict[str, Any] = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        only_here: dict[str, Any] = {
            "mode": mode,
            "hybrid": hybrid,
            "timeout_ms": timeout_ms,
            "vectors": vectors,
        }
        return await self._run(self._calls.search(query, k, **options, **only_here))

    async def search_batch(
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
        """`RemoteEngine.search_batch`."""
        options: dict[str, Any] = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        only_here: dict[str, Any] = {
            "mode": mode,
            "hybrid": hybrid,
            "timeout_ms": timeout_ms,
            "vectors": vectors,
        }
        return await self._run(self._calls.search_batch(queries, k, **options, **only_here))

    async def rerank(
        self,
        query: Query,
        ids: Iterable[str],
        k: int | None = None,
        *,
        fields: Collection[str] | None = None,
    ) -> SearchResult:
        """`RemoteEngine.rerank`."""
        return await self._run(self._calls.rerank(query, ids, k, fields))

    async def explain(self, query: Query, doc_id: str) -> Explanation:
        """`RemoteEngine.explain`."""
        return (await self._run(self._calls.explain(query, [doc_id])))[0]

    async def explain_batch(self, query: Query, doc_ids: Sequence[str]) -> list[Explanation]:
        """`RemoteEngine.explain_batch`."""
        return await self._run(self._calls.explain(query, doc_ids))

    async def get(self, doc_id: str) -> Document:
        """`RemoteEngine.get`."""
        return await self._run(self._calls.get(doc_id))

    async def fetch(self, ids: Iterable[str], *, fields: Collection[str] | None = None) -> Page:
        """`RemoteEngine.fetch`."""
        return await self._run(self._calls.fetch(ids, fields))

    async def scroll(
        self,
        after: str | None = None,
        limit: int = 100,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
    ) -> Page:
        """`RemoteEngine.scroll`."""
        return await self._run(self._calls.scroll(after, limit, filter, fields))

    async def count(self, filter: FilterLike | None = None) -> int:
        """`RemoteEngine.count`."""
        return await self._run(self._calls.count(filter))

    async def facets(
        self, field: str, *, filter: FilterLike | None = None, limit: int = 10
    ) -> list[tuple[Any, int]]:
        """`RemoteEngine.facets`."""
        return await self._run(self._calls.facets(field, filter, limit))

    async def detail(self) -> CollectionDetail:
        """`RemoteEngine.detail`."""
        return await self._run(self._calls.detail())

    async def inspect(self) -> IndexInfo:
        """`RemoteEngine.inspect`."""
        return await self._run(self._calls.inspect(self.url))

    async def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """`RemoteEngine.verify`."""
        return await self._run(self._calls.verify(progress))

    # -- writing ------------------------------------------------------------------------------

    async def add(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
        ack: Ack = "searchable",
    ) -> BuildReport:
        """`RemoteEngine.add`."""
        return await self._run(write(self._calls, documents, policy, progress, mode="add", ack=ack))

    async def upsert(
        self,
        documents: Iterable[Document | Record],
        *,
        policy: ErrorPolicy | None = None,
        progress: ProgressCallback | None = None,
        ack: Ack = "searchable",
    ) -> BuildReport:
        """`RemoteEngine.upsert`."""
        return await self._run(write(self._calls, documents, policy, progress, mode="upsert", ack=ack))

    async def delete(self, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """`RemoteEngine.delete`."""
        return await self._run(self._calls.delete(ids, filter))

    async def flush(self) -> int:
        """`RemoteEngine.flush`."""
        return await self._run(self._calls.flush())

    async def maintain(self) -> MaintenanceReport:
        """`RemoteEngine.maintain`."""
        return await self._run(self._calls.maintain())

    async def compact(
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
        """`RemoteEngine.compact`."""
        return await self._run(
            self._calls.compact(precision, recipe, preset, retrain, queries, force, progress)
        )

    async def diagnose(
        self, queries: Sequence[Query] | None = None, *, progress: TrainingProgress = silent
    ) -> dict[str, Any]:
        """`RemoteEngine.diagnose`."""
        return await self._run(self._calls.diagnose(queries, progress))

    async def reload(self) -> CollectionDetail:
        """`RemoteEngine.reload`."""
        return await self._run(self._calls.reload())

    # -- copies -------------------------------------------------------------------------------

    async def snapshot(self, name: str | None = None) -> SnapshotInfo:
        """`RemoteEngine.snapshot`."""
        return await self._run(self._calls.snapshot(name))

    async def snapshots(self) -> list[SnapshotInfo]:
        """`RemoteEngine.snapshots`."""
        return await self._run(self._calls.snapshots())

    async def download_snapshot(self, name: str, file: str | Path) -> None:
        """`RemoteEngine.download_snapshot`."""
        with new_file(Path(file)) as sink:
            await self._run(self._calls.download(name, sink))

    async def delete_snapshot(self, name: str) -> None:
        """`RemoteEngine.delete_snapshot`."""
        await self._run(self._calls.delete_snapshot(name))

    async def restore_snapshot(self, name: str, collection: str | None = None) -> None:
        """`RemoteEngine.restore_snapshot`."""
        await self._run(self._calls.restore(name, collection))

    async def export(self, file: str | Path) -> SnapshotInfo:
        """`RemoteEngine.export`."""
        with new_file(Path(file)) as sink:
            return await self._run(self._calls.export(sink))

    # -- the end ------------------------------------------------------------------------------

    async def close(self) -> None:
        """`RemoteEngine.close`."""
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
