"""Which collections there are, and how far each has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval import Engine
from retrieval.errors import RetrievalError
from server.problems import RETRY_AFTER, ProblemError
from server.schemas import CollectionState

__all__ = ["Collection", "Registry"]

MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection at one moment; replaced as a whole when it changes, so readers need no lock."""

    name: str
    state: CollectionState = "loading"
    engine: Engine | None = None
    detail: str | None = None


class Registry:
    """The collections by name. One thread loads, any thread reads."""

    def __init__(self, paths: Mapping[str, Path], log: Any) -> None:
        self._paths = dict(paths)
        self._log = log
        self._collections = {name: Collection(name) for name in paths}
        self._stopped = threading.Event()

    def load(self, open_collection: Callable[[str, Path], Engine]) -> None:
        """Open every collection. One that fails is marked, logged, and leaves the others alone. Blocks."""
        for name, path in self._paths.items():
            if self._stopped.is_set():
                return
            self._collections[name] = self._load_one(name, path, open_collection)

    def stop(self) -> None:
        """Let `load` end after the collection it is at."""
        self._stopped.set()

    def close(self) -> None:
        """Close every open engine; nothing may be searching."""
        for collection in self.all():
            if collection.engine is not None:
                collection.engine.close()

    def all(self) -> list[Collection]:
        """Every collection, by name."""
        return list(self._collections.values())

    def engine(self, name: str) -> Engine:
        """The open engine of a collection.

        Raises:
            ProblemError: 404 for an unknown name, 503 while it is loading or after it failed.
        """
        collection = self._collections.get(name)
        if collection is None:
            raise ProblemError(404, "unknown_collection", f"there is no collection '{name}'; {self._known()}")
        if collection.state == "failed":
            told = f"collection '{name}' could not be opened: {collection.detail}"
            raise ProblemError(503, "collection_failed", told)
        if collection.engine is None:
            told = f"collection '{name}' is still loading; try again soon"
            raise ProblemError(503, "loading", told, headers=RETRY_AFTER)
        return collection.engine

    def not_ready(self) -> dict[str, str]:
        """What is in the way of readiness: collection name -> 'loading', or why it failed."""
        return {
            collection.name: collection.detail or collection.state
            for collection in self.all()
            if collection.state != "ready"
        }

    def _load_one(self, name: str, path: Path, open_collection: Callable[[str, Path], Engine]) -> Collection:
        started = time.monotonic()
        try:
            engine = open_collection(name, path)
        except RetrievalError as error:
            self._log.error("collection failed", collection=name, detail=str(error))
            return Collection(name, "failed", detail=str(error))
        except Exception:  # noqa: BLE001 - one broken collection must not take the others down
            self._log.exception("collection failed", collection=name)
            return Collection(name, "failed", detail="unexpected error; the server's log has it")
        # With the model's loading and a first query: seconds more where kernels had to be compiled.
        seconds = round(time.monotonic() - started, 3)
        self._log.info("collection ready", collection=name, seconds=seconds)
        return Collection(name, "ready", engine=engine)

    def _known(self) -> str:
        names = [f"'{name}'" for name in self._collections]
        if not names:
            return "there are none"
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        return "known: " + ", ".join(names[:MAX_NAMED]) + more
