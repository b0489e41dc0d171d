"""Frozen configuration values. Unknown keys fail; defaults never change after import."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrieval.errors import ConfigError
from retrieval.types import EncoderKind, Precision

__all__ = ["EncoderConfig", "IndexConfig", "RuntimeConfig"]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Build from keyword values; a bad one raises `ConfigError` naming it."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise ConfigError(f"{name}={first.get('input')!r}: {first['msg']}") from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed, validated again."""
        return type(self).of(**{**self.model_dump(), **changes})


class EncoderConfig(_Config):
    """Which model reads text, and how: everything that changes its vectors.

    It is stored in the index, so that opening the index finds the same encoder again.
    """

    name: str = Field(min_length=1, description="built-in name, checkpoint folder or hub name")
    kind: EncoderKind | Literal["auto"] = Field(
        default="auto", description="one vector a text, or one a token"
    )
    revision: str | None = Field(default=None, description="hub revision (branch, tag or commit)")
    truncate_dim: int | None = Field(default=None, ge=1, description="keep the first dimensions (dense)")
    query_length: int | None = Field(default=None, ge=1, description="token limit of a query (late)")
    document_length: int | None = Field(default=None, ge=1, description="token limit of a document")
    query_prompt: str | None = Field(default=None, description="prompt before a query; default: the model's")
    document_prompt: str | None = Field(
        default=None, description="prompt before a document; default: the model's"
    )
    projection: Literal["trained", "none"] = Field(
        default="trained",
        description="late: the checkpoint's projection, or the backbone's token vectors as they are",
    )


class RuntimeConfig(_Config):
    """How the model runs on this machine; does not change which index it fits."""

    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1, mps"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="arithmetic of the model"
    )
    backend: Literal["torch", "onnx", "openvino"] = Field(default="torch", description="what runs the model")
    kernels: Literal["auto", "cpu", "cuda", "reference"] = Field(
        default="auto", description="what scores: auto is cuda where the device is, else cpu"
    )
    token_budget: int = Field(default=4096, ge=16, description="padded tokens in one batch")
    maintenance: Literal["background", "manual"] = Field(
        default="background", description="who folds pending documents and merges segments after writes"
    )
    pending_documents: int = Field(
        default=1024, ge=1, description="documents that wait in the catalog before they become a segment"
    )
    pending_bytes: int = Field(default=16 << 20, ge=1, description="bytes that wait, likewise")
    trust_remote_code: bool = Field(default=False, description="run code that the checkpoint brings along")

    @property
    def backend_of_kernels(self) -> Literal["cpu", "cuda", "reference"]:
        """``kernels`` with ``auto`` decided: a GPU scores when the device was asked for by name."""
        if self.kernels != "auto":
            return self.kernels
        return "cuda" if self.device.startswith("cuda") else "cpu"


class IndexConfig(_Config):
    """How documents are stored."""

    precision: Precision | Literal["auto"] = Field(
        default="auto", description="stored vectors; auto: float32 for dense, float16 for late"
    )
    segment_documents: int = Field(default=4096, ge=1, le=10_000_000, description="documents in one segment")
    segment_text_bytes: int = Field(
        default=256 << 20, ge=1, le=1 << 30, description="titles, texts and metadata in one segment"
    )

    def resolve(self, kind: EncoderKind) -> IndexConfig:
        """Fill in what depends on the encoder."""
        if self.precision != "auto":
            return self
        return self.replace(precision="float32" if kind == "dense" else "float16")
