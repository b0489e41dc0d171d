"""Ask a collection."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response

from server.answer import answer
from server.bodies import JsonRoute
from server.context import Context
from server.openapi import problems
from server.problems import invalid_request
from server.schemas import SearchRequest, SearchResponse
from server.settings import ServerSettings

__all__ = ["router"]

router = APIRouter(prefix="/v1/collections", tags=["search"], route_class=JsonRoute)


@router.post(
    "/{collection}/search",
    summary="Search a collection",
    response_model=SearchResponse,
    responses=problems(400, 404, 413, 415, 422, 503),
)
async def search(collection: str, body: SearchRequest, context: Context) -> Response:
    """The best documents for a text query, best first; with 'explain', which tokens matched."""
    arrived = time.perf_counter()
    engine = context.registry.engine(collection)
    _check_limits(body, context.settings)
    # Rendered on the pool's thread too: a large answer must not hold up the event loop.
    content = await context.pool.run(lambda: answer(engine, body, arrived, context.log))
    return Response(content, media_type="application/json")


def _check_limits(body: SearchRequest, settings: ServerSettings) -> None:
    found = []
    if len(body.query) > settings.max_query_chars:
        found.append(("/query", f"{len(body.query)} characters; the most is {settings.max_query_chars}"))
    if body.limit > settings.max_limit:
        found.append(("/limit", f"{body.limit} hits; the most is {settings.max_limit}"))
    elif body.explain and body.limit > settings.max_explained:
        found.append(("/limit", f"{body.limit} hits; the most is {settings.max_explained} with 'explain'"))
    if found:
        raise invalid_request(found)
