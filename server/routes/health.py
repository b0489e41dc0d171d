"""For whoever runs the server: does it live, may it be sent requests."""

from __future__ import annotations

from server.context import Context
from server.openapi import problems
from server.problems import RETRY_AFTER, ProblemError
from server.routing import api, make_router
from server.schemas.health import Live, Ready

__all__ = ["router"]

router = make_router("", "health")


@router.get("/livez", summary="The process answers", responses=problems())
@api(None)
async def livez() -> Live:
    """Answers as soon as the server listens, whatever it is loading."""
    return Live()


@router.get("/readyz", summary="Every collection is ready", responses=problems(503))
@api(None)
async def readyz(context: Context) -> Ready:
    """503 while a collection is loading or when one failed ('collections' says which and why), and when the
    server has been told to stop."""
    if context.draining:
        told = "not ready: the server is stopping"
        raise ProblemError(503, "draining", told, headers=RETRY_AFTER)
    waiting = context.registry.not_ready()
    if waiting:
        told = "; ".join(f"{name}: {state}" for name, state in waiting.items())
        raise ProblemError(
            503, "not_ready", f"not ready: {told}", headers=RETRY_AFTER, members={"collections": waiting}
        )
    return Ready(collections=[collection.name for collection in context.registry.all()])
