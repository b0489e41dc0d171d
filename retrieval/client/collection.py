"""Calls to one collection: what `RemoteEngine` and `AsyncRemoteEngine` do, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

from numpy.typing import NDArray

from retrieval.asked import FilterLike, filter_to_delete
from retrieval.client.answers import (
    document_of,
    explanation_of,
    index_info_of,
    maintenance_report_of,
    page_of,
    search_result_of,
    verify_report_of,
)
from retrieval.client.exchange import Call, Request, ask, idempotency_key, json_request, path_of
from retrieval.client.questions import (
    Fields,
    batches_of,
    checked_ids,
    filter_json,
    query_json,
    search_json,
    texts_only,
)
from retrieval.client.records import CollectionDetail, RemoteTask, SnapshotInfo, record_of
from retrieval.client.service import pages, recipe_json
from retrieval.client.tasks import result_of, told_stages
from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError, DocumentNotFoundError, QueryError, RetrievalError
from retrieval.maintenance import MaintenanceReport
from retrieval.queries import Query, check_id, check_k
from retrieval.search import check_fields
from retrieval.storage import IndexInfo, VerifyReport
from retrieval.types import Document, Explanation, Page, SearchResult, TrainingProgress

__all__ = ["CollectionCalls", "Mode", "checked_name"]

Mode = Literal["dense", "late", "muvera", "hybrid"]
_SHORTENED = frozenset({"", ".", ".."})
"""Parts of a path that something between client and server may take away, however they are encoded."""
SHARES = 1000
"""A check of files is told in thousandths: the server tells a share, not bytes."""


def checked_name(name: object) -> str:
    """The name of a collection or an alias.

    Raises:
        ConfigError: no string, an empty one, or one with characters that no name has.
    """
    if not isinstance(name, str) or not name.isascii() or not name.isprintable() or not name:
        raise ConfigError(f"{name!r} is no collection's name; `Client.collections` lists them")
    return name


@dataclass(frozen=True, slots=True)
class CollectionCalls:
    """The calls to the collection (or alias) ``name``; each is a generator, see `exchange`."""

    name: str

    def path(self, *parts: str) -> str:
        """A path below the collection."""
        return path_of("collections", self.name, *parts)

    def _asked(self, what: str, body: Mapping[str, Any], *more: str) -> Request:
        """A question: a POST that may be repeated."""
        request = json_request("POST", self.path(what, *more), body, repeatable=True)
        return replace(request, misuse=QueryError)

    # -- reading ------------------------------------------------------------------------------

    def search(
        self, query: Query, k: int, vectors: NDArray[Any] | None = None, **options: Any
    ) -> Call[SearchResult]:
        """`Engine.search`; ``vectors`` are those of `Hybrid.search`, ``options`` those of `search_json`."""
        own = {} if vectors is None else query_json(vectors)
        body = {**query_json(query), **own, **search_json(k, **options)}
        return (yield from ask(self._asked("search", body))).read(search_result_of)

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int,
        vectors: Sequence[NDArray[Any]] | None = None,
        **options: Any,
    ) -> Call[list[SearchResult]]:
        """`Engine.search_batch`, in as many requests as it takes; ``vectors`` are those of
        `Hybrid.search_batch`."""
        if isinstance(queries, str):
            raise QueryError("search_batch takes a list of queries; for one use search")
        if vectors is not None and len(vectors) != len(queries):
            raise QueryError(f"there are {len(queries)} queries, and vectors of {len(vectors)}")
        own = [query_json(each) for each in vectors] if vectors is not None else [{}] * len(queries)
        shared = search_json(k, **options)
        # A deadline is the request's, not that of each search in it.
        timeout = {"timeout_ms": shared.pop("timeout_ms")} if "timeout_ms" in shared else {}
        results: list[SearchResult] = []
        asked = [{**query_json(query), **mine, **shared} for query, mine in zip(queries, own, strict=True)]
        for batch in batches_of(asked):
            reply = yield from ask(self._asked("search", {"searches": batch, **timeout}, "batch"))
            results += reply.read(lambda body: [search_result_of(item) for item in body["results"]])
        return results

    def rerank(self, query: Query, ids: Iterable[str], k: int | None, fields: Fields) -> Call[SearchResult]:
        """`Engine.rerank`."""
        body = {**query_json(query), "fields": list(dict.fromkeys(check_fields(fields)))}
        if k is not None:
            body["limit"] = check_k(k)
        listed = checked_ids(ids, "rerank")
        if not listed:
            return SearchResult((), (yield from self._count(None))[1])
        reply = yield from ask(self._asked("rerank", {**body, "ids": listed}))
        return reply.read(search_result_of)

    def explain(self, query: Query, doc_ids: Sequence[str]) -> Call[list[Explanation]]:
        """`Engine.explain_batch`."""
        text = query if isinstance(query, str) else ""
        listed = [check_id(doc_id) for doc_id in doc_ids]
        body = {**query_json(query), "ids": list(dict.fromkeys(listed))}
        if not listed:
            return []
        found = (yield from ask(self._asked("explain", body))).read(
            lambda answer: {item["id"]: explanation_of(text, item) for item in answer["explanations"]}
        )
        return [found[doc_id] for doc_id in listed]

    def get(self, doc_id: str) -> Call[Document]:
        """`Engine.get`."""
        if not _SHORTENED & set(check_id(doc_id).split("/")):
            reply = yield from ask(json_request("GET", self.path("documents", doc_id)))
            return reply.read(document_of)
        page = yield from self.fetch([doc_id], None)
        if page.missing:
            raise DocumentNotFoundError(f"there is no document {doc_id!r} in the collection {self.name!r}")
        return page.documents[0]

    def fetch(self, ids: Iterable[str], fields: Fields) -> Call[Page]:
        """`Engine.fetch`."""
        listed, wanted = checked_ids(ids, "fetch"), list(dict.fromkeys(check_fields(fields)))
        if not listed:
            return Page((), (yield from self._count(None))[1])
        request = self._asked("documents", {"ids": listed, "fields": wanted}, "fetch")
        return (yield from ask(request)).read(page_of)

    def scroll(self, after: str | None, limit: int, filter: FilterLike | None, fields: Fields) -> Call[Page]:
        """`Engine.scroll`."""
        wanted = list(dict.fromkeys(check_fields(fields)))
        body = {"limit": check_k(limit), "fields": wanted, **filter_json(filter)}
        if after is not None:
            body["cursor"] = after
        return (yield from ask(self._asked("documents", body, "scroll"))).read(page_of)

    def count(self, filter: FilterLike | None) -> Call[int]:
        """`Engine.count`."""
        return (yield from self._count(filter))[0]

    def _count(self, filter: FilterLike | None) -> Call[tuple[int, int]]:
        reply = yield from ask(self._asked("documents", filter_json(filter), "count"))
        return reply.read(lambda body: (body["count"], body["generation"]))

    def facets(self, field: str, filter: FilterLike | None, limit: int) -> Call[list[tuple[Any, int]]]:
        """`Engine.facets`."""
        request = self._asked("documents", {"field": field, "limit": limit, **filter_json(filter)}, "facets")
        return (yield from ask(request)).read(
            lambda body: [(item["value"], item["count"]) for item in body["values"]]
        )

    def detail(self) -> Call[CollectionDetail]:
        """What the collection holds."""
        return (yield from ask(json_request("GET", self.path()))).read(
            lambda body: record_of(CollectionDetail, body)
        )

    def inspect(self, url: str) -> Call[IndexInfo]:
        """`Engine.inspect`, as far as the service tells."""
        reply = yield from ask(json_request("GET", self.path()))
        return reply.read(lambda body: index_info_of(url, body, record_of(CollectionDetail, body)))

    def verify(self, progress: Callable[[int, int], None] | None) -> Call[VerifyReport]:
        """`Engine.verify`, as a task."""

        def watch(task: RemoteTask) -> None:
            if progress is not None and task.progress.fraction is not None:
                progress(round(SHARES * task.progress.fraction), SHARES)

        return (yield from result_of(self.path("verify"), {}, verify_report_of, watch))

    # -- changing -----------------------------------------------------------------------------

    def delete(self, ids: Iterable[str] | None, filter: FilterLike | None) -> Call[int]:
        """`Engine.delete`. With a key, so that a repetition gives the number of the first one."""
        if (ids is None) == (filter is None):
            raise QueryError("delete takes either ids or a filter")
        if filter is not None:
            body: dict[str, Any] = {"filter": filter_to_delete(filter).to_json()}
        else:
            listed = checked_ids(() if ids is None else ids, "delete")
            if not listed:
                return 0
            body = {"ids": listed}
        request = replace(self._asked("documents", body, "delete"), headers=idempotency_key())
        reply = yield from ask(request)
        return reply.read(lambda answer: int(answer["deleted"]))

    def flush(self) -> Call[int]:
        """`Engine.flush`."""
        reply = yield from ask(json_request("POST", self.path("flush"), {}))
        return reply.read(lambda body: int(body["documents"]))

    def maintain(self) -> Call[MaintenanceReport]:
        """`Engine.maintain`."""
        reply = yield from ask(json_request("POST", self.path("maintain"), {}))
        return reply.read(maintenance_report_of)

    def compact(
        self,
        precision: str | None,
        recipe: RecipeConfig | Mapping[str, Any] | None,
        preset: str | None,
        retrain: bool,
        queries: Sequence[Query] | None,
        force: bool,
        progress: TrainingProgress,
    ) -> Call[MaintenanceReport]:
        """`Engine.compact`, as a task."""
        body: dict[str, Any] = {"retrain": retrain, "force": force, **texts_only(queries)}
        asked = {
            "precision": precision,
            "recipe": recipe_json(recipe) if recipe is not None else None,
            "preset": preset,
        }
        body |= {name: value for name, value in asked.items() if value is not None}
        watch = told_stages(progress)
        return (yield from result_of(self.path("compact"), body, maintenance_report_of, watch))

    def diagnose(self, queries: Sequence[Query] | None, progress: TrainingProgress) -> Call[dict[str, Any]]:
        """`Engine.diagnose`, as a task."""
        watch = told_stages(progress)
        return (yield from result_of(self.path("diagnose"), texts_only(queries), dict, watch))

    def reload(self) -> Call[CollectionDetail]:
        """Let the service open the collection's folder anew."""
        reply = yield from ask(json_request("POST", self.path("reload"), {}, repeatable=True))
        return reply.read(lambda body: record_of(CollectionDetail, body))

    # -- copies -------------------------------------------------------------------------------

    def snapshot(self, name: str | None) -> Call[SnapshotInfo]:
        """Make a snapshot that the server keeps."""
        body = {} if name is None else {"name": name}
        return (
            yield from result_of(self.path("snapshots"), body, lambda result: record_of(SnapshotInfo, result))
        )

    def snapshots(self) -> Call[list[SnapshotInfo]]:
        """The snapshots that there are."""
        path = self.path("snapshots")
        return (yield from pages(path, "snapshots", lambda item: record_of(SnapshotInfo, item)))

    def download(self, name: str, sink: BinaryIO) -> Call[None]:
        """A snapshot's file, into an open one."""
        yield from ask(Request("GET", self.path("snapshots", name), sink=sink))

    def export(self, sink: BinaryIO) -> Call[SnapshotInfo]:
        """The last commit into an open file, by way of a snapshot that does not stay."""
        made = yield from self.snapshot(None)
        try:
            yield from self.download(made.name, sink)
        except RetrievalError:
            with suppress(RetrievalError):  # the first error is the one to tell
                yield from self.delete_snapshot(made.name)
            raise
        yield from self.delete_snapshot(made.name)
        return made

    def delete_snapshot(self, name: str) -> Call[None]:
        """Delete a snapshot."""
        yield from ask(json_request("DELETE", self.path("snapshots", name)))

    def restore(self, name: str, collection: str | None) -> Call[None]:
        """Make a collection of a snapshot."""
        body = {} if collection is None else {"collection": collection}
        yield from result_of(self.path("snapshots", name, "restore"), body, dict)
