"""Documents, in and out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.schemas.base import (
    DOCUMENT,
    Bounded,
    Cursor,
    DocumentIds,
    Fields,
    FilterObject,
    Limit,
    Strict,
    Text,
    examples,
)
from server.schemas.search import ALL_FIELDS

__all__ = [
    "CountRequest",
    "CountResponse",
    "DeleteRequest",
    "DeleteResponse",
    "DocumentItem",
    "DocumentsRequest",
    "FacetValue",
    "FacetsRequest",
    "FacetsResponse",
    "FetchRequest",
    "FetchResponse",
    "ItemError",
    "ScrollRequest",
    "ScrollResponse",
    "WriteQuery",
    "WriteResponse",
]

_FILTER = {"year": {"lt": 1960}}
_WAITED_FOR = "the last task that was accepted or writing when this came, and was waited for; null: none was"


def _request(*shown: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": list(shown)})


class DocumentItem(BaseModel):
    """A document; without what was not asked for."""

    model_config = examples(DOCUMENT)

    id: str
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = Field(None, description="dates are ISO 8601 strings")


class DocumentsRequest(Strict):
    """Documents to store. Each is an object with 'id' and 'text'; 'title' and 'metadata' are optional.
    Where the collection has no model, 'vector' or 'vectors' are needed, and 'text' is optional."""

    model_config = _request({"documents": [DOCUMENT, {"id": "doc-18", "text": "Heat transfer in slip flow"}]})

    documents: list[dict[str, Any]] = Field(min_length=1)


class WriteQuery(Bounded):
    """How documents are to be written."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["upsert", "add"] = Field(
        "upsert",
        description="what of an id that is there: upsert replaces the document, for add the new one is bad",
    )
    ack: Literal["searchable", "durable", "task"] = Field(
        "searchable",
        description="when to answer: once the documents are durable, and every later search sees them "
        "(searchable and durable are the same), or once the request is on disk, with its task. Whatever was "
        "answered first takes effect first: writes that come after the task wait for it, or are refused "
        "(503 collection_busy) and told which task they would wait for",
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="what of a bad document: stop writes none at all, skip writes the others"
    )


class ItemError(BaseModel):
    """A document that was left out, and why."""

    index: int = Field(description="which of the request's documents, from 0")
    id: str | None = None
    code: str
    detail: str


class WriteResponse(BaseModel):
    """What was stored. It is durable, and the next search sees it."""

    model_config = examples(
        {
            "documents": 2,
            "replaced": 1,
            "skipped": 0,
            "errors": [],
            "generation": 7,
            "waited_for": None,
            "timings_ms": {"encode": 21.0, "total": 24.5},
        }
    )

    documents: int = Field(description="how many were stored")
    replaced: int = Field(description="how many of them took the place of one that was there")
    skipped: int = Field(description="how many were left out; 'errors' says why")
    errors: list[ItemError]
    generation: int
    waited_for: str | None = Field(None, description=_WAITED_FOR)
    timings_ms: dict[str, float]


class FetchRequest(Strict):
    """Which documents to return."""

    model_config = _request({"ids": ["doc-17", "doc-99"], "fields": ["title"]})

    ids: DocumentIds
    fields: Fields = ALL_FIELDS


class FetchResponse(BaseModel):
    """The documents that are there, in the order of the ids."""

    model_config = examples({"documents": [DOCUMENT], "missing": ["doc-99"], "generation": 7})

    documents: list[DocumentItem]
    missing: list[str] = Field(description="ids that no document has")
    generation: int


class DeleteRequest(Strict):
    """Which documents to delete: ids, or a filter with at least one condition."""

    model_config = _request({"ids": ["doc-17"]}, {"filter": _FILTER})

    ids: DocumentIds | None = None
    filter: FilterObject | None = None


class DeleteResponse(BaseModel):
    """What was deleted."""

    model_config = examples({"deleted": 1, "generation": 8, "waited_for": None})

    deleted: int = Field(description="how many documents there were")
    generation: int
    waited_for: str | None = Field(None, description=_WAITED_FOR)


class ScrollRequest(Strict):
    """A page of all documents, in the order in which they came."""

    model_config = _request({"limit": 2, "filter": _FILTER}, {"limit": 2, "fields": []})

    filter: FilterObject | None = None
    limit: Limit = 100
    cursor: Cursor | None = Field(None, description="'next_cursor' of the page before")
    fields: Fields = ALL_FIELDS


class ScrollResponse(BaseModel):
    """A page of documents."""

    model_config = examples({"documents": [DOCUMENT], "next_cursor": "3:17", "generation": 7})

    documents: list[DocumentItem]
    next_cursor: str | None = Field(None, description="asks for the page that follows; null: there is none")
    generation: int


class CountRequest(Strict):
    """What to count."""

    model_config = _request({"filter": _FILTER}, {})

    filter: FilterObject | None = None


class CountResponse(BaseModel):
    """How many documents there are."""

    model_config = examples({"count": 41, "generation": 7})

    count: int
    generation: int


class FacetsRequest(Strict):
    """The most frequent values of a metadata field."""

    model_config = _request({"field": "year", "limit": 3})

    field: Text
    filter: FilterObject | None = None
    limit: Limit = 10


class FacetValue(BaseModel):
    """A value and how many documents have it."""

    value: Any
    count: int


class FacetsResponse(BaseModel):
    """Values, most frequent first."""

    model_config = examples({"field": "year", "values": [{"value": 1958, "count": 41}], "generation": 7})

    field: str
    values: list[FacetValue]
    generation: int
