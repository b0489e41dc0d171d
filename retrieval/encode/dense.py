"""One vector a text: an adapter over ``sentence_transformers.SentenceTransformer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode.base import EncodeProgress
from retrieval.encode.checkpoint import Checkpoint
from retrieval.encode.language import choose_language
from retrieval.encode.runtime import library_errors, library_kwargs, quiet_loading
from retrieval.encode.text_model import Task, TextModel, position_limit, resolve_prompts
from retrieval.encode.weights import settings_sha256, tokenizer_sha256, weights_sha256
from retrieval.errors import EncoderError
from retrieval.types import EncoderKind, FloatArray, Metric

__all__ = ["DenseEncoder"]

METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}


class DenseEncoder:
    """A `ConfiguredEncoder` with the checkpoint's pooling, prompts, normalisation and similarity.

    ``truncate_dim`` keeps the first dimensions as the library does, after normalisation, so
    truncated vectors are shorter than 1. ``document_length`` sets the model's token limit, which
    queries share.

    Raises:
        EncoderError: the checkpoint cannot be loaded, or an option does not fit it.
    """

    kind: EncoderKind = "dense"

    def __init__(self, config: EncoderConfig, checkpoint: Checkpoint, runtime: RuntimeConfig) -> None:
        _refuse_late_options(config)
        self.config = config
        with library_errors(f"cannot load encoder {config.name!r}"):
            model = _load(config, checkpoint, runtime)
            language = choose_language(model, config)
        self.metric = _metric(model, config)
        self.dim = _dim(model, config)
        is_unit = _normalizes(model)
        limit = _limit(model, config)
        self._model = TextModel(
            model,
            runtime,
            prompts=resolve_prompts(model, config),
            limits={"query": limit, "document": limit},
            floors={"query": 0, "document": 0},
            renormalize=is_unit and model.truncate_dim is None and runtime.dtype != "float32",
            is_dense=True,
        )
        self._fingerprint = {
            "weights_sha256": weights_sha256(checkpoint.folder),
            "tokenizer_sha256": tokenizer_sha256(checkpoint.folder),
            "settings_sha256": settings_sha256(checkpoint.folder, checkpoint.weighted_folders),
            "kind": self.kind,
            "language": language,
            "pooling": _pooling(model),
            "normalize": is_unit,
            "query_prompt": self._model.prompts["query"],
            "document_prompt": self._model.prompts["document"],
            "query_length": limit,
            "document_length": limit,
            "query_expansion": None,
            "skiplist": None,
            "projection": None,
            "dim": self.dim,
            "truncate_dim": model.truncate_dim,
            "metric": self.metric,
        }

    @property
    def truncated_documents(self) -> int:
        """How many documents so far were longer than the token limit, and were cut."""
        return self._model.truncated_documents

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes the vectors, as JSON values; not the device, dtype or path."""
        return dict(self._fingerprint)

    def encode_query(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> FloatArray:
        """``(n, d)`` float32, in the order of ``texts``."""
        return self._encode(texts, "query", progress)

    def trace_queries(self) -> bool:
        """Encode a query that comes alone by a traced graph of the model from now on, where that gives the
        same bits (`retrieval.encode.traced`); whether it does. Takes a second, and is for who stays."""
        return self._model.trace_queries()

    def encode_document(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> FloatArray:
        """``(n, d)`` float32, in the order of ``texts``."""
        return self._encode(texts, "document", progress)

    def _encode(self, texts: Sequence[str], task: Task, progress: EncodeProgress | None) -> FloatArray:
        vectors = self._model.encode(texts, task, progress)
        return np.stack(vectors) if vectors else np.empty((0, self.dim), dtype=np.float32)


def _refuse_late_options(config: EncoderConfig) -> None:
    if config.query_length is not None:
        raise EncoderError(
            f"query_length={config.query_length} is for late-interaction encoders; "
            "a dense encoder has one token limit, document_length"
        )
    if config.projection != "trained":
        raise EncoderError(
            f"projection={config.projection!r} is for late-interaction encoders; set kind='late' to use "
            f"{config.name!r} as one"
        )


def _load(config: EncoderConfig, checkpoint: Checkpoint, runtime: RuntimeConfig) -> Any:
    from sentence_transformers import SentenceTransformer

    with quiet_loading():
        return SentenceTransformer(
            str(checkpoint.folder), truncate_dim=config.truncate_dim, **library_kwargs(runtime)
        )


def _metric(model: Any, config: EncoderConfig) -> Metric:
    name = model.similarity_fn_name
    if name not in METRICS:
        raise EncoderError(
            f"{config.name!r} compares vectors by {name!r}, which no index supports; "
            f"supported: {', '.join(METRICS)}"
        )
    return METRICS[name]


def _dim(model: Any, config: EncoderConfig) -> int:
    truncate_dim, model.truncate_dim = model.truncate_dim, None
    full = model.get_embedding_dimension()
    model.truncate_dim = truncate_dim
    if full is None:
        raise EncoderError(f"{config.name!r} does not say how many dimensions its vectors have")
    if truncate_dim is not None and truncate_dim > full:
        raise EncoderError(
            f"truncate_dim={truncate_dim} is more than the {full} dimensions of {config.name!r}"
        )
    return int(truncate_dim or full)


def _limit(model: Any, config: EncoderConfig) -> int | None:
    limit = position_limit(model, "document_length", config.document_length)
    if config.document_length is not None:
        if not isinstance(model.max_seq_length, int):
            raise EncoderError(f"{config.name!r} has no token limit that document_length could set")
        model.max_seq_length = limit
    return limit


def _normalizes(model: Any) -> bool:
    """Whether the pipeline ends in vectors of length 1."""
    from sentence_transformers.base.modules import Normalize

    last = list(model.children())[-1]
    return isinstance(last, Normalize) and last.module_output_name == "sentence_embedding"


def _pooling(model: Any) -> str | None:
    """How token vectors become one, such as ``mean`` or ``cls+mean``."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    told = []
    for module in model.modules():
        if isinstance(module, Pooling):
            mode = module.pooling_mode
            name = mode if isinstance(mode, str) else "+".join(mode)
            told.append(name if module.include_prompt else f"{name} without prompt")
    return ", ".join(told) or None
