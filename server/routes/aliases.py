"""Other names of collections, which can be moved in one step."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from server.collections.aliases import change
from server.context import Context
from server.http.openapi import problems
from server.http.paging import PageQuery, page_of
from server.http.routing import api, make_router
from server.schemas.collections import (
    AliasAction,
    AliasActions,
    AliasChanged,
    AliasItem,
    AliasList,
    AliasTarget,
)
from server.security.access import Principal
from server.settings import COLLECTION_NAME

__all__ = ["router"]

router = make_router("/v1/aliases", "aliases")

AliasName = Annotated[str, Path(pattern=COLLECTION_NAME)]


@router.get("", summary="List the aliases", responses=problems(422))
@api("read")
async def list_aliases(request: Request, context: Context, query: Annotated[PageQuery, Query()]) -> AliasList:
    """By name, those of collections that the key may read."""
    return await context.pool.run(lambda: _listed(context, request.state.principal, query))


@router.put("/{alias}", summary="Point an alias at a collection", responses=problems(404, 409, 422))
@api("admin")
async def put_alias(alias: AliasName, body: AliasTarget, request: Request, context: Context) -> AliasChanged:
    """It is made, or moved in one step. The key needs the scope admin for the alias's name, the collection,
    and the one that it led to."""
    action = AliasAction(action="put", alias=alias, collection=body.collection)
    before = await context.admin_pool.run(lambda: change(context, request.state.principal, [action]))
    return AliasChanged(alias=alias, collection=body.collection, previous=before[alias])


@router.delete(
    "/{alias}",
    summary="Delete an alias",
    status_code=204,
    response_class=Response,
    responses=problems(404),
)
@api("admin")
async def delete_alias(alias: str, request: Request, context: Context) -> Response:
    """The collection stays."""
    action = AliasAction.model_construct(action="delete", alias=alias, collection=None)
    await context.admin_pool.run(lambda: change(context, request.state.principal, [action]))
    return Response(status_code=204)


@router.post("", summary="Change several aliases together", responses=problems(404, 409, 422))
@api("admin")
async def change_aliases(body: AliasActions, request: Request, context: Context) -> AliasList:
    """All or nothing, in this order; the answer is all aliases that the key may read."""
    principal = request.state.principal
    await context.admin_pool.run(lambda: change(context, principal, body.actions))
    return await context.pool.run(lambda: _listed(context, principal, None))


def _listed(context: Context, principal: Principal, query: PageQuery | None) -> AliasList:
    all_of_them = context.store.aliases().items()
    items = [AliasItem(alias=alias, collection=to) for alias, to in all_of_them if principal.may("read", to)]
    if query is None:
        return AliasList(aliases=items)
    shown, next_cursor = page_of(items, lambda each: each.alias, query)
    return AliasList(aliases=list(shown), next_cursor=next_cursor)
