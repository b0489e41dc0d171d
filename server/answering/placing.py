"""On which thread a plain search is done: where waking another one would take longer than the search."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from retrieval import Engine
from server.answering.pace import Paces
from server.working.pool import Lane, Work

__all__ = ["PACES", "of_text", "of_vector"]

T = TypeVar("T")

PACES = Paces()
"""What it keeps belongs to engines, so several applications in one process share nothing by it."""
AFTER_TEXTS = Paces(short_seconds=0.003)
"""Of searches that follow an encoding: they take twice as long as others (perhaps because a model's weights
fill the processor's caches), and the encoding still longer."""


async def of_vector(engine: Engine, work: Work, search: Callable[[], T]) -> T:
    """What a plain ``search`` for a vector finds: on the event loop if it will be short, else on a thread."""
    found = list[T]()

    def here() -> None:
        if PACES.is_short(engine):  # there may have been a commit while it waited
            found.append(PACES.watched(engine, search, keeps_waiting=True))

    if PACES.is_short(engine):
        await work.run_here(here)
    if found:
        return found[0]
    return await work.run(lambda: PACES.watched(engine, search, keeps_waiting=False))


async def of_text(engine: Engine, work: Work, encode: Callable[[], None], search: Callable[[], T]) -> T:
    """What a plain ``search`` finds for a text, once it is encoded: where the model's thread has nothing to
    do all of it is done there, if the search will be so short that the next text hardly waits for it."""
    lane: Lane = "model" if work.has_free_model and AFTER_TEXTS.is_short(engine) else "encode"
    return await work.run_after(
        encode, lane, lambda: AFTER_TEXTS.watched(engine, search, keeps_waiting=False)
    )
