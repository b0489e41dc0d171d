"""From the JSON of an answer to the values that the engine returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retrieval.client.records import CollectionDetail
from retrieval.maintenance import MaintenanceReport
from retrieval.storage import IndexInfo, VerifyReport
from retrieval.types import (
    Document,
    Explanation,
    FloatArray,
    Hit,
    Page,
    SearchResult,
    Token,
    TokenMatch,
    TrainingReport,
)

__all__ = [
    "document_of",
    "explanation_of",
    "index_info_of",
    "maintenance_report_of",
    "page_of",
    "search_result_of",
    "vectors_of",
    "verify_report_of",
]


def document_of(values: Mapping[str, Any]) -> Document:
    """A document; what was not asked for is empty."""
    return Document(
        values["id"], values.get("text") or "", values.get("title") or "", values.get("metadata") or {}
    )


def page_of(values: Mapping[str, Any]) -> Page:
    """Documents of ``fetch`` or ``scroll``."""
    return Page(
        tuple(document_of(item) for item in values["documents"]),
        values["generation"],
        tuple(values.get("missing", ())),
        values.get("next_cursor"),
    )


def search_result_of(values: Mapping[str, Any]) -> SearchResult:
    """Hits and what was told about them."""
    hits = tuple(
        Hit(hit["id"], hit["score"], hit.get("title"), hit.get("text"), hit.get("metadata"))
        for hit in values["hits"]
    )
    return SearchResult(
        hits,
        values["generation"],
        values.get("timings_ms", {}),
        values.get("partial", False),
        values.get("plan"),
    )


def explanation_of(query: str, values: Mapping[str, Any]) -> Explanation:
    """Why a document got its score for ``query``."""
    return Explanation(
        values["id"],
        query,
        values["text"],
        values["score"],
        tuple(_match(match) for match in values["matches"]),
        values.get("scored_from", "stored"),
    )


def _match(values: Mapping[str, Any]) -> TokenMatch:
    found = values["document_token"]
    return TokenMatch(
        _token(values["query_token"]),
        None if found is None else _token(found),
        values["document_position"],
        values["similarity"],
        values["contribution"],
        tuple(_token(token) for token in values.get("document_tokens") or ()),
    )


def _token(values: Mapping[str, Any]) -> Token:
    return Token(values["text"], values.get("start"), values.get("end"))


def index_info_of(path: str, values: Mapping[str, Any], detail: CollectionDetail) -> IndexInfo:
    """What a collection's detail tells of an index; the rest as it stands in `IndexInfo` for "unknown"."""
    encoder = {"name": detail.encoder} if detail.encoder is not None else None
    return IndexInfo(
        path=path,
        format_version=values.get("format_version", 0),
        generation=detail.generation,
        kind=detail.kind,
        metric=detail.metric,
        dim=detail.dim,
        precision=detail.precision,
        recipe=detail.recipe,
        quality=detail.quality,
        documents=detail.documents,
        pending=detail.pending,
        deleted=values.get("deleted", 0),
        tokens=detail.tokens,
        segments=detail.segments,
        bytes=detail.bytes,
        encoder=encoder,
        fingerprint=values.get("fingerprint", {}),
        fields=detail.fields,
        created_at=detail.created_at,
        complete=True,  # what is not is no collection that answers
        pooling=detail.pooling,
        strain=values.get("strain"),
        unarranged=values.get("unarranged", 0),
    )


def maintenance_report_of(values: Mapping[str, Any]) -> MaintenanceReport:
    """What upkeep did."""
    trained = values.get("training")
    training = None
    if trained is not None:
        told = tuple(trained.get("warnings", ()))
        training = TrainingReport(trained.get("quality"), told, trained.get("seconds", 0.0))
    counts = values["folded"], values["merges"], values["segments"]
    return MaintenanceReport(*counts, training, values.get("apart"))


def verify_report_of(values: Mapping[str, Any]) -> VerifyReport:
    """What was checked and what is wrong."""
    return VerifyReport(values["files"], values["bytes"], tuple(values["problems"]))


def vectors_of(items: Sequence[Mapping[str, Any]]) -> list[FloatArray]:
    """Embeddings in the order of the texts: ``(d,)`` each, or ``(n_tokens, d)`` of a late model."""
    ordered = sorted(items, key=lambda item: int(item["index"]))
    return [np.asarray(item["embedding"], dtype=np.float32) for item in ordered]
