"""Open engines, and who uses one right now: none is closed under anybody."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from retrieval import Engine

__all__ = ["Held", "Leases"]


@dataclass(slots=True, eq=False)
class Held:
    """An engine and how many use it."""

    engine: Engine
    users: int = 0


class Leases:
    """Engines by name. Any thread may call. One that is put away is closed when nobody uses it any more, and
    until then whoever has it goes on with it."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._changed = threading.Condition()
        self._retiring: list[threading.Thread] = []
        self._closing = False

    def begin(self, name: str) -> Held | None:
        """Use the engine of this name until `end`; None: there is none."""
        with self._changed:
            held = self._held.get(name)
            if held is not None:
                held.users += 1
            return held

    def end(self, held: Held) -> None:
        """Use it no longer."""
        with self._changed:
            held.users -= 1
            if not held.users:
                self._changed.notify_all()

    def put(self, name: str, engine: Engine) -> None:
        """Have an engine under a name; the one that had it is put away."""
        with self._changed:
            old = self._held.get(name)
            self._held[name] = Held(engine)
        if old is not None:
            self._retire(old)

    def put_away(self, name: str) -> None:
        """Have none under this name."""
        with self._changed:
            held = self._held.pop(name, None)
        if held is not None:
            self._retire(held)

    def take(self, name: str, patience: float) -> Engine | None:
        """The engine of this name, for the caller to close: nobody uses it, and nobody can any more. None:
        there is none. Blocks until then; meanwhile nobody begins to use it.

        Raises:
            TimeoutError: it is used for longer than ``patience`` seconds, and there as before.
        """
        with self._changed:
            held = self._held.pop(name, None)
            if held is None:
                return None
            if not self._changed.wait_for(lambda: not held.users, patience):
                self._held[name] = held
                raise TimeoutError
            return held.engine

    def close(self) -> None:
        """Close every engine; nobody may be using one."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in list(self._retiring):
            thread.join()
        for held in list(self._held.values()):
            held.engine.close()

    def _retire(self, held: Held) -> None:
        """Close it when its users have ended: on a thread of its own, since a merge under way takes its
        time."""
        thread = threading.Thread(target=self._close_idle, args=(held,), name="retire")
        with self._changed:
            self._retiring = [each for each in self._retiring if each.is_alive()]
            thread.start()
            self._retiring.append(thread)

    def _close_idle(self, held: Held) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not held.users or self._closing)
        held.engine.close()
