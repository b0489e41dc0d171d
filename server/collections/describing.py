"""What is told of a collection."""

from __future__ import annotations

from retrieval import IndexInfo
from retrieval.encode import GIVEN, GivenVectors
from retrieval.errors import RetrievalError
from retrieval.training import advice
from server.collections.registry import Collection
from server.context import AppContext
from server.http.problems import ProblemError
from server.schemas.collections import CollectionDetail, CollectionSummary

__all__ = ["aliases_of", "detail_of", "summary_of"]


def aliases_of(context: AppContext) -> dict[str, list[str]]:
    """Collection -> its aliases."""
    found: dict[str, list[str]] = {}
    for alias, collection in context.store.aliases().items():
        found.setdefault(collection, []).append(alias)
    return found


def summary_of(context: AppContext, collection: Collection, aliases: list[str]) -> CollectionSummary:
    """A line of the list; fields that do not apply are unset. Blocks."""
    told = CollectionSummary(name=collection.name, state=collection.state, aliases=aliases)
    if collection.detail is not None:
        told.detail = collection.detail
    try:
        with context.registry.lease(collection.name) as engine:
            told.kind, told.documents = engine.kind, len(engine)
    except (ProblemError, RetrievalError):
        pass  # it is loading, has failed, or has just been deleted
    return told


def detail_of(context: AppContext, name: str) -> CollectionDetail:
    """All that is known of a collection or alias. Blocks.

    Raises:
        ProblemError: 404, 503.
    """
    own = context.registry.resolve(name)
    with context.registry.lease(own) as engine:
        info = engine.inspect()
    quality = info.quality
    return CollectionDetail(
        name=own,
        kind=engine.kind,
        metric=info.metric,
        dim=info.dim,
        precision=info.precision,
        pooling=info.pooling,
        documents=info.documents,
        pending=info.pending,
        deleted=info.deleted,
        tokens=info.tokens,
        segments=info.segments,
        bytes=info.bytes,
        encoder=_encoder_name(context, info),
        fields=info.fields,
        generation=info.generation,
        created_at=info.created_at,
        format_version=info.format_version,
        aliases=aliases_of(context).get(own, []),
        writable=not context.settings.read_only,
        recipe=info.recipe,
        quality=dict(quality) if quality else None,
        strain=info.strain,
        unarranged=info.unarranged,
        advice=advice(info),
    )


def _encoder_name(context: AppContext, info: IndexInfo) -> str | None:
    if info.encoder is None:
        return None if GivenVectors.of(info.fingerprint) is None else GIVEN
    return context.models.name_of(info.encoder) or str(info.encoder["name"])
