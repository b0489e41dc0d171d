"""Which collections there are, and how far each has come."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retrieval import Engine
from retrieval.errors import IndexFolderError, IndexNotFoundError, RetrievalError
from server.collections.folders import has_index
from server.collections.leases import Leases
from server.http.problems import RETRY_AFTER, ProblemError
from server.schemas.collections import CollectionState
from server.settings import COLLECTION_NAME

__all__ = ["Collection", "OpenCollection", "Registry"]

MAX_NAMED = 20
PATIENCE_SECONDS = 30.0

OpenCollection = Callable[[str, Path], Engine]
"""Opens the index of a collection, and warms it."""


class Aliases(Protocol):
    """Who knows what other names lead to (`server.store.store.ServerStore`)."""

    def alias(self, name: str) -> str | None:
        """The collection, or None where there is no such alias."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection at one moment; replaced as a whole when it changes, so readers need no lock.

    The engine may be closed at any time: `Registry.lease` keeps it open.
    """

    name: str
    path: Path
    state: CollectionState = "loading"
    engine: Engine | None = None
    detail: str | None = None


class Registry:
    """The collections by name. Any thread may call.

    A collection's own name wins over an alias. ``tells_names``: who asks for what is not there is told what
    is; not where some may not know of all.
    """

    def __init__(
        self, paths: Mapping[str, Path], aliases: Aliases, log: Any, *, tells_names: bool = True
    ) -> None:
        self._aliases, self._log, self._tells_names = aliases, log, tells_names
        self._collections = {name: Collection(name, path) for name, path in sorted(paths.items())}
        self._leases = Leases()
        self._changing: set[str] = set()
        self._changed = threading.Condition()
        self._stopped = threading.Event()

    # -- asking -------------------------------------------------------------------------------

    def all(self) -> list[Collection]:
        """Every collection, by name."""
        return list(self._collections.values())

    def get(self, name: str) -> Collection | None:
        """The collection of this name, which is no alias; None: there is none."""
        return self._collections.get(name)

    def true_name(self, name: str) -> str:
        """The collection that an alias leads to, or the name itself, whether or not there is one."""
        if name in self._collections or not re.fullmatch(COLLECTION_NAME, name):
            return name
        return self._aliases.alias(name) or name

    def resolve(self, name: str) -> str:
        """The own name of the collection that ``name`` leads to.

        Raises:
            ProblemError: 404 unknown_collection.
        """
        own = self.true_name(name)
        if own not in self._collections:
            led = f" (where the alias '{name}' leads)" if own != name else ""
            raise ProblemError(
                404, "unknown_collection", f"there is no collection '{own}'{led}; {self._known()}"
            )
        return own

    @contextmanager
    def lease(self, name: str) -> Iterator[Engine]:
        """The open engine of a collection or alias, which is not closed meanwhile.

        Raises:
            ProblemError: 404 for an unknown name, 503 while it is loading or after it failed; as `excusing`.
        """
        own = self.resolve(name)
        held = self._leases.begin(own)
        if held is None:
            raise self._not_open(self.resolve(own))
        try:
            with self.excusing(own, held.engine):
                yield held.engine
        finally:
            self._leases.end(held)

    @contextmanager
    def excusing(self, own: str, engine: Engine) -> Iterator[None]:
        """503 in place of what the work inside makes of a folder that was replaced: by a restore, or by hand.

        Raises:
            ProblemError: 503 collection_busy.
        """
        try:
            yield
        except IndexFolderError as error:
            now = self._collections.get(own)
            # An engine that finds another catalog says that its own is not there.
            is_there = isinstance(error, IndexNotFoundError) and has_index(engine.path)
            if now is not None and now.engine is engine and own not in self._changing and not is_there:
                raise
            told = f"collection '{own}' was being replaced; try again"
            raise ProblemError(503, "collection_busy", told, headers=RETRY_AFTER) from None

    def not_ready(self) -> dict[str, str]:
        """What is in the way of readiness: collection name -> 'loading', or why it failed."""
        return {
            collection.name: collection.detail or collection.state
            for collection in self.all()
            if collection.state != "ready"
        }

    # -- changing -----------------------------------------------------------------------------

    @contextmanager
    def changing(self, *names: str, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
        """Be the only one that creates, removes or replaces what has one of these names. Blocks.

        Raises:
            ProblemError: 503 collection_busy, another one does for longer than ``patience`` seconds.
        """
        wanted = set(names)
        with self._changed:
            if not self._changed.wait_for(lambda: not wanted & self._changing, patience):
                busy = ", ".join(f"'{name}'" for name in sorted(wanted & self._changing))
                told = f"{busy} is being created, removed or replaced by another request; try again soon"
                raise ProblemError(503, "collection_busy", told, headers=RETRY_AFTER)
            self._changing |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._changing -= wanted
                self._changed.notify_all()

    def add(self, name: str, path: Path, engine: Engine) -> None:
        """Serve an open engine under a name, in place of the one that has it now."""
        with self._changed:
            self._leases.put(name, engine)  # first: what is told to be ready can be had
            self._put(Collection(name, path, "ready", engine))

    def swap(self, name: str, open_collection: OpenCollection) -> None:
        """Open the collection's folder anew and serve that. The caller is `changing` the name. Blocks.

        Raises:
            RetrievalError: it cannot be opened; what was served still is.
        """
        path = self._collections[name].path
        self.add(name, path, open_collection(name, path))

    def remove(self, name: str, patience: float = PATIENCE_SECONDS) -> None:
        """Serve it no longer, wait until nobody uses it, and close it. Blocks.

        Meanwhile it is busy (503), not unknown: it may stay after all, and nobody should give up on it.

        Raises:
            ProblemError: 409 collection_busy, it is used for longer than ``patience`` seconds; it is there
                as before.
        """
        try:
            engine = self._leases.take(name, patience)
        except TimeoutError:
            told = f"collection '{name}' is still being used after {patience:g} s; try again later"
            raise ProblemError(409, "collection_busy", told, headers=RETRY_AFTER) from None
        self._take_out(name)
        if engine is not None:
            engine.close()

    def fail(self, name: str, path: Path, error: Exception) -> None:
        """Say why a collection cannot be served. What was served under the name is not any more, and is
        closed when nobody uses it."""
        is_ours = isinstance(error, RetrievalError | ProblemError)
        detail = str(error) if is_ours else "unexpected error; the server's log has it"
        unexpected = None if is_ours else error
        self._log.error("collection failed", collection=name, detail=detail, exc_info=unexpected)
        with self._changed:
            self._put(Collection(name, path, "failed", detail=detail))
            self._leases.put_away(name)

    def discard(self, name: str) -> None:
        """Serve it no longer; it is closed when nobody uses it any more."""
        self._take_out(name)
        self._leases.put_away(name)

    # -- beginning and end --------------------------------------------------------------------

    def load(self, open_collection: OpenCollection) -> None:
        """Open every collection. One that fails is marked, logged, and leaves the others alone. Blocks."""
        for collection in self.all():
            if self._stopped.is_set():
                return
            self._load_one(collection, open_collection)

    def stop(self) -> None:
        """Let `load` end after the collection it is at."""
        self._stopped.set()

    def close(self) -> None:
        """Close every engine; nobody may be using one."""
        self._leases.close()

    # -- inside -------------------------------------------------------------------------------

    def _load_one(self, collection: Collection, open_collection: OpenCollection) -> None:
        name, path, started = collection.name, collection.path, time.monotonic()
        try:
            engine = open_collection(name, path)
        except Exception as error:  # noqa: BLE001 - one broken collection must not take the others down
            self.fail(name, path, error)
        else:
            self.add(name, path, engine)
            # With the model's loading and a first query: seconds more where kernels had to be compiled.
            seconds = round(time.monotonic() - started, 3)
            self._log.info("collection ready", collection=name, seconds=seconds)

    def _put(self, collection: Collection) -> None:
        """Replaced as a whole, so that readers need no lock."""
        now = {**self._collections, collection.name: collection}
        self._collections = dict(sorted(now.items()))

    def _take_out(self, name: str) -> None:
        with self._changed:
            self._collections = {each: kept for each, kept in self._collections.items() if each != name}

    def _not_open(self, name: str) -> ProblemError:
        collection = self._collections.get(name)
        if collection is not None and collection.state == "failed":
            told = f"collection '{name}' could not be opened: {collection.detail}"
            return ProblemError(503, "collection_failed", told)
        if collection is not None and collection.state == "ready":
            told = f"collection '{name}' is being removed; try again soon"
            return ProblemError(503, "collection_busy", told, headers=RETRY_AFTER)
        told = f"collection '{name}' is still loading; try again soon"
        return ProblemError(503, "loading", told, headers=RETRY_AFTER)

    def _known(self) -> str:
        if not self._tells_names:
            return "GET /v1/collections lists those that the key may read"
        names = [f"'{name}'" for name in self._collections]
        if not names:
            return "there are none"
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        return "known: " + ", ".join(names[:MAX_NAMED]) + more
