"""Hits and explanations as JSON values, and answers as bytes.

Plain dictionaries: making a model of every hit first would cost more than the search. Tests hold them to the
models of `server.schemas.search`. What was not asked for is absent; a null inside metadata stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from retrieval.jsonable import json_value
from retrieval.types import Explanation, Hit, Token, TokenMatch

__all__ = ["explanation_value", "hit_value", "rendered"]


def rendered(value: Mapping[str, Any]) -> bytes:
    """An answer's bytes; a number that JSON cannot say is null."""
    return to_json(value, inf_nan_mode="null")


def hit_value(hit: Hit) -> dict[str, Any]:
    """A hit, with what was asked for of it."""
    value: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if hit.title is not None:
        value["title"] = hit.title
    if hit.text is not None:
        value["text"] = hit.text
    if hit.metadata is not None:
        value["metadata"] = json_value(hit.metadata)
    return value


def explanation_value(explanation: Explanation) -> dict[str, Any]:
    """Why a document got its score."""
    return {
        "text": explanation.text,
        "score": explanation.score,
        "scored_from": explanation.scored_from,
        "matches": [_match(match) for match in explanation.matches],
    }


def _match(match: TokenMatch) -> dict[str, Any]:
    value: dict[str, Any] = {
        "query_token": _token(match.query_token),
        "document_token": None if match.document_token is None else _token(match.document_token),
        "document_position": match.document_position,
        "similarity": match.similarity,
        "contribution": match.contribution,
    }
    if match.document_tokens:
        value["document_tokens"] = [_token(token) for token in match.document_tokens]
    return value


def _token(token: Token) -> dict[str, Any]:
    return {"text": token.text, "start": token.start, "end": token.end}
