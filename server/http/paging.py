"""Lists that come in pages, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ConfigDict, Field

from server.schemas.base import Bounded

__all__ = ["PageQuery", "page_of"]

T = TypeVar("T")

DEFAULT_ITEMS = 100
MAX_ITEMS = 1000


class PageQuery(Bounded):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(DEFAULT_ITEMS, ge=1, le=MAX_ITEMS, description="how many at most")
    cursor: str | None = Field(
        None, min_length=1, max_length=64, description="'next_cursor' of the page before"
    )


def page_of(items: Sequence[T], name: Callable[[T], str], query: PageQuery) -> tuple[Sequence[T], str | None]:
    """The items after the cursor, of those by name, and the cursor of the next page."""
    rest = [item for item in items if query.cursor is None or name(item) > query.cursor]
    shown = rest[: query.limit]
    return shown, name(shown[-1]) if len(rest) > len(shown) else None
