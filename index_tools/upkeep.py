"""Upkeep after a change: a command is gone before a thread in the background could do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from index_tools.output import Output

if TYPE_CHECKING:
    from retrieval import Engine

__all__ = ["keep_up"]


def keep_up(engine: Engine, output: Output) -> None:
    """Fold and merge what is due. The change itself is safe already: a failure is told, not raised."""
    from retrieval.errors import IndexLockedError, RetrievalError

    try:
        engine.maintain()
    except IndexLockedError:
        return  # another process is writing, and will do this
    except RetrievalError as error:
        output.note(f"the change is made, but not all upkeep could be done: {error}")
