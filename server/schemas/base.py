"""What every model of the wire shares: requests refuse what they do not know, answers carry examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

__all__ = [
    "DEFAULT_LIMIT",
    "DOCUMENT",
    "NOT_BLANK",
    "Cursor",
    "DocumentIds",
    "Empty",
    "Fields",
    "FilterObject",
    "HitField",
    "Limit",
    "Strict",
    "Text",
    "Whole",
    "examples",
]

DEFAULT_LIMIT = 10
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
"""Something besides what ``str.strip`` takes away, which is how the engine knows an empty query."""
DOCUMENT = {
    "id": "doc-17",
    "title": "Lift of",
    "text": "thin wings",
    "metadata": {"year": 1958, "published": "1958-03-01"},
}

HitField = Literal["title", "text", "metadata"]


def _whole(value: Any) -> Any:
    """3.0 is an integer in JSON Schema; strings and booleans stay refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def examples(*shown: dict[str, Any]) -> ConfigDict:
    """The configuration of an answer's model, with examples."""
    return ConfigDict(json_schema_extra={"examples": list(shown)})


class Strict(BaseModel):
    """A request: unknown members and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Empty(Strict):
    """A request without members."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{}]})


Whole = Annotated[int, BeforeValidator(_whole)]
Limit = Annotated[Whole, Field(ge=1, description="how many at most")]
Text = Annotated[str, StringConstraints(min_length=1, pattern=NOT_BLANK)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
DocumentIds = Annotated[list[str], Field(description="document ids", min_length=1)]
Fields = Annotated[
    list[HitField],
    Field(max_length=3, description="what of each document to return; an empty list: ids alone"),
]
FilterObject = Annotated[
    dict[str, Any],
    Field(description="only documents that it accepts: must, should, must_not, or fields and values"),
]
