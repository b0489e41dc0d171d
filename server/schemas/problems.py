"""What an error looks like."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

__all__ = ["ErrorItem", "Problem"]


class ErrorItem(BaseModel):
    """One thing that is wrong with the body."""

    pointer: str = Field(description="JSON pointer (RFC 6901) into the body; empty: the body itself")
    detail: str


class Problem(BaseModel):
    """Any error (RFC 9457); 'code' is a stable word for programs."""

    type: str = Field(description="a URN that ends in the code")
    title: str = Field(description="the phrase of the status")
    status: int
    detail: str = Field(description="one sentence for a person")
    code: str
    request_id: str = Field(description="also in the X-Request-ID header and in the server's log")
    errors: list[ErrorItem] | None = Field(None, description="what is wrong with the body")
    collections: dict[str, str] | None = Field(
        None, description="/readyz: what is still loading, and why a collection failed"
    )
    differences: list[dict[str, Any]] | None = Field(
        None, description="config_differs: what is stored and what was given, by JSON pointer"
    )
    task: str | None = Field(None, description="collection_busy: what writes, where it is a task")
