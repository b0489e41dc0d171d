"""Collections, aliases and snapshots."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from retrieval import PRESETS, EncoderConfig
from server.schemas.base import WHOLE, Strict, Text, examples

__all__ = [
    "AliasAction",
    "AliasActions",
    "AliasChanged",
    "AliasItem",
    "AliasList",
    "AliasTarget",
    "CollectionConfig",
    "CollectionDetail",
    "CollectionList",
    "CollectionState",
    "CollectionSummary",
    "Conversion",
    "Diagnosis",
    "Flushed",
    "Maintained",
    "RestoreRequest",
    "SnapshotItem",
    "SnapshotList",
    "SnapshotRequest",
]

MAX_QUERIES = 1000
MAX_DIM = 65_536
CollectionState = Literal["loading", "ready", "failed"]
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class CollectionConfig(Strict):
    """How a collection is made: the model, what is stored of its vectors, how they are found."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"encoder": "minilm-late", "precision": "int8", "preset": "tokens"},
                {"encoder": {"name": "minilm", "document_length": 128}},
                {"encoder": "given", "dim": 384, "metric": "cosine"},
            ]
        },
    )

    encoder: Text | dict[str, Any] = Field(
        description="a model that the server lists (GET /v1/models), or its name with settings: "
        + ", ".join(name for name in EncoderConfig.model_fields)
        + "; 'given': no model, documents and queries bring their vectors"
    )
    dim: Annotated[int, Field(ge=1, le=MAX_DIM), WHOLE] | None = Field(
        None, description="of given vectors: how many numbers each has"
    )
    kind: Literal["dense", "late"] | None = Field(
        None, description="of given vectors: one a document, or one a token; default: dense"
    )
    metric: Literal["dot", "cosine", "l2", "maxsim", "meanmaxsim"] | None = Field(
        None, description="of given vectors: how they are compared; default: cosine, or of late ones maxsim"
    )
    model: Text | None = Field(None, description="of given vectors: a label for what made them")
    precision: Literal["auto", "float32", "float16", "int8", "residual"] = Field(
        "auto", description="stored vectors; auto: float32 for dense, float16 for late"
    )
    pooling: str = Field(
        "none", description="fewer token vectors a document: ward:2, fixed:32, words, norm:0.5"
    )
    preset: str | None = Field(None, description="how documents are found: " + ", ".join(PRESETS))
    recipe: dict[str, Any] | None = Field(None, description="settings of the recipe, over the preset's")


class Conversion(Strict):
    """How a collection is to be stored and found from now on; what is not given stays."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"preset": "tokens", "precision": "int8"}, {}]},
    )

    precision: Literal["float32", "float16", "int8", "residual"] | None = None
    preset: str | None = Field(None, description="one of: " + ", ".join(PRESETS))
    recipe: dict[str, Any] | None = Field(None, description="settings of the recipe, over the preset's")
    retrain: bool = Field(False, description="train the recipe that is there anew")
    force: bool = Field(False, description="train even on vectors that hardly differ")
    queries: Annotated[list[Text], Field(fail_fast=True)] | None = Field(
        None, min_length=1, max_length=MAX_QUERIES, description="real queries to learn and measure with"
    )


class Diagnosis(Strict):
    """What to diagnose a collection with."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{}]})

    queries: Annotated[list[Text], Field(fail_fast=True)] | None = Field(
        None, min_length=1, max_length=MAX_QUERIES, description="real queries to measure with"
    )


class CollectionSummary(BaseModel):
    """One collection in the list."""

    name: str
    state: CollectionState = Field(description="loading at start; failed: 'detail' says why")
    detail: str | None = Field(None, description="why the collection failed")
    kind: Literal["dense", "late"] | None = Field(None, description="one vector a document, or one a token")
    documents: int | None = Field(None, description="absent, like the kind, until the collection is ready")
    aliases: list[str] = Field(default_factory=list, description="other names that lead here")


class CollectionList(BaseModel):
    """All collections, by name."""

    model_config = examples(
        {
            "collections": [
                {"name": "notes", "state": "loading", "aliases": []},
                {"name": "papers", "state": "ready", "kind": "late", "documents": 5183, "aliases": ["main"]},
            ],
            "next_cursor": None,
        }
    )

    collections: list[CollectionSummary]
    next_cursor: str | None = Field(None, description="asks for those that follow; null: there are none")


