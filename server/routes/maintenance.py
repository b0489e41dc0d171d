"""Upkeep of a collection: what a person may want done now."""

from __future__ import annotations

from fastapi import Request, Response

from retrieval import Engine
from server.collections.conversions import check_queries, diagnosing, verifying
from server.collections.describing import detail_of
from server.collections.lifecycle import reload
from server.context import Context
from server.http.openapi import problems
from server.http.routing import api, make_router
from server.routes.collections import start_compacting
from server.schemas.base import Empty
from server.schemas.collections import CollectionDetail, Conversion, Diagnosis, Flushed, Maintained
from server.schemas.tasks import Task
from server.tasks.answer import accepted

__all__ = ["router"]

router = make_router("/v1/collections", "maintenance")


@router.post(
    "/{collection}/compact",
    summary="Compact, convert, train",
    status_code=202,
    response_model=Task,
    responses=problems(404, 422, 429, 503),
)
@api("admin")
async def compact_collection(collection: str, body: Conversion, context: Context) -> Response:
    """One segment without deleted documents; with a precision or recipe it is converted, and what waits to be
    trained is trained. A task: searches and writes go on."""
    return await start_compacting(collection, body, context)


@router.post(
    "/{collection}/verify",
    summary="Check every byte",
    status_code=202,
    response_model=Task,
    responses=problems(404, 429, 503),
)
@api("admin")
async def verify_collection(collection: str, body: Empty, context: Context) -> Response:
    """A task; its result says whether all is 'ok', and lists 'problems'."""
    del body

    def submit() -> Response:
        own = context.registry.resolve(collection)
        return accepted(context.tasks.submit("verify", own, verifying(context, own)))

    return await context.pool.run(submit)


@router.post(
    "/{collection}/diagnose",
    summary="Try recipes on a sample",
    status_code=202,
    response_model=Task,
    responses=problems(404, 422, 429, 503),
)
@api("admin")
async def diagnose_collection(collection: str, body: Diagnosis, context: Context) -> Response:
    """A task; its result is a report on the vectors, and on the recall and cost of each recipe. Nothing is
    changed."""

    def submit() -> Response:
        check_queries(body.queries, context.settings)
        own = context.registry.resolve(collection)
        return accepted(context.tasks.submit("diagnose", own, diagnosing(context, own, body.queries)))

    return await context.pool.run(submit)


@router.post(
    "/{collection}/flush", summary="Write pending documents as a segment", responses=problems(404, 503)
)
@api("write")
async def flush_collection(collection: str, body: Empty, request: Request, context: Context) -> Flushed:
    """They are durable and searched anyway; in a segment they are searched faster."""
    del body

    def flush(engine: Engine, _waited_for: str | None) -> Flushed:
        return Flushed(documents=engine.flush(), generation=engine.inspect().generation)

    return await context.writers.in_turn(context.registry.resolve(collection), flush, request)


@router.post("/{collection}/maintain", summary="Do the upkeep that is due", responses=problems(404, 503))
@api("write")
async def maintain_collection(collection: str, body: Empty, request: Request, context: Context) -> Maintained:
    """What goes on in the background anyway: fold what is pending, merge small segments."""
    del body
    own = context.registry.resolve(collection)

    def maintain() -> Maintained:
        with context.registry.lease(own) as engine:
            done = engine.maintain()
            return Maintained(
                folded=done.folded, merges=done.merges, segments=done.segments, apart=done.apart
            )

    return await context.writers.after_writes(own, lambda: context.upkeep_pool.run(maintain), request)


@router.post(
    "/{collection}/reload", summary="Open a collection's folder anew", responses=problems(404, 409, 422, 503)
)
@api("admin", changes=False)
async def reload_collection(collection: str, body: Empty, context: Context) -> CollectionDetail:
    """For a folder that was replaced, or put into the data folder, behind the server's back. No request
    fails meanwhile: those that have begun end with the old one. A collection whose folder has gone is gone
    (404). Changes that are made through the API, or by another process to the same index, need no reload, and
    a read-only server sees by itself that a folder was replaced."""
    del body
    own = await context.admin_pool.run(lambda: reload(context, collection))
    return await context.pool.run(lambda: detail_of(context, own))
