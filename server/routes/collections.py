"""What can be searched: collections come, change and go."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from server.collections.conversions import check_queries, compacting
from server.collections.describing import aliases_of, detail_of, summary_of
from server.collections.lifecycle import create, delete
from server.context import Context
from server.http.openapi import problems
from server.http.paging import PageQuery, page_of
from server.http.routing import api, make_router
from server.schemas.collections import CollectionConfig, CollectionDetail, CollectionList, Conversion
from server.schemas.tasks import Task
from server.settings import COLLECTION_NAME
from server.tasks.answer import accepted

__all__ = ["router"]

router = make_router("/v1/collections", "collections")

NewName = Annotated[str, Path(pattern=COLLECTION_NAME, description="the collection's own name")]


@router.get("", summary="List the collections", responses=problems(422), response_model_exclude_unset=True)
@api("read")
async def list_collections(
    request: Request, context: Context, query: Annotated[PageQuery, Query()]
) -> CollectionList:
    """By name, those that the key may read; also those still loading and those that failed."""

    def listed() -> CollectionList:
        may = request.state.principal.may
        readable = [each for each in context.registry.all() if may("read", each.name)]
        shown, next_cursor = page_of(readable, lambda each: each.name, query)
        led = aliases_of(context)
        told = [summary_of(context, each, led.get(each.name, [])) for each in shown]
        return CollectionList(collections=told, next_cursor=next_cursor)

    return await context.pool.run(listed)


@router.put(
    "/{collection}",
    summary="Create a collection",
    status_code=201,
    response_model=CollectionDetail,
    responses={
        200: {"model": CollectionDetail, "description": "there is one with this configuration already"},
        **problems(409, 422, 503),
    },
)
@api("admin")
async def put_collection(
    collection: NewName, body: CollectionConfig, context: Context, response: Response
) -> CollectionDetail:
    """Make an empty collection in the server's data folder; it is there whole or not at all.

    The same request again answers 200. What is to be trained (a preset, int8) waits for documents: until a
    'compact' every document is scored, and 'advice' says so. 409 config_differs lists what differs in
    'differences'.
    """
    made = await context.admin_pool.run(lambda: create(context, collection, body))
    response.status_code = 201 if made else 200
    return await context.pool.run(lambda: detail_of(context, collection))


@router.get("/{collection}", summary="Describe a collection", responses=problems(404, 503))
@api("read")
async def get_collection(collection: str, context: Context) -> CollectionDetail:
    """Sizes, encoder, recipe, what was measured of it, and what should be done."""
    return await context.pool.run(lambda: detail_of(context, collection))


@router.patch(
    "/{collection}",
    summary="Change how a collection is stored and found",
    status_code=202,
    response_model=Task,
    responses=problems(404, 422, 429, 503),
)
@api("admin")
async def patch_collection(collection: str, body: Conversion, context: Context) -> Response:
    """Compact it with another precision or recipe: a task, during which it is searched as before. The same as
    POST compact."""
    return await start_compacting(collection, body, context)


@router.delete(
    "/{collection}",
    summary="Delete a collection",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409, 503),
)
@api("admin")
async def delete_collection(collection: str, context: Context) -> Response:
    """Its tasks are cancelled, requests that are being served end first. Its snapshots stay until they are
    deleted themselves. Not with an alias, and not one that is named in the server's settings."""
    await context.admin_pool.run(lambda: delete(context, collection))
    return Response(status_code=204)


async def start_compacting(collection: str, body: Conversion, context: Context) -> Response:
    """202 with the task."""

    def submit() -> Response:
        check_queries(body.queries, context.settings)
        own = context.registry.resolve(collection)
        return accepted(context.tasks.submit("compact", own, compacting(context, own, body)))

    return await context.pool.run(submit)
