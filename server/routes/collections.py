"""What can be searched."""

from __future__ import annotations

from fastapi import APIRouter

from retrieval import Engine
from server.context import Context
from server.openapi import problems
from server.registry import Collection
from server.schemas import CollectionDetail, CollectionList, CollectionSummary

__all__ = ["router"]

router = APIRouter(prefix="/v1/collections", tags=["collections"])


@router.get("", summary="List the collections", responses=problems(), response_model_exclude_none=True)
async def list_collections(context: Context) -> CollectionList:
    """Every collection, also those still loading and those that failed."""
    found = context.registry.all()
    return await context.pool.run(lambda: CollectionList(collections=[_summary(each) for each in found]))


@router.get("/{collection}", summary="Describe a collection", responses=problems(404, 503))
async def get_collection(collection: str, context: Context) -> CollectionDetail:
    """Size, encoder, metric and metadata fields of one collection."""
    engine = context.registry.engine(collection)
    return await context.pool.run(lambda: _detail(collection, engine))


def _summary(collection: Collection) -> CollectionSummary:
    engine = collection.engine
    return CollectionSummary(
        name=collection.name,
        state=collection.state,
        detail=collection.detail,
        kind=None if engine is None else engine.kind,
        documents=None if engine is None else len(engine),
    )


def _detail(name: str, engine: Engine) -> CollectionDetail:
    info = engine.inspect()
    return CollectionDetail(
        name=name,
        kind=engine.kind,
        metric=info.metric,
        dim=info.dim,
        precision=info.precision,
        documents=info.documents,
        tokens=info.tokens,
        segments=info.segments,
        bytes=info.bytes,
        encoder=info.encoder["name"] if info.encoder else None,
        fields=info.fields,
        generation=info.generation,
        created_at=info.created_at,
    )
