"""Copies of a collection, to download and to go back to."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import FileResponse

from server.collections.folders import DataFolder
from server.collections.snapshots import Snapshots, check_target, new_name, restoring, snapshotting
from server.context import AppContext, Context
from server.http.openapi import problems
from server.http.paging import PageQuery, page_of
from server.http.ranges import check_range
from server.http.routing import api, make_router
from server.schemas.collections import RestoreRequest, SnapshotList, SnapshotRequest
from server.schemas.tasks import Task
from server.tasks.answer import accepted

__all__ = ["router"]

router = make_router("/v1/collections/{collection}/snapshots", "snapshots")

TAR = "application/x-tar"
_FILE = {
    "description": "the file, which 'retrieval import' takes too",
    "content": {TAR: {"schema": {"type": "string", "format": "binary"}}},
}


@router.get("", summary="List the snapshots of a collection", responses=problems(404, 409, 422))
@api("read")
async def list_snapshots(
    collection: str, context: Context, query: Annotated[PageQuery, Query()]
) -> SnapshotList:
    """By name. Those of a deleted collection stay, under its name."""

    def listed() -> SnapshotList:
        found = _of(context, collection).all()
        if not found:
            context.registry.resolve(collection)
        shown, next_cursor = page_of(found, lambda each: each.name, query)
        return SnapshotList(snapshots=list(shown), next_cursor=next_cursor)

    return await context.pool.run(listed)


@router.post(
    "",
    summary="Make a snapshot",
    status_code=202,
    response_model=Task,
    responses=problems(404, 409, 422, 429, 503),
)
@api("admin")
async def make_snapshot(collection: str, body: SnapshotRequest, context: Context) -> Response:
    """A task: the last commit as one file on the server, while requests go on. Its result is what the list
    tells of it."""

    def submit() -> Response:
        own = context.registry.resolve(collection)
        snapshots = Snapshots(DataFolder(context.settings), own)
        with context.registry.lease(own) as engine:
            name = body.name or new_name(engine.inspect().generation)
        snapshots.check_free(name)
        return accepted(context.tasks.submit("snapshot", own, snapshotting(context, own, name)))

    return await context.pool.run(submit)


@router.get(
    "/{snapshot}",
    summary="Download a snapshot",
    response_class=FileResponse,
    responses={200: _FILE, **problems(404, 409)},
)
@api("admin")
async def download_snapshot(collection: str, snapshot: str, request: Request, context: Context) -> Response:
    """One uncompressed tar; ranges of bytes may be asked for."""
    own = context.registry.true_name(collection)
    item, file = await context.pool.run(lambda: _of(context, collection).get(snapshot))
    check_range(request, item.bytes)
    return FileResponse(file, media_type=TAR, filename=f"{own}-{snapshot}.tar")


@router.delete(
    "/{snapshot}",
    summary="Delete a snapshot",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409),
)
@api("admin")
async def delete_snapshot(collection: str, snapshot: str, context: Context) -> Response:
    """A download that has begun goes on."""
    await context.admin_pool.run(lambda: _of(context, collection).delete(snapshot))
    return Response(status_code=204)


@router.post(
    "/{snapshot}/restore",
    summary="Restore a snapshot",
    status_code=202,
    response_model=Task,
    responses=problems(404, 409, 429, 503),
)
@api("admin")
async def restore_snapshot(
    collection: str, snapshot: str, body: RestoreRequest, request: Request, context: Context
) -> Response:
    """A task. The collection goes back to the snapshot in one step, and no search fails meanwhile; what was
    written since, or is written before the task ends, is lost. With another name in 'collection', which must
    be free (the key needs admin for it too), a new collection is made. The model must be one that requests
    may name, or loaded already."""

    def submit() -> Response:
        own = context.registry.true_name(collection)
        target = body.collection or own
        request.state.principal.require("admin", target)
        _of(context, own).get(snapshot)
        check_target(context, own, target)
        return accepted(context.tasks.submit("restore", target, restoring(context, own, snapshot, target)))

    return await context.pool.run(submit)


def _of(context: AppContext, collection: str) -> Snapshots:
    return Snapshots(DataFolder(context.settings), context.registry.true_name(collection))
