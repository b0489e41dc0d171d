"""The routes, one module a subject."""

from server.routes import (
    aliases,
    collections,
    compat,
    docs,
    documents,
    health,
    maintenance,
    metrics,
    models,
    page,
    search,
    snapshots,
    tasks,
)

__all__ = ["ROUTERS"]

ROUTERS = tuple(
    module.router
    for module in (
        search,
        health,
        metrics,
        collections,
        maintenance,
        snapshots,
        aliases,
        documents,
        tasks,
        models,
        compat,
        docs,
        page,
    )
)
"""In the order in which they are described, and looked through: what must be fast comes first."""
