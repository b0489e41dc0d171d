"""A task's changes, as a coroutine sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from server.tasks.control import TaskControl
from server.tasks.record import TaskRecord

__all__ = ["watch_live", "watch_stored"]

EVENT_SECONDS = 0.2
STORED_SECONDS = 1.0


async def watch_live(
    control: TaskControl, ended: Callable[[], bool], heartbeat_s: float
) -> AsyncGenerator[TaskRecord, None]:
    """A task of this process: the record as it is, then at every change, at most 5 times a second; the same
    again after ``heartbeat_s``. Ends with a final state, or when ``ended`` says so."""
    with control.listening() as news:
        while True:
            record = control.record
            yield record
            if record.final or ended():
                return
            await asyncio.sleep(EVENT_SECONDS)
            await news.wait(heartbeat_s)


async def watch_stored(
    get: Callable[[], TaskRecord], ended: Callable[[], bool], heartbeat_s: float
) -> AsyncGenerator[TaskRecord, None]:
    """A task that has ended, or is another process's: of that we see what it saves. ``get`` may block."""
    shown, shown_at = None, 0.0
    while True:
        record = await asyncio.to_thread(get)
        if record != shown or time.monotonic() - shown_at >= heartbeat_s:
            shown, shown_at = record, time.monotonic()
            yield record
        if record.final or ended():
            return
        await asyncio.sleep(min(STORED_SECONDS, heartbeat_s))
