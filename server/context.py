"""What an application holds while it runs, and how its routes reach it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from retrieval import Engine
from server.collections.following import Follower
from server.collections.loading import Opener
from server.collections.models import Models
from server.collections.registry import Registry
from server.documents.idempotency import Idempotency
from server.documents.ingest import Ingestion
from server.documents.writers import Writers
from server.security.access import Access
from server.settings import ServerSettings
from server.store.store import ServerStore
from server.tasks.manager import Tasks
from server.working.admission import Admission
from server.working.pool import WorkPool

if TYPE_CHECKING:
    from server.observing.metrics import Metrics

__all__ = ["AppContext", "Context"]

ADMINS, LOADERS, UPKEEPERS = 8, 4, 2
"""Threads that make, remove and open collections; that wait for a model that is loaded because a request
names it; and that merge because one asks for it."""


@dataclass(slots=True)
class AppContext:
    """One per application; made when it starts. Only ``draining`` changes.

    ``pool`` and ``gate`` are for what reads, ``write_pool`` and ``write_gate`` for what writes,
    ``admin_pool`` for what opens or takes away collections and models, ``upkeep_pool`` for upkeep: none
    keeps the others waiting. ``streams`` counts the streams of events.
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
    writers: Writers
    ingestion: Ingestion
    draining: bool = False
    admin_pool: WorkPool = field(default_factory=lambda: WorkPool(ADMINS, encoders=LOADERS))
    upkeep_pool: WorkPool = field(default_factory=lambda: WorkPool(UPKEEPERS, encoders=1))
    streams: Admission = field(init=False)
    _follower: Follower | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.streams = Admission(self.settings.max_streams)

    async def load(self, open_collection: Callable[[str, Path], Engine]) -> None:
        """Open all collections on a thread of its own, so that the event loop answers meanwhile."""
        if self.settings.read_only:
            opener = Opener(self.settings.runtime(), self.models)
            self._follower = Follower(self.registry, opener.open_asked, self.log)
        await asyncio.to_thread(self.registry.load, open_collection)
        if self._follower is None:
            await asyncio.to_thread(self.tasks.resume_unfinished)
        else:
            self._follower.start()

    async def close(self, loading: asyncio.Task[None]) -> None:
        """Stop loading, let what runs end, close every engine."""
        self.draining = True
        self.registry.stop()
        await loading
        if self._follower is not None:
            await asyncio.to_thread(self._follower.stop)
        await self.idempotency.finish()
        await asyncio.to_thread(self.idempotency.close)
        await asyncio.to_thread(self.tasks.close, self.settings.drain_seconds)
        for pool in (self.pool, self.write_pool, self.admin_pool, self.upkeep_pool):
            await asyncio.to_thread(pool.close)
        await asyncio.to_thread(self.models.close)
        await asyncio.to_thread(self.registry.close)
        await asyncio.to_thread(self.store.close)


async def _of(request: Request) -> AppContext:
    return cast(AppContext, request.app.state.context)


Context = Annotated[AppContext, Depends(_of)]
