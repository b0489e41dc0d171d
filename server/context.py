"""What an application holds while it runs, and how its routes reach it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from server.loading import Opener
from server.pool import SearchPool
from server.registry import Registry
from server.settings import ServerSettings

__all__ = ["AppContext", "Context"]


@dataclass(frozen=True, slots=True)
class AppContext:
    """One per application; made when it starts."""

    settings: ServerSettings
    registry: Registry
    pool: SearchPool
    log: Any

    async def load(self, opener: Opener) -> None:
        """Open all collections on a thread of its own, so that the event loop answers meanwhile."""
        await asyncio.to_thread(self.registry.load, opener.open)

    async def close(self, loading: asyncio.Task[None]) -> None:
        """Stop loading, let running searches end, close every engine."""
        self.registry.stop()
        await loading
        await asyncio.to_thread(self.pool.close)
        await asyncio.to_thread(self.registry.close)


async def _of(request: Request) -> AppContext:
    return cast(AppContext, request.app.state.context)


Context = Annotated[AppContext, Depends(_of)]
