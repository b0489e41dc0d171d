"""What an evaluation found, ready to print or to write as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.evaluate.beir import BeirDataset
from retrieval.evaluate.measures import Measured
from retrieval.storage import IndexInfo

__all__ = ["EvalResult", "count_judgements", "describe_encoder", "describe_index"]


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Quality, sizes and times of one configuration on one split of a collection."""

    dataset: str
    split: str
    encoder: str | None
    """The encoder's name; None for a run file."""
    measured: Measured
    queries: Mapping[str, int]
    """``judged``; ``answered``: with at least one hit; ``not_judged``: left out, in the queries
    file or the run only."""
    judgements: Mapping[str, int]
    """``total``, ``relevant`` (grade above zero), ``documents`` (distinct) and, when the index was
    asked, ``documents_not_in_index``."""
    ignore_same_id: bool
    depth: int | None = None
    """Hits asked for per query; None for a run file."""
    index: Mapping[str, Any] | None = None
    """Documents, tokens, bytes; see `describe_index`."""
    times: Mapping[str, float | None] = field(default_factory=dict)
    """Seconds, encoding apart: ``query_encode_seconds`` and ``search_seconds`` of all judged
    queries, ``build_seconds`` and ``document_encode_seconds`` when the index was built."""
    threads: int | None = None

    @property
    def measures(self) -> dict[str, float]:
        """Mean over all judged queries, by printed name; an unanswered query counts zero."""
        return self.measured.mean

    def to_json(self) -> dict[str, Any]:
        """One object of plain values. ``measures_over_answered`` is there when it differs."""
        told: dict[str, Any] = {
            "dataset": self.dataset,
            "split": self.split,
            "encoder": self.encoder,
            "measures": dict(self.measured.mean),
        }
        if self.measured.answered != len(self.measured.per_query):
            told["measures_over_answered"] = dict(self.measured.mean_over_answered)
        told["queries"] = dict(self.queries)
        told["judgements"] = dict(self.judgements)
        told["ignore_same_id"] = self.ignore_same_id
        told["depth"] = self.depth
        told["index"] = None if self.index is None else dict(self.index)
        told["times"] = dict(self.times)
        told["threads"] = self.threads
        return told


def count_judgements(dataset: BeirDataset) -> dict[str, int]:
    """How many judgements a split has, how many are relevant, of how many documents."""
    grades = [grade for judged in dataset.qrels.values() for grade in judged.values()]
    documents = {doc_id for judged in dataset.qrels.values() for doc_id in judged}
    return {
        "total": len(grades),
        "relevant": sum(grade > 0 for grade in grades),
        "documents": len(documents),
    }


def describe_index(info: IndexInfo) -> dict[str, Any]:
    """Sizes of an index: documents, tokens, vectors' form, bytes on disk by component."""
    total = sum(info.bytes.values())
    return {
        "kind": info.kind,
        "metric": info.metric,
        "dim": info.dim,
        "precision": info.precision,
        "pooling": info.pooling,
        "documents": info.documents,
        "tokens": info.tokens,
        "segments": info.segments,
        "bytes": total,
        "bytes_per_document": round(total / info.documents, 1) if info.documents else None,
        "components": dict(info.bytes),
    }


def describe_encoder(info: IndexInfo) -> str:
    """A short name: the configured one, else what the encoder calls itself."""
    source = info.encoder or info.fingerprint
    return str(source.get("name", "custom"))
