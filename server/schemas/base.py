"""What every model of the wire shares: requests refuse what they do not know, answers carry examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "DEFAULT_LIMIT",
    "DOCUMENT",
    "NOT_BLANK",
    "WHOLE",
    "Bounded",
    "Cursor",
    "DocumentIds",
    "Empty",
    "Fields",
    "FilterObject",
    "HitField",
    "Limit",
    "Positive",
    "Strict",
    "Text",
    "Vector",
    "examples",
]

DEFAULT_LIMIT = 10
MAX_MISTAKES = 100
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


class Bounded(BaseModel):
    """What a client sends: of very many mistakes only their number is told. To write each of them down would
    take seconds, and a body of a megabyte has room for some hundred thousand.

    Lists of what clients send are ``fail_fast`` for the same reason.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _few_mistakes(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as error:
            if error.error_count() <= MAX_MISTAKES:
                raise
            told = "Input has {n} mistakes; send what the API's description says"
            raise PydanticCustomError("too_many_mistakes", told, {"n": error.error_count()}) from None


class Strict(Bounded):
    """A request: unknown members and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Empty(Strict):
    """A request without members."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{}]})


WHOLE = BeforeValidator(_whole)
"""Of integers, after their bounds: those that come later are missing in the API's description."""
Positive = Annotated[int, Field(ge=1), WHOLE]
Limit = Annotated[Positive, Field(description="how many at most")]
Text = Annotated[str, StringConstraints(min_length=1, pattern=NOT_BLANK)]
Vector = Annotated[list[float], Field(fail_fast=True)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
DocumentIds = Annotated[list[str], Field(fail_fast=True, description="document ids", min_length=1)]
Fields = Annotated[
    list[HitField],
    Field(max_length=3, description="what of each document to return; an empty list: ids alone"),
]
FilterObject = Annotated[
    dict[str, Any],
    Field(description="only documents that it accepts: must, should, must_not, or fields and values"),
]
