"""How the API's description tells of the body of documents, which FastAPI does not parse."""

from __future__ import annotations

import json
from typing import Any

from server.http.media import ARROW, JSON, NDJSON
from server.schemas.base import DOCUMENT
from server.schemas.documents import DocumentsRequest

__all__ = ["IDEMPOTENCY_KEY", "WRITE_BODY"]

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 1}
_PACKED = {"$ref": "#/components/schemas/PackedVectors"}
_DOCUMENT = {
    "type": "object",
    "required": ["id", "text"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "minLength": 1, "description": "at most 512 bytes, no control characters"},
        "text": {"type": "string"},
        "title": {"type": "string", "default": ""},
        "metadata": {
            "type": "object",
            "description": "booleans, numbers, texts, lists and objects of these; a field has one type. One "
            "that holds dates or time stamps takes them as ISO 8601 texts, as it gives them",
        },
        "vector": {
            "description": "its vector, where the collection's encoder is 'given' and of the kind dense",
            "anyOf": [_NUMBERS, _PACKED],
        },
        "vectors": {
            "description": "its token vectors, where the collection's encoder is 'given' and late",
            "anyOf": [{"type": "array", "items": _NUMBERS, "minItems": 1}, _PACKED],
        },
    },
}
_SECOND = {"_id": "doc-18", "text": "Heat transfer in slip flow", "year": 1961}


def _json_schema() -> dict[str, Any]:
    schema = DocumentsRequest.model_json_schema()
    schema["properties"]["documents"]["items"] = _DOCUMENT
    return schema


WRITE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Plain or gzip (Content-Encoding).",
        "content": {
            JSON: {"schema": _json_schema()},
            NDJSON: {
                "schema": {
                    "type": "string",
                    "description": "An object a line: 'id' (or '_id') and 'text', perhaps 'title'; all other "
                    "members are metadata, also those of an object under 'metadata'. Where the collection's "
                    "encoder is 'given', 'vector' or 'vectors' are not.",
                },
                "example": "".join(json.dumps(line) + "\n" for line in (DOCUMENT, _SECOND)),
            },
            ARROW: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "Arrow's IPC streaming format, its buffers not compressed: columns 'id' "
                    "and 'text', perhaps 'title'; all others are metadata, dates and times with their types, "
                    "but for 'vector' or 'vectors' (lists of floats) where the encoder is 'given'.",
                }
            },
        },
    }
}

IDEMPOTENCY_KEY: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "a new one for each request: a retry with the same key and content gets the "
            "answer again, for 24 hours; with other content it is refused",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }
    ]
}
