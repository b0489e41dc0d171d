"""For whoever watches the server."""

from __future__ import annotations

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from server.context import Context
from server.http.openapi import problems
from server.http.routing import api, make_router

__all__ = ["router"]

router = make_router("", "health")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={**problems(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
@api("read")
async def metrics(request: Request, context: Context) -> Response:
    """Requests, stages, queues, collections, models and tasks, in Prometheus' text format."""
    principal = request.state.principal
    content = await context.pool.run(
        lambda: context.metrics.text(context, lambda name: principal.may("read", name))
    )
    return Response(content, media_type=CONTENT_TYPE_PLAIN_0_0_4)
