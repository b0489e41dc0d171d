"""A read-only server follows the one that writes: what was restored, or made anew under its name, is opened
anew.

Commits need nothing of this: an open index sees them. But an index that took the place of another is other
files, and who has the old ones open goes on with them.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from retrieval.errors import RetrievalError
from server.collections.folders import identity_of
from server.collections.registry import Collection, OpenCollection, Registry
from server.http.problems import ProblemError

__all__ = ["Follower"]

LOOK_SECONDS = 1.0
PAUSE_SECONDS = 60.0
"""How long one that cannot be opened is left alone; what was served is served meanwhile."""


class Follower:
    """Looks again and again, on a thread, whether collections are still the files that were opened.

    Make it before they are opened: then none is missed, and at worst one is opened twice. ``open_collection``
    is as for `Registry.load`.
    """

    def __init__(self, registry: Registry, open_collection: OpenCollection, log: Any) -> None:
        self._registry, self._open, self._log = registry, open_collection, log
        self._known = {each.name: _found(each) for each in registry.all()}
        self._not_before: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Blocks until one that is being opened is open."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Open those anew whose files are others. One whose files have gone is served on: it may be on its
        way back."""
        for each in self._registry.all():
            found = _found(each)
            if each.state == "loading" or found is None or self._stopped.is_set():
                continue
            if self._known.setdefault(each.name, found) == found:
                continue
            if self._not_before.get(each.name, 0.0) <= time.monotonic() and self._reopened(each):
                self._known[each.name] = found

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self.look()

    def _reopened(self, collection: Collection) -> bool:
        name = collection.name
        try:
            with self._registry.changing(name):
                if self._registry.get(name) is not None:
                    self._registry.swap(name, self._open)
        except (RetrievalError, ProblemError) as error:
            self._log.error("replaced collection not opened", collection=name, detail=str(error))
        except Exception:  # noqa: BLE001 - one broken collection must not keep the others from being followed
            self._log.exception("replaced collection not opened", collection=name)
        else:
            self._log.info("replaced collection opened", collection=name)
            return True
        self._not_before[name] = time.monotonic() + PAUSE_SECONDS
        return False


def _found(collection: Collection) -> str | None:
    """Which index is there now; whoever opens one that cannot be read is told what is wrong with it."""
    try:
        return identity_of(collection.path)
    except RetrievalError:
        return "unreadable"
