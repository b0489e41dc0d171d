"""What goes over the wire: requests refuse what they do not know, responses carry examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

__all__ = [
    "DEFAULT_LIMIT",
    "CollectionDetail",
    "CollectionList",
    "CollectionState",
    "CollectionSummary",
    "ErrorItem",
    "HitExplanation",
    "Live",
    "Problem",
    "Ready",
    "SearchHit",
    "SearchRequest",
    "SearchResponse",
    "TextToken",
    "TokenMatchItem",
]

DEFAULT_LIMIT = 10
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
"""Something besides what ``str.strip`` takes away, which is how the engine knows an empty query."""

HitField = Literal["title", "text", "metadata"]
CollectionState = Literal["loading", "ready", "failed"]

_MATCH = {
    "query_token": {"text": "wings", "start": 13, "end": 18},
    "document_token": {"text": "wings", "start": 13, "end": 18},
    "document_position": 3,
    "similarity": 0.71,
    "contribution": 0.71,
}
_HIT = {
    "id": "doc-17",
    "score": 0.71,
    "title": "Lift of",
    "text": "thin wings",
    "metadata": {"year": 1958, "published": "1958-03-01"},
}


def _whole(value: Any) -> Any:
    """3.0 is an integer in JSON Schema; strings and booleans stay refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _examples(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class Live(BaseModel):
    """The process answers."""

    model_config = _examples({"status": "live"})

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Every collection is open and every model loaded."""

    model_config = _examples({"status": "ready", "collections": ["papers"]})

    status: Literal["ready"] = "ready"
    collections: list[str] = Field(description="names of the collections being served")


class CollectionSummary(BaseModel):
    """One collection in the list."""

    name: str
    state: CollectionState = Field(description="loading at start; failed: 'detail' says why")
    detail: str | None = Field(None, description="why the collection failed")
    kind: Literal["dense", "late"] | None = Field(None, description="one vector a document, or one a token")
    documents: int | None = Field(None, description="absent, like the kind, until the collection is ready")


class CollectionList(BaseModel):
    """All collections, by name."""

    model_config = _examples(
        {
            "collections": [
                {"name": "notes", "state": "loading"},
                {"name": "papers", "state": "ready", "kind": "late", "documents": 5183},
            ]
        }
    )

    collections: list[CollectionSummary]


class CollectionDetail(BaseModel):
    """What a collection holds and how it is scored."""

    model_config = _examples(
        {
            "name": "papers",
            "kind": "late",
            "metric": "maxsim",
            "dim": 128,
            "precision": "float16",
            "documents": 5183,
            "tokens": 915_872,
            "segments": 2,
            "bytes": {"codes": 234_463_232, "offsets": 41_480, "documents": 8_120_004, "catalog": 98_304},
            "encoder": "minilm-late",
            "fields": {"year": "int64"},
            "generation": 2,
            "created_at": "2026-01-31T12:00:00+00:00",
        }
    )

    name: str
    kind: Literal["dense", "late"] = Field(description="one vector a document, or one a token")
    metric: str = Field(description="how a query and a document are compared; larger is better")
    dim: int = Field(description="dimension of a vector")
    precision: str = Field(description="how vectors are stored")
    documents: int
    tokens: int = Field(description="vectors stored; as many as documents for a dense collection")
    segments: int
    bytes: dict[str, int] = Field(description="size on disk by component")
    encoder: str | None = Field(description="name of the model; null for an encoder of the server's own")
    fields: dict[str, str] = Field(description="metadata fields and their types")
    generation: int = Field(description="the commit that is being served")
    created_at: str


class SearchRequest(BaseModel):
    """A question to one collection."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"query": "lift of thin wings", "limit": 3, "filter": {"year": {"lt": 1960}}},
                {"query": "lift of thin wings", "limit": 1, "fields": ["title"], "explain": True},
            ]
        },
    )

    query: Annotated[str, StringConstraints(min_length=1, pattern=NOT_BLANK)] = Field(
        description="the question, as text"
    )
    filter: dict[str, Any] | None = Field(
        None, description="only documents that it accepts: must, should, must_not, or fields and values"
    )
    limit: Annotated[int, BeforeValidator(_whole)] = Field(
        DEFAULT_LIMIT, ge=1, description="how many hits at most"
    )
    fields: list[HitField] = Field(
        default=["title", "text", "metadata"],
        max_length=3,
        description="what of each document to return; an empty list: ids and scores only",
    )
    explain: bool = Field(False, description="say which tokens matched, and what each added to a score")


class TextToken(BaseModel):
    """A token; 'start' and 'end' are character positions, null for one that is not in the text."""

    text: str
    start: int | None
    end: int | None


class TokenMatchItem(BaseModel):
    """A query token and the document token that served it best."""

    query_token: TextToken = Field(description="positions in the query")
    document_token: TextToken | None = Field(description="positions in the explanation's text")
    document_position: int | None = Field(description="which of the document's vectors, from 0")
    similarity: float
    contribution: float = Field(description="what the match added to the score")


class HitExplanation(BaseModel):
    """Why a document got its score: the contributions add up to it."""

    text: str = Field(description="the document as the model read it (title, a blank, text)")
    score: float
    scored_from: Literal["stored", "codes"] = Field(
        "stored", description="the document's vectors as stored, or lossy codes where nothing else is kept"
    )
    matches: list[TokenMatchItem]


class SearchHit(BaseModel):
    """One answer; title, text and metadata as asked for in 'fields'."""

    id: str
    score: float = Field(description="larger is better")
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = Field(None, description="dates are ISO 8601 strings")
    explanation: HitExplanation | None = Field(None, description="only when 'explain' was asked for")


class SearchResponse(BaseModel):
    """Hits, best first."""

    model_config = _examples(
        {
            "hits": [_HIT],
            "generation": 2,
            "timings_ms": {"queue": 0.1, "encode": 6.2, "search": 1.4, "total": 7.9},
        },
        {
            "hits": [
                {
                    "id": "doc-17",
                    "score": 0.71,
                    "title": "Lift of",
                    "explanation": {
                        "text": "Lift of thin wings",
                        "score": 0.71,
                        "scored_from": "stored",
                        "matches": [_MATCH],
                    },
                }
            ],
            "generation": 2,
            "timings_ms": {"queue": 0.1, "encode": 6.2, "search": 1.4, "explain": 7.0, "total": 14.9},
        },
    )

    hits: list[SearchHit]
    generation: int = Field(description="the commit the hits were read from")
    timings_ms: dict[str, float] = Field(description="milliseconds by stage; 'total' from arrival to answer")


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