class CollectionDetail(BaseModel):
    """What a collection holds and how it is scored."""

    model_config = examples(
        {
            "name": "papers",
            "kind": "late",
            "metric": "maxsim",
            "dim": 128,
            "precision": "float16",
            "pooling": "none",
            "documents": 5183,
            "pending": 12,
            "deleted": 3,
            "tokens": 915_872,
            "segments": 2,
            "bytes": {"codes": 234_463_232, "offsets": 41_480, "documents": 8_120_004, "catalog": 98_304},
            "encoder": "minilm-late",
            "fields": {"year": "int64"},
            "generation": 2,
            "created_at": "2026-01-31T12:00:00+00:00",
            "format_version": 2,
            "aliases": ["main"],
            "writable": True,
            "recipe": {"index": "tokens", "codec": "none", "recall_target": 0.95},
            "quality": None,
            "strain": 0.21,
            "unarranged": 0,
            "advice": [],
        }
    )

    name: str
    kind: Literal["dense", "late"] = Field(description="one vector a document, or one a token")
    metric: str = Field(description="how a query and a document are compared; larger is better")
    dim: int = Field(description="dimension of a vector")
    precision: str = Field(description="how vectors are stored")
    pooling: str = Field(description="how tokens share vectors")
    documents: int
    pending: int = Field(description="documents that wait to become part of a segment; searched like others")
    deleted: int = Field(description="documents that are deleted and still take room")
    tokens: int = Field(description="vectors stored; as many as documents for a dense collection")
    segments: int
    bytes: dict[str, int] = Field(description="size on disk by component")
    encoder: str | None = Field(
        description="name of the model; given: documents bring their vectors; null for an encoder of the "
        "server's own"
    )
    fields: dict[str, str] = Field(description="metadata fields and their types")
    generation: int = Field(description="the commit that is being served")
    created_at: str
    format_version: int = Field(description="of the index on disk")
    aliases: list[str] = Field(description="other names that lead here")
    writable: bool = Field(description="whether this server may change it")
    recipe: dict[str, Any] | None = Field(
        None, description="how documents are found; null: every one is scored"
    )
    quality: dict[str, Any] | None = Field(
        None, description="what was measured of the recipe on these documents"
    )
    strain: float | None = Field(
        None, description="what centroids leave of the tokens, to be compared with the strain in 'quality'"
    )
    unarranged: int = Field(
        0,
        description="documents in segments without a graph, or lists, of the recipe: all of them are scored",
    )
    advice: list[str] = Field(description="what should be done, and why")


class Flushed(BaseModel):
    """What a flush did."""

    model_config = examples({"documents": 12, "generation": 7})

    documents: int = Field(description="pending documents that are in a segment now")
    generation: int


class Maintained(BaseModel):
    """What upkeep did."""

    model_config = examples({"folded": 12, "merges": 1, "segments": 3, "apart": None})

    folded: int = Field(description="pending documents that are in a segment now")
    merges: int
    segments: int = Field(description="segments there are now")
    apart: str | None = Field(None, description="why segments were not merged that should be; null: none")


class AliasItem(BaseModel):
    """Another name, and the collection it leads to."""

    model_config = examples({"alias": "main", "collection": "papers"})

    alias: str
    collection: str


class AliasList(BaseModel):
    """All aliases, by name."""

    model_config = examples({"aliases": [{"alias": "main", "collection": "papers"}], "next_cursor": None})

    aliases: list[AliasItem]
    next_cursor: str | None = None


class AliasTarget(Strict):
    """Where an alias leads."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"collection": "papers"}]}
    )

    collection: str = Field(pattern=NAME)


class AliasChanged(AliasItem):
    """Where an alias leads now, and led before."""

    model_config = examples({"alias": "main", "collection": "papers", "previous": "papers-2025"})

    previous: str | None = None


class AliasAction(Strict):
    """One change."""

    action: Literal["put", "delete"]
    alias: str = Field(pattern=NAME)
    collection: str | None = Field(None, pattern=NAME, description="for put")


class AliasActions(Strict):
    """Changes that take place together or not at all."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "actions": [
                        {"action": "put", "alias": "main", "collection": "papers"},
                        {"action": "delete", "alias": "next"},
                    ]
                }
            ]
        },
    )

    actions: list[AliasAction] = Field(min_length=1, max_length=1000)


class SnapshotRequest(Strict):
    """What to call a snapshot."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"name": "before-the-move"}, {}]}
    )

    name: str | None = Field(None, pattern=NAME, description="default: the time and the generation")


class SnapshotItem(BaseModel):
    """A copy of one commit, as one file."""

    model_config = examples(
        {
            "name": "before-the-move",
            "created_at": "2026-01-31T12:00:00+00:00",
            "bytes": 243_000_000,
            "documents": 5183,
            "generation": 7,
        }
    )

    name: str
    created_at: str
    bytes: int
    documents: int
    generation: int


class SnapshotList(BaseModel):
    """Snapshots of a collection, by name."""

    model_config = examples(
        {
            "snapshots": [
                {
                    "name": "before-the-move",
                    "created_at": "2026-01-31T12:00:00+00:00",
                    "bytes": 243_000_000,
                    "documents": 5183,
                    "generation": 7,
                }
            ],
            "next_cursor": None,
        }
    )

    snapshots: list[SnapshotItem]
    next_cursor: str | None = None


class RestoreRequest(Strict):
    """Where a snapshot is to be restored."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"collection": "papers-restored"}, {}]}
    )

    collection: str | None = Field(None, pattern=NAME, description="default: the collection itself, replaced")
