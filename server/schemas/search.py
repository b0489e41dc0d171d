"""Questions to a collection, and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from retrieval import SearchConfig
from server.schemas.base import (
    DEFAULT_LIMIT,
    DOCUMENT,
    Cursor,
    DocumentIds,
    Fields,
    FilterObject,
    HitField,
    Limit,
    Positive,
    Strict,
    Text,
    examples,
)
from server.schemas.vectors import VectorsValue, VectorValue

__all__ = [
    "BatchRequest",
    "BatchResponse",
    "ExplainRequest",
    "ExplainResponse",
    "Explained",
    "HitExplanation",
    "HybridOptions",
    "Mode",
    "RerankRequest",
    "SearchHit",
    "SearchRequest",
    "SearchResponse",
    "TextToken",
    "TokenMatchItem",
]

Mode = Literal["dense", "late", "muvera", "hybrid"]
Aspect = Literal["plan", "tokens"]


def _one_error(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A sentence of our own instead of one for each form that the value might have had."""
    try:
        return validate(value)
    except ValidationError:
        told = "Input should be true, false, 'tokens', 'plan' or a list of the two"
        raise PydanticCustomError("explain", told) from None


Explain = Annotated[bool | Aspect | list[Aspect], WrapValidator(_one_error)]
ALL_FIELDS: list[HitField] = ["title", "text", "metadata"]
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
    "metadata": DOCUMENT["metadata"],
}

_EXPLAINED = {
    "id": "doc-17",
    "text": "Lift of thin wings",
    "score": 0.71,
    "scored_from": "stored",
    "matches": [_MATCH],
}


class _Query(Strict):
    """A text, or its vectors: exactly one of the three (in the mode hybrid, vectors beside the text are those
    of the query for the collection, which then encodes nothing)."""

    query: Text | None = Field(None, description="the question, as text")
    vector: VectorValue | None = Field(
        None, description="its vector, for a dense collection: a list of numbers, or base64"
    )
    vectors: VectorsValue | None = Field(
        None, description="its token vectors, for late interaction: lists of numbers, or base64 with a shape"
    )


class HybridOptions(Strict):
    """What a hybrid search combines with the collection, and how."""

    dense: str | None = Field(None, description="another collection over the same documents")
    bm25: bool = Field(True, description="score the words of the texts too")
    fuse: Literal["minmax", "zscore", "rrf", "engine"] = Field(
        "minmax", description="how rankings become one; engine: the others only find documents"
    )
    weights: dict[Literal["engine", "dense", "bm25"], float] | None = Field(
        None, description="of each generator; 1 where none is given"
    )
    refine: bool = Field(True, description="let each score all that any of them has found")
    num_candidates: Positive = Field(100, description="documents that each of them offers")
    language: str = Field("english", description="of the texts, for stems; none: words as they are written")


class SearchRequest(_Query):
    """A question to one collection."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"query": "lift of thin wings", "limit": 3, "filter": {"year": {"lt": 1960}}},
                {"query": "lift of thin wings", "limit": 1, "fields": ["title"], "explain": True},
                {"query": "lift of thin wings", "params": {"recall_target": 0.99}, "explain": ["plan"]},
            ]
        },
    )

    mode: Mode | None = Field(None, description="how to search; default: as the collection was built")
    hybrid: HybridOptions | None = Field(None, description="for the mode hybrid")
    filter: FilterObject | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = Field(
        None,
        description="'next_cursor' of the answer before, for what follows it. No document comes twice. An "
        "approximate search looks harder for later pages: what it finds only then and would have come before "
        "is left out. Not for the mode hybrid",
    )
    fields: Fields = ALL_FIELDS
    params: SearchConfig | None = Field(None, description="how hard to look; default: the recipe's target")
    explain: Explain = Field(
        False, description="tokens (or true): what matched and what it added; plan: what the search did"
    )
    timeout_ms: float | None = Field(None, gt=0, description="give up after so many milliseconds")


class BatchRequest(Strict):
    """Several questions in one request."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"searches": [{"query": "lift of thin wings"}, {"query": "heat transfer"}]}]
        },
    )

    searches: Annotated[list[SearchRequest], Field(fail_fast=True)] = Field(min_length=1)
    timeout_ms: float | None = Field(None, gt=0, description="give up after so many milliseconds")


class ExplainRequest(_Query):
    """Which documents to take apart, and for which question. The tokens of vectors have numbers."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"query": "lift of thin wings", "ids": ["doc-17"]}]},
    )

    ids: DocumentIds


class RerankRequest(_Query):
    """Documents that the caller found, to be scored exactly."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"query": "lift of thin wings", "ids": ["doc-17", "doc-3"]}]},
    )

    ids: DocumentIds
    limit: Limit | None = None
    fields: Fields = ALL_FIELDS


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
    document_tokens: list[TextToken] | None = Field(
        None, description="where tokens were pooled: all that share this vector"
    )


class HitExplanation(BaseModel):
    """Why a document got its score: the contributions add up to it."""

    text: str = Field(description="the document as the model read it (title, a blank, text)")
    score: float
    scored_from: Literal["stored", "codes"] = Field(
        "stored", description="the document's vectors as stored, or lossy codes where nothing else is kept"
    )
    matches: list[TokenMatchItem]


class Explained(HitExplanation):
    """The explanation of one document."""

    id: str


class ExplainResponse(BaseModel):
    """Explanations, in the order of the ids."""

    model_config = examples({"explanations": [_EXPLAINED], "generation": 2})

    explanations: list[Explained]
    generation: int


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

    model_config = examples(
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
    partial: bool = Field(False, description="something was left out; the log and /readyz say what")
    next_cursor: str | None = Field(None, description="asks for the hits that follow; null: there are none")
    plan: dict[str, Any] | None = Field(None, description="what the search did, where that was asked for")


class BatchResponse(BaseModel):
    """An answer for each question, in their order."""

    model_config = examples(
        {
            "results": [
                {
                    "hits": [_HIT],
                    "generation": 2,
                    "timings_ms": {"search": 1.4, "total": 7.9},
                    "next_cursor": None,
                }
            ]
        }
    )

    results: list[SearchResponse]
