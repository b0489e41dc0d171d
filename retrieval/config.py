"""Frozen configuration values. Unknown keys fail; defaults never change after import."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from retrieval.errors import ConfigError
from retrieval.types import EncoderKind, Precision

__all__ = ["EncoderConfig", "IndexConfig", "RecipeConfig", "RuntimeConfig", "SearchConfig"]


MAX_REDUCERS = 8


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
    language: str | None = Field(
        default=None,
        description="language of the texts (en_XX), for a checkpoint with an adapter for each (XMOD)",
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
    trace_queries: bool = Field(
        default=False,
        description="encode a query that comes alone by a traced graph of the model, where that gives the "
        "same bits: sooner by what Python takes of it, for about a second more when the model is loaded",
    )
    token_budget: int = Field(default=4096, ge=16, description="padded tokens in one batch")
    query_threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="threads that share one late query, the asking one among them: the same answer, sooner "
        "where a query takes several milliseconds and few are asked at a time",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="threads that train, code and merge, whose number changes no result; default: every core "
        "that the process may use",
    )
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


class RecipeConfig(_Config):
    """How documents are found: reduce -> quantize -> index, trained on them once.

    Whatever the recipe, answers are scored again from the stored vectors (`IndexConfig.precision`).
    """

    index: Literal["exact", "flat", "ivf", "hnsw", "vamana", "funnel", "tokens", "auto"] = Field(
        default="exact",
        description="exact: score every stored vector; flat: every compressed code; ivf: those of the "
        "nearest lists; hnsw, vamana: a graph; funnel: longer and longer prefixes of the stored vectors; "
        "tokens: by the centroids of tokens (late interaction); auto: what measures best on a sample",
    )
    reduce: str = Field(
        default="none",
        max_length=256,
        description="fewer dimensions first: matryoshka:256, pca:128, leanvec:160, sparse:128, or a chain "
        "such as matryoshka:256+pca:128; late: muvera:10240 or lemur:2048 in it make one vector of many",
    )
    codec: Literal["bits", "pq", "opq", "int8", "float16", "sign", "ternary", "none"] = Field(
        default="bits",
        description="codes of the index (flat, ivf, hnsw), or of what centroids leave of a token (tokens: "
        "bits, pq, ternary, or none)",
    )
    bits: Literal[1, 2, 4, 8] = Field(default=1, description="bits a dimension (codec bits)")
    scan_bits: Literal[1, 2, 4] | None = Field(
        default=None,
        description="bits of each code that are scanned first; the others sharpen what is left (codec bits, "
        "index flat or ivf); default: all",
    )
    m: int | None = Field(
        default=None, ge=1, description="subquantisers (codec pq, opq); default: a quarter of the dimensions"
    )
    nbits: Literal[4, 8] = Field(default=4, description="bits a subquantiser (codec pq, opq)")
    nlist: int | None = Field(default=None, ge=1, description="lists (ivf); default: by the documents")
    residual: bool = Field(default=True, description="code what is left after the list's centroid (ivf)")
    ncentroids: int | None = Field(
        default=None, ge=1, description="centroids (tokens); default: by the tokens"
    )
    buckets: Literal["global", "dimension"] = Field(
        default="global", description="levels of bits: the same for all dimensions, or each its own (tokens)"
    )
    reps: int = Field(default=20, ge=1, le=1024, description="repetitions (muvera)")
    ksim: int | None = Field(
        default=None,
        ge=0,
        le=8,
        description="hyperplanes a repetition (muvera); default: the fewest, up to 5, that give as many "
        "dimensions",
    )
    proj_dim: int = Field(default=16, ge=1, description="dimensions of a partition (muvera)")
    m_links: int = Field(default=16, ge=2, le=128, description="links a vector (hnsw, vamana)")
    ef_construction: int = Field(
        default=100, ge=8, description="width of the search while building (hnsw, vamana)"
    )
    funnel: tuple[int, ...] = Field(default=(), description="prefix lengths (funnel); default: d/4, d/2")
    recall_target: float = Field(
        default=0.95, gt=0, le=1, description="recall that searches aim at unless they say otherwise"
    )
    sample: int = Field(default=131072, ge=256, description="documents to train on at most")
    held_out: int = Field(default=256, ge=8, description="pseudo-queries that measure the recall")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of everything random")

    @field_validator("reduce")
    @classmethod
    def _check_reduce(cls, reduce: str) -> str:
        if not re.fullmatch(r"none|[a-z0-9_-]+:\d+(\+[a-z0-9_-]+:\d+)*", reduce):
            told = "write none, a reducer and its dimensions (pca:128), or several joined by +"
            raise PydanticCustomError("reduce", told)
        if reduce.count("+") >= MAX_REDUCERS:
            raise PydanticCustomError("reduce", f"at most {MAX_REDUCERS} reducers follow each other")
        return reduce

    @field_validator("scan_bits")
    @classmethod
    def _check_scan_bits(cls, value: int | None, info: ValidationInfo) -> int | None:
        """There must be others, in codes that are scanned."""
        given = info.data  # what is wrong by itself is not in it
        if value is None or not {"index", "codec", "bits"} <= given.keys():
            return value
        if given["index"] not in {"flat", "ivf"} or given["codec"] != "bits":
            raise PydanticCustomError("scan_bits", "it needs the codec bits and the index flat or ivf")
        if value >= given["bits"]:
            raise PydanticCustomError(
                "scan_bits", "it must be less than bits={bits}", {"bits": given["bits"]}
            )
        return value


class SearchConfig(_Config):
    """How hard one search looks; None leaves it to the recall curve measured at build time."""

    recall_target: float | None = Field(default=None, gt=0, le=1, description="recall to aim at")
    exact: bool = Field(default=False, description="score every accepted document")
    budget_ms: float | None = Field(
        default=None, gt=0, description="milliseconds to stay within, where the recall allows it or not"
    )
    num_candidates: int | None = Field(default=None, ge=1, description="candidates that are refined")
    nprobe: int | None = Field(
        default=None,
        ge=1,
        description="lists that half of the queries visit at most (ivf), centroids of a query token (tokens)",
    )
    num_scored: int | None = Field(
        default=None, ge=1, description="documents scored by all their codes (tokens)"
    )
    ef_search: int | None = Field(default=None, ge=1, description="width of the walk (hnsw, vamana)")


class IndexConfig(_Config):
    """How documents are stored."""

    precision: Precision | Literal["auto"] = Field(
        default="auto",
        description="stored vectors; auto: float32 for dense, float16 for late; residual: only the codes "
        "of the index tokens",
    )
    pooling: str = Field(
        default="none",
        description="fewer token vectors a document (late interaction): ward:2, fixed:32, words, norm:0.5, "
        'drop:["the", "of"]',
    )
    recipe: RecipeConfig = Field(default_factory=RecipeConfig, description="how documents are found")
    segment_documents: int = Field(default=4096, ge=1, le=10_000_000, description="documents in one segment")
    segment_text_bytes: int = Field(
        default=256 << 20,
        ge=1,
        le=1 << 30,
        description="titles, texts, metadata and given vectors in one segment",
    )

    @property
    def stored_precision(self) -> Precision | None:
        """What vectors are to be stored as; None where that is not said."""
        return None if self.precision == "auto" else self.precision

    @property
    def first_precision(self) -> Precision:
        """What vectors are stored as before anything is trained: int8 and residual learn from documents."""
        if self.precision == "auto":
            raise ConfigError("the precision is auto; resolve it for a kind of encoder first")
        return "float16" if self.precision in ("int8", "residual") else self.precision

    def as_json(self) -> dict[str, Any]:
        """As a JSON value; without what is the default and older versions do not know."""
        values = self.model_dump(mode="json")
        if self.recipe == RecipeConfig():
            del values["recipe"]
        if self.pooling == "none":
            del values["pooling"]
        return values

    def resolve(self, kind: EncoderKind) -> IndexConfig:
        """Fill in what depends on the encoder."""
        if self.precision != "auto":
            return self
        return self.replace(precision="float32" if kind == "dense" else "float16")
