"""Which models there are."""

from __future__ import annotations

from server.context import Context
from server.http.openapi import problems
from server.http.routing import api, make_router
from server.schemas.models import ModelItem, ModelList

__all__ = ["router"]

router = make_router("/v1/models", "models")


@router.get("", summary="List the models", responses=problems(), response_model_exclude_none=True)
@api("read")
async def list_models(context: Context) -> ModelList:
    """What a request may name as 'encoder' or 'model': the server's setting 'models', as far as it is on this
    machine."""

    def listed() -> ModelList:
        known = context.models.described()
        return ModelList(data=[ModelItem(id=each.name, kind=each.kind, dim=each.dim) for each in known])

    return await context.pool.run(listed)
