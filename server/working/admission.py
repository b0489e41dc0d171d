"""How many requests may be in flight: the rest is turned away at once instead of waiting in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from server.http.problems import RETRY_AFTER, ProblemError

__all__ = ["Admission"]


class Admission:
    """A bound on requests in flight, those that wait included. Belongs to the event loop: no lock."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self.in_flight = 0
        self.turned_away = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room."""
        return not self.has_room_for(self.in_flight)

    def has_room_for(self, others: int) -> bool:
        """Whether there is room for one more besides so many others."""
        return others < self._max_in_flight

    @property
    def refusal(self) -> ProblemError:
        """What one more is told."""
        told = f"{self._max_in_flight} requests are in flight, and that is the most; try again soon"
        return ProblemError(503, "overloaded", told, headers=RETRY_AFTER)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of them.

        Raises:
            ProblemError: 503, there is no room.
        """
        if self.is_full:
            self.turned_away += 1
            raise self.refusal
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
