"""What is asked of which index: built from vectors that were encoded once, or one that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.embeddings import document_vectors, token_lengths, token_vectors
from retrieval import Engine, IndexConfig
from retrieval.corpus import ErrorPolicy, open_corpus
from retrieval.encode import load_encoder
from retrieval.encode.base import ConfiguredEncoder, encode_queries
from retrieval.evaluate.beir import load_queries
from retrieval.presets import recipe_of
from retrieval.types import EncoderKind, FloatArray, Ragged

__all__ = ["ENCODERS", "Questions", "build", "questions", "stored_vectors"]

ENCODERS: dict[EncoderKind, str] = {"dense": "minilm", "late": "minilm-late"}
Vectors = FloatArray | list[FloatArray]


@dataclass(frozen=True)
class Questions:
    """``texts`` and their vectors: ``(d,)`` each, or ``(n_tokens, d)``."""

    texts: list[str]
    vectors: list[FloatArray]


class Looked:
    """An encoder that knows the documents' vectors, and is another one in all else."""

    def __init__(self, inner: Any, texts: Sequence[str], vectors: Any) -> None:
        self._row = {text: i for i, text in enumerate(texts)}
        self._vectors, self._inner = vectors, inner
        self.kind, self.metric, self.dim, self.config = inner.kind, inner.metric, inner.dim, inner.config
        self.fingerprint, self.encode_query = inner.fingerprint, inner.encode_query
        if inner.kind == "late":
            self.query_tokens, self.document_tokens = inner.query_tokens, inner.document_tokens

    def encode_document(self, texts: Sequence[str], **_: Any) -> Vectors:
        """What was encoded before."""
        found = [np.asarray(self._vectors[self._row[text]], dtype=np.float32) for text in texts]
        return found if self.kind == "late" else np.stack(found)


def build(data: Path, kind: EncoderKind, preset: str, cache: Path) -> Path:
    """An index of the collection in ``data``, in the cache folder; made if it is not there yet."""
    target = cache / "serve" / f"{data.name}-{kind}-{preset}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        encoder = _encoder(data, kind, cache)
        config = IndexConfig.of(recipe=recipe_of(preset, None))
        Engine.build(target, open_corpus(data, policy=ErrorPolicy("skip")), encoder, config=config)
    return target


def questions(data: Path, engine: Engine, n: int, seed: int = 0) -> Questions:
    """At most ``n`` of the collection's queries, chosen by the seed, encoded by the engine's encoder."""
    found = [path for ending in ("", ".gz") if (path := data / f"queries.jsonl{ending}").is_file()]
    if not found:
        raise ValueError(f"there are no queries in {data}; give a BEIR collection with --data")
    texts = [text for text in dict.fromkeys(load_queries(found[0]).values()) if text.strip()]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[:n])
    wanted = [texts[i] for i in chosen]
    encoded = encode_queries(engine.encoder, wanted)
    dense = engine.kind == "dense"
    return Questions(wanted, [encoded[i][0] if dense else encoded[i] for i in range(len(wanted))])


def stored_vectors(engine: Engine) -> tuple[list[str], Ragged]:
    """Ids and vectors of all documents as the index holds them, decoded: what others are given too."""
    snapshot = engine.located()[0].snapshot
    ids: list[str] = []
    arrays: list[FloatArray] = []
    for view in snapshot.segments:
        kept = np.arange(view.n_documents) if view.live is None else np.flatnonzero(view.live)
        ids += view.documents.ids(kept)
        arrays += [np.asarray(snapshot.codec.decode(view.document_codes(int(i)))) for i in kept]
    return ids, Ragged.from_list(arrays, engine.inspect().dim)


def _encoder(data: Path, kind: EncoderKind, cache: Path) -> Looked:
    name = ENCODERS[kind]
    inner = load_encoder(name)
    assert isinstance(inner, ConfiguredEncoder)  # every one that has a name
    records = open_corpus(data, policy=ErrorPolicy("skip"))
    texts = [record.document.full_text for record in records if record.document.full_text]
    if kind == "dense":
        return Looked(inner, texts, document_vectors(data, cache, name)[0])
    ends = np.cumsum(token_lengths(data, cache, "documents", name))
    values = token_vectors(data, cache, "documents", name)
    return Looked(inner, texts, np.split(values, ends[:-1]))
