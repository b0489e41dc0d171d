"""One vector a token: an adapter over ``sentence_transformers.MultiVectorEncoder``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode.base import EncodeProgress
from retrieval.encode.builtin import SkipList
from retrieval.encode.checkpoint import Checkpoint
from retrieval.encode.language import choose_language
from retrieval.encode.late_loading import load_late
from retrieval.encode.runtime import library_errors
from retrieval.encode.text_model import Task, TextModel, position_limit, resolve_prompts
from retrieval.encode.tokens import vector_tokens
from retrieval.encode.weights import settings_sha256, tokenizer_sha256, weights_sha256
from retrieval.errors import EncoderError
from retrieval.types import EncoderKind, Metric, Ragged, Token

__all__ = ["LateEncoder"]


class LateEncoder:
    """A `ConfiguredEncoder` and `TokenizingEncoder` over PyLate, Stanford and native checkpoints.

    ``query_length`` is the length of an expanded query where the checkpoint expands queries, and
    the token limit otherwise; ``document_length`` is the token limit of a document. Prefix
    markers, expansion and skip list are the checkpoint's. ``language`` picks the adapters of an XMOD
    checkpoint.

    Raises:
        UntrainedProjectionError: the checkpoint has no token projection and none was not asked for.
        EncoderError: the checkpoint cannot be loaded, or an option does not fit it.
    """

    kind: EncoderKind = "late"

    def __init__(
        self,
        config: EncoderConfig,
        checkpoint: Checkpoint,
        runtime: RuntimeConfig,
        skiplist: SkipList | None = None,
    ) -> None:
        _refuse_dense_options(config)
        self.config = config
        with library_errors(f"cannot load encoder {config.name!r}"):
            model = load_late(config, checkpoint, runtime, skiplist)
            language = choose_language(model, config)
            self.metric: Metric = model.similarity_fn_name
            self.dim = _dim(model, config)
            limits: dict[Task, int | None] = {
                "query": _limit_queries(model, config),
                "document": _limit_documents(model, config),
            }
        expansion = getattr(model[0], "query_expansion", None)
        is_unit = _normalizes(model)
        self._pooled_tasks = {task for pooling in _token_poolings(model) for task in pooling.tasks}
        self._model = TextModel(
            model,
            runtime,
            prompts=resolve_prompts(model, config),
            limits=limits,
            floors={"query": expansion["length"] if expansion else 0, "document": 0},
            renormalize=is_unit and runtime.dtype != "float32",
            is_dense=False,
        )
        self._fingerprint = {
            "weights_sha256": weights_sha256(checkpoint.folder),
            "tokenizer_sha256": tokenizer_sha256(checkpoint.folder),
            "settings_sha256": settings_sha256(checkpoint.folder, checkpoint.weighted_folders),
            "kind": self.kind,
            "language": language,
            "pooling": [pooling.get_config_dict() for pooling in _token_poolings(model)] or None,
            "normalize": is_unit,
            "query_prompt": self._model.prompts["query"],
            "document_prompt": self._model.prompts["document"],
            "query_length": limits["query"],
            "document_length": limits["document"],
            "query_expansion": dict(expansion) if expansion else None,
            "skiplist": _skiplists(model) or None,
            "projection": config.projection,
            "dim": self.dim,
            "truncate_dim": None,
            "metric": self.metric,
        }

    @property
    def truncated_documents(self) -> int:
        """How many documents so far were longer than the token limit, and were cut."""
        return self._model.truncated_documents

    def fingerprint(self) -> dict[str, Any]:
        """Everything that changes the vectors, as JSON values; not the device, dtype or path."""
        return dict(self._fingerprint)

    def encode_query(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> Ragged:
        """Token vectors of each query, in the order of ``texts``."""
        return Ragged.from_list(self._model.encode(texts, "query", progress), self.dim)

    def trace_queries(self) -> bool:
        """Encode a query that comes alone by a traced graph of the model from now on, where that gives the
        same bits (`retrieval.encode.traced`); whether it does. Takes a second, and is for who stays."""
        return self._model.trace_queries()

    def encode_document(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> Ragged:
        """Token vectors of each document, in the order of ``texts``."""
        return Ragged.from_list(self._model.encode(texts, "document", progress), self.dim)

    def query_tokens(self, text: str) -> list[Token]:
        """The token behind each vector that `encode_query` gives for ``text``."""
        return self._tokens(text, "query")

    def document_tokens(self, text: str) -> list[Token]:
        """The token behind each vector that `encode_document` gives for ``text``."""
        return self._tokens(text, "document")

    def _tokens(self, text: str, task: Task) -> list[Token]:
        if task in self._pooled_tasks:
            raise EncoderError(
                f"{self.config.name!r} pools the token vectors of a {task}, "
                "so none of them belongs to one token"
            )
        with library_errors("cannot tokenize"):
            return vector_tokens(self._model, text, task)


def _refuse_dense_options(config: EncoderConfig) -> None:
    if config.truncate_dim is not None:
        raise EncoderError(
            f"truncate_dim={config.truncate_dim} is for dense encoders; "
            f"{config.name!r} is used for late interaction"
        )


def _dim(model: Any, config: EncoderConfig) -> int:
    dim = model.get_embedding_dimension()
    if dim is None:
        raise EncoderError(f"{config.name!r} does not say how many dimensions its vectors have")
    return int(dim)


def _limit_queries(model: Any, config: EncoderConfig) -> int | None:
    """Set and give the token limit of a query."""
    backbone = model[0]
    asked = position_limit(model, "query_length", config.query_length)
    expansion = getattr(backbone, "query_expansion", None)
    if config.query_length is None:
        if expansion and expansion["strategy"] == "fixed":
            return int(expansion["length"])
        return backbone.query_length or asked
    if not expansion:
        backbone.query_length = asked
    elif expansion["strategy"] == "fixed":
        # The fixed length is floor and ceiling at once; a separate limit would contradict it.
        backbone.query_length = None
        backbone.query_expansion = {**expansion, "length": asked}
    else:
        backbone.query_length = asked
        backbone.query_expansion = {**expansion, "length": min(expansion["length"], asked)}
    return asked


def _limit_documents(model: Any, config: EncoderConfig) -> int | None:
    """Set and give the token limit of a document."""
    limit = position_limit(model, "document_length", config.document_length)
    if config.document_length is None:
        return model[0].document_length or limit
    model[0].document_length = limit
    return limit


def _normalizes(model: Any) -> bool:
    """Whether the pipeline ends in token vectors of length 1."""
    from sentence_transformers.base.modules import Normalize

    return any(
        isinstance(m, Normalize) and m.module_output_name == "token_embeddings" for m in model.children()
    )


def _token_poolings(model: Any) -> list[Any]:
    from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling

    return [module for module in model.children() if isinstance(module, BaseTokenPooling)]


def _skiplists(model: Any) -> list[dict[str, Any]]:
    """What the scoring masks leave out, for the fingerprint."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    masks = [module for module in model.children() if isinstance(module, MultiVectorMask)]
    return [
        {"words": mask.skiplist_words, "tasks": mask.skiplist_tasks, "only_ids": mask.keep_only_token_ids}
        for mask in masks
        if mask.skiplist_words or mask.keep_only_token_ids
    ]
