"""Requests and answers in the forms that clients of other services send and read.

Their members are taken as those services document them. What has no meaning here is taken too, says so, and
changes nothing; anything else is refused, as everywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from server.schemas.base import NOT_BLANK, WHOLE, Positive, Strict, Text, examples

__all__ = [
    "EmbeddingItem",
    "EmbeddingsRequest",
    "EmbeddingsResponse",
    "RerankTextsRequest",
    "RerankTextsResponse",
    "RerankedText",
    "TextDocument",
    "Usage",
]

_IGNORED = "taken, and ignored"
_TEXT = {"type": "string", "minLength": 1, "pattern": NOT_BLANK}


def _listed(value: Any) -> Any:
    """One text is a list of one, so that what is wrong with it is told once."""
    return [value] if isinstance(value, str) else value


def _as_document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


Texts = Annotated[
    list[Text],
    Field(fail_fast=True),
    BeforeValidator(_listed),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                _TEXT,
                {"type": "array", "minItems": 1, "items": _TEXT},
            ]
        }
    ),
]


class EmbeddingsRequest(Strict):
    """Texts to make vectors of, as OpenAI's clients send them."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"model": "minilm", "input": ["lift of thin wings", "heat transfer"]},
                {"model": "minilm", "input": "lift of thin wings", "input_type": "query", "dimensions": 128},
            ]
        },
    )

    model: str = Field(description="a name that GET /v1/models lists")
    input: Texts = Field(description="a text, or several; lists of token numbers are not taken")
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: the bytes of little-endian float32 numbers"
    )
    dimensions: Positive | None = Field(
        None,
        description="keep the first so many, and set lengths to 1 again (Matryoshka); dense models only",
    )
    input_type: Literal["query", "document"] = Field(
        "document", description="which side of a search the texts are; some models read them differently"
    )
    user: str | None = Field(None, description=_IGNORED)


class EmbeddingItem(BaseModel):
    """The vector of a text; of a late-interaction model a list of vectors, one a token."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="which of the texts, from 0")
    embedding: list[float] | str | list[list[float]] | list[str]


class Usage(BaseModel):
    """Vectors of a late-interaction model are counted, for other models characters / 4, plus 2 a text."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """A vector for each text, in their order."""

    model_config = examples(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}],
            "model": "minilm",
            "usage": {"prompt_tokens": 6, "total_tokens": 6},
        }
    )

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: Usage


class TextDocument(Strict):
    """A text in an object, as some clients send it."""

    text: Text


Documents = Annotated[
    list[Annotated[TextDocument, BeforeValidator(_as_document)]],
    Field(min_length=1, fail_fast=True),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    _TEXT,
                    {
                        "type": "object",
                        "properties": {"text": _TEXT},
                        "required": ["text"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    ),
]


class RerankTextsRequest(Strict):
    """A query and texts to order by it, as clients of Cohere and Jina send them."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "model": "minilm-late",
                    "query": "lift of thin wings",
                    "documents": ["heat transfer in a cone", {"text": "thin wings at low speed"}],
                    "top_n": 1,
                }
            ]
        },
    )

    model: str = Field(description="a name that GET /v1/models lists")
    query: Text
    documents: Documents = Field(description="texts, or objects with a 'text'")
    top_n: Positive | None = Field(None, description="how many to return; default: all")
    return_documents: bool = Field(False, description="return the texts too")
    max_chunks_per_doc: Positive | None = Field(
        None, description=f"{_IGNORED}: a document is one piece, read up to the model's limit"
    )
    max_tokens_per_doc: Positive | None = Field(
        None, description=f"{_IGNORED}: the model's limit counts (EncoderConfig.document_length)"
    )
    truncation: Literal[True] | None = Field(
        None, description="only true: longer documents are always cut at the model's limit"
    )
    priority: Annotated[int, Field(ge=0), WHOLE] | None = Field(None, description=_IGNORED)
    user: str | None = Field(None, description=_IGNORED)


class RerankedText(BaseModel):
    """One of the documents."""

    index: int = Field(description="which of the documents, from 0")
    relevance_score: float = Field(
        description="larger is better; the model's own measure (cosine, MaxSim, ...), not from 0 to 1"
    )
    document: TextDocument | None = Field(None, description="only with 'return_documents'")


class RerankTextsResponse(BaseModel):
    """Documents, best first; equal scores in the order they came."""

    model_config = examples(
        {
            "model": "minilm-late",
            "results": [{"index": 1, "relevance_score": 7.1}],
            "usage": {"prompt_tokens": 20, "total_tokens": 20},
        }
    )

    model: str
    results: list[RerankedText]
    usage: Usage
