"""A service from Python: its collections, aliases, tasks and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from retrieval.client import service, tasks
from retrieval.client.collection import checked_name
from retrieval.client.records import CollectionSummary, ModelInfo, Ranked, RemoteTask, TaskState
from retrieval.client.remote import RemoteEngine
from retrieval.client.transport import Session
from retrieval.config import EncoderConfig, RecipeConfig
from retrieval.encode import GivenVectors
from retrieval.types import FloatArray, Precision

if TYPE_CHECKING:
    import httpx

__all__ = ["Client"]


class Client:
    """A connection to a service. Safe to share between threads; to be closed, or used with ``with``.

        with Client("http://127.0.0.1:8080") as client:
            for hit in client.collection("papers").search("lift of thin wings", k=5):
                print(hit.score, hit.id)

    ``key`` is by default that of the variable ``RETRIEVAL_API_KEY``; it is in no ``repr`` and no message.
    ``timeout_s`` are the seconds that one request may take with all its repetitions, of which there are at
    most ``retries``: of what the server refused for now (429, 503, after the time that it names) and what a
    broken connection may have lost, unless doing it twice would matter. ``http`` is a client of one's own,
    for proxies, certificates or tests; it stays open.

    Raises:
        ConfigError: an address, a key, a time or a number that cannot be.
        MissingExtraError: the extra ``client`` is not installed.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        http: httpx.Client | None = None,
    ) -> None:
        self._session = Session(url, key, timeout_s, retries, http)
        self._run = self._session.run
        self.url = self._session.target.url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # -- collections --------------------------------------------------------------------------

    def collection(self, name: str) -> RemoteEngine:
        """A collection, or what an alias leads to; nothing is asked of the server yet.

        Raises:
            ConfigError: what cannot be a name.
        """
        return RemoteEngine(self._session, name)

    def collections(self) -> list[CollectionSummary]:
        """All collections that the key may read, by name."""
        return self._run(service.list_collections())

    def create_collection(
        self,
        name: str,
        encoder: EncoderConfig | GivenVectors | str,
        *,
        precision: Precision | Literal["auto"] = "auto",
        pooling: str = "none",
        preset: str | None = None,
        recipe: RecipeConfig | Mapping[str, Any] | None = None,
    ) -> RemoteEngine:
        """Make an empty collection for a model of `models`, or for documents that bring their vectors;
        nothing happens where it is there and was made the same way. With a ``preset``, ``recipe`` may be the
        values that differ from it.

        Raises:
            RemoteError: ``config_differs``: it is there and was made otherwise; ``unknown_model``.
        """
        self._run(
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

    def delete_collection(self, name: str) -> None:
        """Delete a collection and its files.

        Raises:
            RemoteError: ``collection_has_aliases``, ``collection_fixed``, ``unknown_collection``.
        """
        self._run(service.delete_collection(checked_name(name)))

    # -- aliases ------------------------------------------------------------------------------

    def aliases(self) -> dict[str, str]:
        """The collection that each alias leads to."""
        return self._run(service.list_aliases())

    def set_alias(self, alias: str, collection: str) -> str | None:
        """Let an alias lead to a collection; returns where it led before, None if there was none."""
        return self._run(service.set_alias(checked_name(alias), collection))

    def change_aliases(
        self, put: Mapping[str, str] | None = None, *, delete: Sequence[str] = ()
    ) -> dict[str, str]:
        """Several changes of aliases, all or none: ``put`` maps an alias to its collection. Returns all."""
        return self._run(service.change_aliases(put, delete))

    def delete_alias(self, alias: str) -> None:
        """Delete an alias; the collection stays."""
        self._run(service.delete_alias(checked_name(alias)))

    # -- tasks --------------------------------------------------------------------------------

    def tasks(
        self, *, state: TaskState | None = None, collection: str | None = None, limit: int = 100
    ) -> list[RemoteTask]:
        """Tasks, at most ``limit``, in the server's order."""
        return self._run(tasks.list_tasks(state, collection, limit))

    def task(self, task_id: str) -> RemoteTask:
        """A task as it stands."""
        return self._run(tasks.get_task(task_id))

    def cancel_task(self, task_id: str) -> RemoteTask:
        """Ask a task to stop; a running one stops at its next step."""
        return self._run(tasks.cancel_task(task_id))

    def wait(
        self, task: RemoteTask | str, progress: Callable[[RemoteTask], None] | None = None
    ) -> RemoteTask:
        """The task when it has succeeded, however long that takes; ``progress`` sees it at every change.

        Raises:
            RetrievalError: why it failed, of the engine's class where it is the engine's error.
            RemoteError: ``cancelled``.
        """
        return self._run(tasks.finished_from(task, progress))

    # -- models -------------------------------------------------------------------------------

    def models(self) -> list[ModelInfo]:
        """The models that requests may name."""
        return self._run(service.list_models())

    def embed(
        self,
        model: str,
        texts: str | Sequence[str],
        *,
        input_type: Literal["query", "document"] = "document",
    ) -> list[FloatArray]:
        """Vectors of texts in their order, float32: ``(d,)`` each, or ``(n_tokens, d)`` of a late model."""
        return self._run(service.embed(model, texts, input_type))

    def rerank(
        self, model: str, query: str, documents: Sequence[str], *, top_n: int | None = None
    ) -> list[Ranked]:
        """Texts by their score for a query, best first, at most ``top_n``."""
        return self._run(service.rerank_texts(model, query, documents, top_n))

    # -- the service --------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Whether the service answers now and all its collections are ready."""
        return self._run(service.is_ready())

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
