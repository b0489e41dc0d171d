"""Whether the process lives and may be sent requests."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from server.schemas.base import examples

__all__ = ["Live", "Ready"]


class Live(BaseModel):
    """The process answers."""

    model_config = examples({"status": "live"})

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Every collection is open and every model loaded."""

    model_config = examples({"status": "ready", "collections": ["papers"]})

    status: Literal["ready"] = "ready"
    collections: list[str] | None = Field(
        None, description="names of the collections being served; absent where they are told to keys alone"
    )
