"""The models that requests may name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from server.schemas.base import examples

__all__ = ["ModelItem", "ModelList"]

_MODEL = {"id": "minilm", "object": "model", "kind": "dense", "dim": 384}


class ModelItem(BaseModel):
    """A model."""

    id: str = Field(description="what a request calls it")
    object: Literal["model"] = "model"
    kind: Literal["dense", "late"] = Field(description="one vector a text, or one a token")
    dim: int | None = Field(None, description="dimension of a vector, once the model has been loaded")


class ModelList(BaseModel):
    """All of them; the form is that of OpenAI's list."""

    model_config = examples({"object": "list", "data": [_MODEL]})

    object: Literal["list"] = "list"
    data: list[ModelItem]
