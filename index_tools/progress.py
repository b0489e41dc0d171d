"""How far the work is: bars on a terminal, a line now and then on request, or nothing."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from retrieval.types import BuildProgress, ProgressCallback, TrainingProgress

__all__ = ["Bars", "Lines", "Reporter", "Silence"]

LINE_EVERY_SECONDS = 10.0


class Reporter(ABC):
    """Makes the callbacks that the engine calls, one for each piece of work."""

    @abstractmethod
    def show(self, title: str, fraction: float | None, told: str) -> None:
        """Tell where the work called ``title`` stands; ``fraction`` is None when its size is unknown."""

    @abstractmethod
    def finish(self, title: str) -> None:
        """Tell that the work called ``title`` is done, and other work begins."""

    def documents(self, title: str) -> ProgressCallback:
        """For a build or an add."""
        pace = _Pace("documents")

        def update(now: BuildProgress) -> None:
            self.show(title, now.fraction, pace.told(now.documents))

        return update

    def stages(self, title: str) -> TrainingProgress:
        """For work that is told by its stages."""

        last = ""

        def update(stage: str, fraction: float | None) -> None:
            nonlocal last
            now = f"{title}: {stage}"
            if last not in ("", now):
                self.finish(last)
            last = now
            self.show(now, fraction, "")

        return update

    def counts(self, title: str, items: str) -> Callable[[int, int], None]:
        """For work whose size is known: called with the ``items`` done so far, and all."""
        pace = _Pace(items)

        def update(done: int, total: int) -> None:
            self.show(title, done / total if total else None, pace.told(done))

        return update


class Bars(Reporter):
    """One bar for each piece of work, on ``console``; it goes away at the end."""

    def __init__(self, console: Console, title: str) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._task(title)  # moves from the start: loading the model takes a while

    def show(self, title: str, fraction: float | None, told: str) -> None:
        """Move the bar of this work."""
        if fraction is None:
            self.progress.update(self._task(title), told=told)
        else:
            self.progress.update(self._task(title), total=1.0, completed=fraction, told=told)

    def finish(self, title: str) -> None:
        """Take the bar of this work away."""
        if title in self._tasks:
            self.progress.remove_task(self._tasks.pop(title))

    def _task(self, title: str) -> TaskID:
        if title not in self._tasks:
            self._tasks[title] = self.progress.add_task(title, total=None, told="")
        return self._tasks[title]


class Lines(Reporter):
    """A line every `LINE_EVERY_SECONDS`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last = time.monotonic()

    def show(self, title: str, fraction: float | None, told: str) -> None:
        """Write a line, unless the last one is recent."""
        if time.monotonic() - self._last < LINE_EVERY_SECONDS:
            return
        self._last = time.monotonic()
        share = "" if fraction is None else f"{fraction:.0%}, "
        self._write(f"{title}: {share}{told}")

    def finish(self, title: str) -> None:
        """The next line tells of other work."""


class Silence(Reporter):
    """Nothing."""

    def show(self, title: str, fraction: float | None, told: str) -> None:
        """Say nothing."""

    def finish(self, title: str) -> None:
        """Say nothing."""


class _Pace:
    """Items per second since the first report: loading the model and resuming do not count."""

    def __init__(self, items: str) -> None:
        self._items = items
        self._first: tuple[float, int] | None = None

    def told(self, done: int) -> str:
        moment = time.monotonic()
        self._first = self._first or (moment, done)
        seconds, since = moment - self._first[0], done - self._first[1]
        return f"{done:,} {self._items}, {since / seconds if seconds else 0.0:,.0f} {self._items}/s"
