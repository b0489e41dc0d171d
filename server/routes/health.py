"""For whoever runs the server: does it live, may it be sent requests."""

from __future__ import annotations

from server.context import Context
from server.http.openapi import problems
from server.http.problems import RETRY_AFTER, ProblemError
from server.http.routing import api, make_router
from server.schemas.health import Live, Ready

__all__ = ["router"]

router = make_router("", "health")


@router.get("/livez", summary="The process answers", responses=problems())
@api(None)
async def livez() -> Live:
    """Answers as soon as the server listens, whatever it is loading."""
    return Live()


@router.get(
    "/readyz", summary="Every collection is ready", responses=problems(503), response_model_exclude_none=True
)
@api(None)
async def readyz(context: Context) -> Ready:
    """503 while a collection is loading or when one failed, and when the server has been told to stop. Which
    collections there are, and why one failed, is told where no keys are needed; else /v1/collections does."""
    if context.draining:
        told = "not ready: the server is stopping"
        raise ProblemError(503, "draining", told, headers=RETRY_AFTER)
    waiting, is_open = context.registry.not_ready(), context.access.is_open
    if waiting and not is_open:
        told = f"not ready: {len(waiting)} of {len(context.registry.all())} collections"
        raise ProblemError(503, "not_ready", told, headers=RETRY_AFTER)
    if waiting:
        told = "; ".join(f"{name}: {state}" for name, state in waiting.items())
        raise ProblemError(
            503, "not_ready", f"not ready: {told}", headers=RETRY_AFTER, members={"collections": waiting}
        )
    names = [collection.name for collection in context.registry.all()]
    return Ready(collections=names if is_open else None)
