"""The application factory: ``uvicorn server.app:create_app --factory``, or embedded in a program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI

from retrieval import Encoder
from retrieval.errors import ConfigError
from server.collections.folders import tidy
from server.collections.loading import Opener
from server.collections.models import Models
from server.collections.registry import Registry
from server.context import AppContext
from server.documents.idempotency import Idempotency
from server.documents.ingest import Ingestion
from server.documents.writers import Writers
from server.http.direct import Direct
from server.http.middleware import RequestContext
from server.http.openapi import describe
from server.http.problems import install_handlers
from server.observing.logs import make_logger
from server.observing.metrics import Metrics
from server.observing.tracing import TracedMetrics, Tracing, make_tracer
from server.routes import ROUTERS
from server.security.access import Access
from server.security.guard import Guard, SecurityHeaders
from server.settings import ServerSettings
from server.store.store import ServerStore
from server.tasks.manager import Tasks
from server.working.admission import Admission
from server.working.pool import WorkPool
from server.working.shedding import Refusal, Shedding, gated_names

__all__ = ["create_app", "open_store"]

DESCRIPTION = "Search collections with dense or late-interaction encoders, and see why a document was found."
STORE = "server.sqlite"
WRITERS = 2
"""Threads that write documents; those of one collection take turns anyway."""


def create_app(
    settings: ServerSettings | None = None, *, encoders: Mapping[str, Encoder] | None = None
) -> FastAPI:
    """An application that serves the collections of ``settings`` (default: from the environment).

    Models and indexes are opened when the application starts, on a thread: ``/livez`` answers at
    once, ``/readyz`` when all are open. ``encoders`` gives encoder objects by collection name, for
    indexes built with an encoder class of the caller's own; they are called from several threads.

    Raises:
        ConfigError: settings that cannot work, or an encoder for a collection that does not exist.
    """
    settings = settings or ServerSettings()
    paths = settings.collection_paths()
    given = dict(encoders or {})
    unknown = sorted(set(given) - set(paths))
    if unknown:
        raise ConfigError(f"encoders names '{unknown[0]}', which is no collection; known: {', '.join(paths)}")
    log = make_logger()
    for caution in settings.cautions():
        log.warning("caution", detail=caution)
    tracer = make_tracer() if settings.tracing else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context = make_context(settings, given, log, Metrics() if tracer is None else TracedMetrics(tracer))
        app.state.context = context
        loading = asyncio.create_task(context.load(Opener(settings.runtime(), context.models).open))
        try:
            yield
        finally:
            await context.close(loading)

    app = FastAPI(
        title="Retrieval",
        version=_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours is `server.observing`
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    _make_routes(app)
    install_handlers(app)
    # What connections ask for (`server.working.door`); the context is there once it has started.
    app.state.refusal = Refusal(gated_names(ROUTERS), settings.cors_origins)
    app.state.head_seconds = settings.header_seconds
    _surround(app, settings, log, tracer)
    describe(app, ROUTERS, settings)
    return app


def _make_routes(app: FastAPI) -> None:
    """Have FastAPI make now what it makes of its routes when a request first looks for one. That takes 50 ms,
    for which the first client would wait; and it silences warnings of the whole process meanwhile, as
    compiling does on the thread that opens indexes, so that the one would undo what the other has set."""
    nowhere = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(nowhere)


def _surround(app: FastAPI, settings: ServerSettings, log: Any, tracer: Any) -> None:
    """What stands around all routes; the last one added is the first to see a request."""
    app.add_middleware(Direct, routers=ROUTERS)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(RequestContext, log=log)
    app.add_middleware(Shedding, refusal=app.state.refusal)
    app.add_middleware(SecurityHeaders)
    if tracer is not None:
        app.add_middleware(Tracing, tracer=tracer)


def open_store(settings: ServerSettings) -> ServerStore:
    """What the server remembers; nothing beyond its own life, where it has no folder.

    Raises:
        ConfigError: another server has it, or it cannot be read or written.
    """
    at = None if settings.data_dir is None else settings.data_dir.expanduser() / STORE
    return ServerStore(at, read_only=settings.read_only)


def make_context(
    settings: ServerSettings, encoders: Mapping[str, Encoder], log: Any, metrics: Metrics
) -> AppContext:
    """Everything that the application holds while it runs; only the server's own store is opened yet."""
    store = open_store(settings)
    if settings.data_dir is not None and not settings.read_only:
        tidy(settings.data_dir.expanduser())  # before it is looked which collections there are
    access = Access(settings.all_keys)
    registry = Registry(settings.collection_paths(), store, log, tells_names=access.is_open)
    tasks = Tasks(store, log, metrics, max_waiting=settings.max_tasks)
    write_pool = WorkPool(WRITERS)
    writers = Writers(registry, tasks, write_pool, settings.max_in_flight)
    models = Models(settings, settings.runtime(), encoders)
    return AppContext(
        settings=settings,
        log=log,
        metrics=metrics,
        access=access,
        store=store,
        models=models,
        registry=registry,
        pool=WorkPool(settings.search_threads, model=models.thread),
        write_pool=write_pool,
        gate=Admission(settings.max_in_flight),
        write_gate=Admission(settings.max_in_flight),
        tasks=tasks,
        idempotency=Idempotency(store, log),
        writers=writers,
        ingestion=Ingestion(settings, store, registry, tasks, writers),
    )


def _version() -> str:
    try:
        return version("retrieval-engine")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
