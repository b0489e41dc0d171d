"""A service from asyncio: its collections, aliases, tasks and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from retrieval.client import service, tasks
from retrieval.client.collection import checked_name
from retrieval.client.records import CollectionSummary, ModelInfo, Ranked, RemoteTask, TaskState
from retrieval.client.remote_async import AsyncRemoteEngine
from retrieval.client.transport import AsyncSession
from retrieval.config import EncoderConfig, RecipeConfig
from retrieval.encode import GivenVectors
from retrieval.types import FloatArray, Precision

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncClient"]


class AsyncClient:
    """`Client` for asyncio: the same methods and arguments, to be awaited, in one event loop.

        async with AsyncClient("http://127.0.0.1:8080") as client:
            for hit in await client.collection("papers").search("lift of thin wings", k=5):
                print(hit.score, hit.id)

    Raises:
        ConfigError, MissingExtraError: as `Client`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._session = AsyncSession(url, key, timeout_s, retries, http)
        self._run = self._session.run
        self.url = self._session.target.url

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    # -- collections --------------------------------------------------------------------------

    def collection(self, name: str) -> AsyncRemoteEngine:
        """A collection, or what an alias leads to; nothing is asked of the server yet.

        Raises:
            ConfigError: what cannot be a name.
        """
        return AsyncRemoteEngine(self._session, name)

    async def collections(self) -> list[CollectionSummary]:
        """`Client.collections`."""
        return await self._run(service.list_collections())

    async def create_collection(
        self,
        name: str,
        encoder: EncoderConfig | GivenVectors | str,
        *,
        precision: Precision | Literal["auto"] = "auto",
        pooling: str = "none",
        preset: str | None = None,
        recipe: RecipeConfig | Mapping[str, Any] | None = None,
    ) -> AsyncRemoteEngine:
        """`Client.create_collection`."""
        await self._run(
            service.create_collection(
                checked_name(name),
                encoder,
                precision=precision,
                pooling=pooling,
                preset=preset,
                recipe=recipe,
            )
        )
        return self.collection(name)

    async def delete_collection(self, name: str) -> None:
        """`Client.delete_collection`."""
        await self._run(service.delete_collection(checked_name(name)))

    # -- aliases ------------------------------------------------------------------------------

    async def aliases(self) -> dict[str, str]:
        """`Client.aliases`."""
        return await self._run(service.list_aliases())

    async def set_alias(self, alias: str, collection: str) -> str | None:
        """`Client.set_alias`."""
        return await self._run(service.set_alias(checked_name(alias), collection))

    async def change_aliases(
        self, put: Mapping[str, str] | None = None, *, delete: Sequence[str] = ()
    ) -> dict[str, str]:
        """`Client.change_aliases`."""
        return await self._run(service.change_aliases(put, delete))

    async def delete_alias(self, alias: str) -> None:
        """`Client.delete_alias`."""
        await self._run(service.delete_alias(checked_name(alias)))

    # -- tasks --------------------------------------------------------------------------------

    async def tasks(
        self, *, state: TaskState | None = None, collection: str | None = None, limit: int = 100
    ) -> list[RemoteTask]:
        """`Client.tasks`."""
        return await self._run(tasks.list_tasks(state, collection, limit))

    async def task(self, task_id: str) -> RemoteTask:
        """`Client.task`."""
        return await self._run(tasks.get_task(task_id))

    async def cancel_task(self, task_id: str) -> RemoteTask:
        """`Client.cancel_task`."""
        return await self._run(tasks.cancel_task(task_id))

    async def wait(
        self, task: RemoteTask | str, progress: Callable[[RemoteTask], None] | None = None
    ) -> RemoteTask:
        """`Client.wait`."""
        return await self._run(tasks.finished_from(task, progress))

    # -- models -------------------------------------------------------------------------------

    async def models(self) -> list[ModelInfo]:
        """`Client.models`."""
        return await self._run(service.list_models())

    async def embed(
        self,
        model: str,
        texts: str | Sequence[str],
        *,
        input_type: Literal["query", "document"] = "document",
    ) -> list[FloatArray]:
        """`Client.embed`."""
        return await self._run(service.embed(model, texts, input_type))

    async def rerank(
        self, model: str, query: str, documents: Sequence[str], *, top_n: int | None = None
    ) -> list[Ranked]:
        """`Client.rerank`."""
        return await self._run(service.rerank_texts(model, query, documents, top_n))

    # -- the service --------------------------------------------------------------------------

    async def is_ready(self) -> bool:
        """`Client.is_ready`."""
        return await self._run(service.is_ready())

    async def close(self) -> None:
        """`Client.close`."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
