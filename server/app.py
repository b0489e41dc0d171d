"""The application factory: ``uvicorn server.app:create_app --factory``, or embedded in a program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from retrieval import Encoder
from retrieval.errors import ConfigError
from server.context import AppContext
from server.loading import Opener
from server.logs import make_logger
from server.middleware import BodyLimit, RequestContext
from server.openapi import describe
from server.pool import SearchPool
from server.problems import install_handlers
from server.registry import Registry
from server.routes import collections, health, search
from server.settings import ServerSettings

__all__ = ["create_app"]

DESCRIPTION = "Search collections with dense or late-interaction encoders, and see why a document was found."


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

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context = AppContext(settings, Registry(paths, log), SearchPool(settings.search_threads), log)
        app.state.context = context
        loading = asyncio.create_task(context.load(Opener(settings.runtime(), given)))
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
    )
    for router in (health.router, collections.router, search.router):
        app.include_router(router)
    install_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestContext, log=log)
    describe(app, settings)
    return app


def _version() -> str:
    try:
        return version("retrieval-engine")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
