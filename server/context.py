"""What an application holds while it runs, and how its routes reach it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from retrieval import Engine
from server.collections.models import Models
from server.collections.registry import Registry
from server.documents.idempotency import Idempotency
from server.documents.ingest import Ingestion
from server.security.access import Access
from server.settings import ServerSettings
from server.store.store import ServerStore
from server.tasks.manager import Tasks
from server.working.admission import Admission
from server.working.pool import WorkPool

if TYPE_CHECKING:
    from server.observing.metrics import Metrics

__all__ = ["AppContext", "Context"]


@dataclass(slots=True)
class AppContext:
    """One per application; made when it starts. Only ``draining`` changes.

    ``pool`` and ``gate`` are for what reads, ``write_pool`` and ``write_gate`` for what writes: neither
    keeps the other waiting.
    """

    settings: ServerSettings
    log: Any
    metrics: Metrics
    access: Access
    store: ServerStore
    models: Models
    registry: Registry
    pool: WorkPool
    write_pool: WorkPool
    gate: Admission
    write_gate: Admission
    tasks: Tasks
    idempotency: Idempotency
    ingestion: Ingestion
    draining: bool = False

    async def load(self, open_collection: Callable[[str, Path], Engine]) -> None:
        """Open all collections on a thread of its own, so that the event loop answers meanwhile."""
        await asyncio.to_thread(self.registry.load, open_collection)
        if not self.settings.read_only:
            await asyncio.to_thread(self.tasks.resume_unfinished)

    async def close(self, loading: asyncio.Task[None]) -> None:
        """Stop loading, let what runs end, close every engine."""
        self.draining = True
        self.registry.stop()
        await loading
        await self.idempotency.finish()
        await asyncio.to_thread(self.tasks.close, self.settings.drain_seconds)
        await asyncio.to_thread(self.pool.close)
        await asyncio.to_thread(self.write_pool.close)
        await asyncio.to_thread(self.models.close)
        await asyncio.to_thread(self.registry.close)
        await asyncio.to_thread(self.store.close)


async def _of(request: Request) -> AppContext:
    return cast(AppContext, request.app.state.context)


Context = Annotated[AppContext, Depends(_of)]
