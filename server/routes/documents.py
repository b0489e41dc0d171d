"""Documents: write, read, delete, and walk through them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Path, Query, Request, Response

from retrieval import Document, Engine
from retrieval.jsonable import json_value
from server.collections.lifecycle import incarnation
from server.context import AppContext, Context
from server.documents.bodies import FORMS, body_file, form_of, receive
from server.documents.idempotency import request_digest
from server.documents.ingest import Plan
from server.http.openapi import problems
from server.http.problems import ProblemError, invalid_request
from server.http.routing import api, make_router
from server.routes.documents_openapi import IDEMPOTENCY_KEY, WRITE_BODY
from server.schemas.base import HitField
from server.schemas.documents import (
    CountRequest,
    CountResponse,
    DeleteRequest,
    DeleteResponse,
    DocumentItem,
    FacetsRequest,
    FacetsResponse,
    FacetValue,
    FetchRequest,
    FetchResponse,
    ScrollRequest,
    ScrollResponse,
    WriteQuery,
    WriteResponse,
)
from server.schemas.search import ALL_FIELDS
from server.schemas.tasks import Task
from server.tasks.answer import accepted

__all__ = ["router"]

router = make_router("/v1/collections/{collection}/documents", "documents")

MEDIA_TYPE = "application/json"
DocumentId = Annotated[str, Path(description="as it is, percent-encoded; it may hold '/'")]


@router.post(
    "",
    summary="Write documents",
    response_model=WriteResponse,
    responses={
        202: {"model": Task, "description": "ack=task"},
        **problems(400, 404, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra={**WRITE_BODY, **IDEMPOTENCY_KEY},
)
@api("write", takes=tuple(FORMS), gate=True, large=True, gzip=True)
async def write_documents(
    request: Request,
    collection: str,
    context: Context,
    query: Annotated[WriteQuery, Query()],
) -> Response:
    """All in one commit: a search sees all of them, or none. Of several with one id the last counts (add: the
    first, and the others are bad). The generation of the answer is that of this commit, or of a later one."""
    arrived = time.perf_counter()
    name = context.registry.resolve(collection)
    with context.registry.lease(name):
        pass  # one that is not ready yet is told before the body is read
    plan = Plan(form_of(request), query.mode, query.on_error)
    if query.ack == "task":
        return await _write_later(request, name, context, plan)
    context.writers.check_room(name)
    settings = context.settings
    folder = None if settings.data_dir is None else settings.data_dir.expanduser()
    async with body_file(folder) as file:
        digest = await receive(request, file, settings.max_documents_bytes)

        async def write() -> Response:
            written = await context.ingestion.write(name, file, plan, arrived, request)
            return Response(written.model_dump_json(), media_type=MEDIA_TYPE)

        return await context.idempotency.run(
            request, digest, write, target=partial(incarnation, context, name)
        )


async def _write_later(request: Request, name: str, context: AppContext, plan: Plan) -> Response:
    async with context.ingestion.spool.receiving() as spooled:
        digest = await receive(request, spooled.file, context.settings.max_documents_bytes)

        async def accept() -> Response:
            return accepted(await asyncio.to_thread(context.ingestion.submit, name, spooled, plan))

        return await context.idempotency.run(
            request, digest, accept, target=partial(incarnation, context, name)
        )


@router.get(
    "/{doc_id:path}",
    summary="Get a document",
    response_model=DocumentItem,
    responses=problems(400, 404, 422, 503),
)
@api("read")
async def get_document(request: Request, collection: str, doc_id: DocumentId, context: Context) -> Response:
    """One document. A client may shorten a path with '.' or '..' in it, however it is encoded: for such ids
    there is 'fetch'."""
    _check_path(request)

    def job(engine: Engine) -> bytes:
        page = engine.fetch([doc_id])
        if page.missing:
            told = f"there is no document {doc_id!r} in the collection '{collection}'"
            raise ProblemError(404, "document_not_found", told)
        return _item(page.documents[0]).model_dump_json(exclude_unset=True).encode()

    return await _read(context, collection, job)


@router.post(
    "/fetch",
    summary="Get documents by id",
    response_model=FetchResponse,
    responses=problems(400, 404, 413, 415, 422, 503),
)
@api("read", gate=True)
async def fetch_documents(collection: str, body: FetchRequest, context: Context) -> Response:
    """All of one commit, in the order of the ids; one that is asked for twice comes once."""
    _check_most("/ids", len(body.ids), context.settings.max_documents)

    def job(engine: Engine) -> bytes:
        page = engine.fetch(body.ids, fields=body.fields)
        items = [_item(document, body.fields) for document in page.documents]
        answer = FetchResponse(documents=items, missing=list(page.missing), generation=page.generation)
        return answer.model_dump_json(exclude_unset=True).encode()

    return await _read(context, collection, job)


@router.post(
    "/delete",
    summary="Delete documents",
    response_model=DeleteResponse,
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=IDEMPOTENCY_KEY,
)
@api("write", gate=True)
async def delete_documents(
    request: Request, collection: str, body: DeleteRequest, context: Context
) -> Response:
    """By their ids, or all that a filter accepts, in one commit. Ids that are not there are not counted."""
    if (body.ids is None) == (body.filter is None):
        raise invalid_request([("", "give either 'ids' or 'filter'")])
    _check_most("/ids", len(body.ids or ()), context.settings.max_documents)
    name = context.registry.resolve(collection)
    digest = request_digest(request)
    digest.update(await request.body())

    def job(engine: Engine, waited_for: str | None) -> Response:
        deleted = engine.delete(body.ids, filter=body.filter)
        answer = DeleteResponse(deleted=deleted, generation=engine.generation, waited_for=waited_for)
        return Response(answer.model_dump_json(), media_type=MEDIA_TYPE)

    return await context.idempotency.run(
        request,
        digest.hexdigest(),
        lambda: context.writers.in_turn(name, job, request),
        target=partial(incarnation, context, name),
    )


@router.post(
    "/scroll",
    summary="Walk through the documents",
    response_model=ScrollResponse,
    responses=problems(400, 404, 413, 415, 422, 503),
)
@api("read", gate=True)
async def scroll_documents(collection: str, body: ScrollRequest, context: Context) -> Response:
    """Page by page, in the order in which they came. Each page is of the newest commit: a document that stays
    as it is comes once, whatever happens between two pages; one that is written meanwhile comes later."""
    most = context.settings.max_documents
    limit = body.limit if "limit" in body.model_fields_set else min(body.limit, most)
    _check_most("/limit", limit, most)

    def job(engine: Engine) -> bytes:
        page = engine.scroll(body.cursor, limit, filter=body.filter, fields=body.fields)
        items = [_item(document, body.fields) for document in page.documents]
        answer = ScrollResponse(documents=items, next_cursor=page.next_after, generation=page.generation)
        return answer.model_dump_json(exclude_unset=True).encode()

    return await _read(context, collection, job)


@router.post(
    "/count",
    summary="Count documents",
    response_model=CountResponse,
    responses=problems(400, 404, 413, 415, 422, 503),
)
@api("read", gate=True)
async def count_documents(collection: str, body: CountRequest, context: Context) -> Response:
    """How many a filter accepts, or how many there are, in the commit of 'generation' or a later one."""

    def job(engine: Engine) -> bytes:
        generation = engine.generation
        answer = CountResponse(count=engine.count(body.filter), generation=generation)
        return answer.model_dump_json().encode()

    return await _read(context, collection, job)


@router.post(
    "/facets",
    summary="Count the values of a field",
    response_model=FacetsResponse,
    responses=problems(400, 404, 413, 415, 422, 503),
)
@api("read", gate=True)
async def count_values(collection: str, body: FacetsRequest, context: Context) -> Response:
    """The most frequent values of a metadata field among the documents that a filter accepts, in the commit
    of 'generation' or a later one."""
    _check_most("/limit", body.limit, context.settings.max_limit)

    def job(engine: Engine) -> bytes:
        generation = engine.generation
        found = engine.facets(body.field, filter=body.filter, limit=body.limit)
        values = [FacetValue(value=json_value(value), count=count) for value, count in found]
        return (
            FacetsResponse(field=body.field, values=values, generation=generation).model_dump_json().encode()
        )

    return await _read(context, collection, job)


async def _read(context: AppContext, collection: str, job: Callable[[Engine], bytes]) -> Response:
    """What ``job`` makes of the engine. It renders on the thread too: a large answer must not hold up the
    event loop."""

    own = context.registry.resolve(collection)  # now: an alias may lead elsewhere when a thread is free

    def leased() -> bytes:
        with context.registry.lease(own) as engine:
            return job(engine)

    return Response(await context.pool.run(leased), media_type=MEDIA_TYPE)


def _item(document: Document, fields: Collection[HitField] = ALL_FIELDS) -> DocumentItem:
    """What was asked for; the rest stays unset, and so is not rendered."""
    values: dict[str, Any] = {"id": document.id}
    if "title" in fields:
        values["title"] = document.title
    if "text" in fields:
        values["text"] = document.text
    if "metadata" in fields:
        values["metadata"] = json_value(document.metadata)
    return DocumentItem(**values)


def _check_most(pointer: str, given: int, most: int) -> None:
    if given > most:
        raise invalid_request([(pointer, f"{given}; the most is {most}")])


def _check_path(request: Request) -> None:
    """Refuse a path that is no text: what cannot be decoded has been replaced, and so names another id."""
    raw = request.scope.get("raw_path") or b""
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ProblemError(400, "bad_path", "the id in the path is not UTF-8, percent-encoded") from None
