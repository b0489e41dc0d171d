"""How a collection comes, goes, and is opened anew, at a request. Everything here blocks."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from retrieval import Encoder, EncoderConfig, Engine, GivenVectors, IndexConfig
from retrieval.errors import EncoderError, IndexExistsError
from server.collections.configs import check_fit, check_pooled, differences, given_vectors_of, index_config
from server.collections.describing import aliases_of
from server.collections.folders import DataFolder, identity_of
from server.collections.loading import Opener, warm
from server.collections.refusals import refusal, refusing
from server.context import AppContext
from server.documents.ingest import INGEST
from server.http.problems import RETRY_AFTER, ProblemError
from server.schemas.collections import CollectionConfig

__all__ = [
    "check_loaded",
    "check_name",
    "check_unserved",
    "create",
    "delete",
    "incarnation",
    "opener_of",
    "reload",
]


def create(context: AppContext, name: str, asked: CollectionConfig) -> bool:
    """Make an empty collection; False, if there is one with the same configuration.

    Nobody sees it before it is whole; a killed server leaves all of it or nothing.

    Raises:
        ProblemError: 409 config_differs, is_alias, name_taken, no_data_dir; 422 bad_config, unknown_model.
    """
    encoder = given_vectors_of(asked) or context.models.config(asked.encoder)
    config = index_config(asked)
    with context.registry.changing(name):
        check_name(context, name)
        if context.registry.get(name) is not None:
            _check_same(context, name, encoder, config)
            return False
        path = DataFolder(context.settings).own(name)
        check_unserved(context, name)
        loaded = _loaded(context, encoder)
        check_fit(asked, config, loaded.kind, loaded.dim)
        check_pooled(config, loaded)
        try:
            engine = Engine.create(path, loaded, config=config, runtime=context.settings.runtime())
        except IndexExistsError:
            raise _taken(name) from None
        try:
            warm(engine)
            incarnation(context, name, path, anew=True)
        except BaseException:
            engine.close()
            DataFolder(context.settings).throw_away(path)
            raise
        context.registry.add(name, path, engine)
    return True


def delete(context: AppContext, name: str) -> None:
    """Stop its tasks, wait for those that use it, close it, and remove its folder. Its snapshots stay.

    Raises:
        ProblemError: 404; 409 is_alias, collection_fixed, collection_has_aliases, collection_busy,
            no_data_dir; 503 loading.
    """
    registry, data = context.registry, DataFolder(context.settings)
    with registry.changing(name):
        check_name(context, name)
        registry.resolve(name)
        path = data.own(name)
        led = aliases_of(context).get(name)
        if led:
            told = f"collection '{name}' has the aliases {', '.join(led)}; delete or move them first"
            raise ProblemError(409, "collection_has_aliases", told, members={"aliases": led})
        check_loaded(context, name)
        _stop_tasks(context, name, but=INGEST)  # nothing is lost with them
        registry.remove(name)
        _stop_tasks(context, name)  # only now: what they were to write is gone with the collection
        with suppress(FileNotFoundError):  # somebody has removed it already
            data.throw_away(path)


def reload(context: AppContext, name: str) -> str:
    """Open the folder anew and serve that from now on; its own name.

    A folder that has come to ``data_dir`` since the start becomes a collection; one whose folder has
    gone is none any more. If it cannot be opened, what was served still is.

    Raises:
        ProblemError: 404; 503 loading; 422 unknown_model, bad_config.
        RetrievalError: the index cannot be opened.
    """
    registry = context.registry
    own = registry.true_name(name)
    with registry.changing(own):
        path = DataFolder(context.settings).find(own)
        if path is None and registry.get(own) is not None:
            check_loaded(context, own)
            registry.discard(own)
        if path is None:
            return registry.resolve(own)  # which says that there is none
        if registry.get(own) is not None:
            check_loaded(context, own)
        if not context.settings.read_only:
            incarnation(context, own, path)  # another one, if these are other files
        with refusing():
            engine = opener_of(context).open_asked(own, path)
        registry.add(own, path, engine)
    return own


def incarnation(context: AppContext, name: str, path: Path | None = None, *, anew: bool = False) -> str:
    """What a collection (its own name) is until it is deleted or restored: another then. ``path`` is its
    folder (None: that of what is served), ``anew`` that it has just become another. Blocks.

    Raises:
        ProblemError: 404; 503 loading, or collection_busy: it is being replaced; 500 store_failed.
        RetrievalError: the index cannot be read.
    """
    if path is None:
        with context.registry.lease(name) as engine:
            path = engine.path
    found = identity_of(path)
    if found is None:
        told = f"collection '{name}' is being replaced; try again"
        raise ProblemError(503, "collection_busy", told, headers=RETRY_AFTER)
    return f"{name} {context.store.incarnation(name, found, anew=anew)}"


def opener_of(context: AppContext) -> Opener:
    """What opens indexes as this server does."""
    return Opener(context.settings.runtime(), context.models)


def check_name(context: AppContext, name: str) -> None:
    """Refuse an alias where a collection's own name is needed.

    Raises:
        ProblemError: 409 is_alias.
    """
    own = context.registry.true_name(name)
    if own != name:
        told = f"'{name}' is an alias of collection '{own}'; name the collection, or delete the alias first"
        raise ProblemError(409, "is_alias", told)


def check_unserved(context: AppContext, name: str) -> None:
    """Refuse the name of an index that lies in ``data_dir`` without being served.

    Raises:
        ProblemError: 409 name_taken.
    """
    if DataFolder(context.settings).find(name) is not None:
        raise _taken(name)


def _loaded(context: AppContext, encoder: EncoderConfig | GivenVectors) -> Encoder:
    if isinstance(encoder, GivenVectors):
        return encoder
    try:
        return context.models.encoder(encoder)
    except EncoderError as error:  # a listed model, with settings that do not fit it
        raise refusal(error, "/encoder") from None


def _taken(name: str) -> ProblemError:
    told = (
        f"data_dir holds something else of the name '{name}' already; if it is an index, "
        f"POST /v1/collections/{name}/reload serves it"
    )
    return ProblemError(409, "name_taken", told)


def _check_same(
    context: AppContext, name: str, encoder: EncoderConfig | GivenVectors, config: IndexConfig
) -> None:
    with context.registry.lease(name) as engine:
        info = engine.inspect()
    found = differences(info, encoder, config, context.models)
    if found:
        where = ", ".join(each["pointer"] for each in found)
        told = f"collection '{name}' exists with another configuration ({where}); choose another name"
        raise ProblemError(409, "config_differs", told, members={"differences": found})


def check_loaded(context: AppContext, name: str) -> None:
    """Refuse to take away what is just being opened.

    Raises:
        ProblemError: 503 loading.
    """
    collection = context.registry.get(name)
    if collection is not None and collection.state == "loading":
        told = f"collection '{name}' is still loading; try again soon"
        raise ProblemError(503, "loading", told, headers=RETRY_AFTER)


def _stop_tasks(context: AppContext, name: str, *, but: str | None = None) -> None:
    """Cancel what waits or runs for a collection, except one kind."""
    for state in ("queued", "running"):
        after = None
        while True:
            page = context.tasks.list(state, [name], after, 1000)
            for record in page.records:
                if record.kind != but:
                    context.tasks.cancel(record.id)
            after = page.next_after
            if after is None:
                break
