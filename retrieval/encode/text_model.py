"""What the dense and the late encoder share: a library model, its prompts, and a lock around it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode.base import EncodeProgress
from retrieval.encode.batching import encode_in_batches
from retrieval.encode.runtime import library_errors
from retrieval.encode.traced import Graph, trace
from retrieval.errors import EncoderError
from retrieval.types import FloatArray

__all__ = ["Task", "TextModel", "position_limit", "resolve_prompts"]

Task = Literal["query", "document"]

# The prompt names that the library tries for each side, in its order.
PROMPT_NAMES: dict[Task, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
# Tokenizers without a limit say so with a huge number.
NO_LIMIT = 1_000_000


class TextModel:
    """Runs a sentence-transformers model over batches of similar length.

    ``limits`` are the tokens read of a text and ``floors`` the tokens it is padded to, by task;
    ``is_dense``: a text has one vector, not one a token.
    Vectors are float32; with ``renormalize`` they are brought back to length 1, which half
    precision misses by up to 0.4 %. ``truncated_documents`` counts documents over the limit.
    Safe to call from several threads: tokenizers keep their truncation and padding settings, so
    one text batch at a time passes the lock.
    """

    def __init__(
        self,
        model: Any,
        runtime: RuntimeConfig,
        *,
        prompts: Mapping[Task, str],
        limits: Mapping[Task, int | None],
        floors: Mapping[Task, int],
        renormalize: bool,
        is_dense: bool,
    ) -> None:
        self.model = model.eval()
        self.prompts = dict(prompts)
        self.limits = dict(limits)
        self.lock = threading.Lock()
        self.truncated_documents = 0
        self._floors = dict(floors)
        self._token_budget = runtime.token_budget
        self._renormalize = renormalize
        self._is_dense = is_dense
        self._backend = runtime.backend
        self._graph: Graph | None = None

    def encode(self, texts: Sequence[str], task: Task, progress: EncodeProgress | None) -> list[FloatArray]:
        """One array a text, ``(d,)`` or ``(n_tokens, d)``, in the order of ``texts``.

        Raises:
            EncoderError: the model failed.
        """
        with library_errors("cannot encode"):
            # How to divide one query, nobody asks; of a document it is counted whether it was cut.
            is_alone = len(texts) == 1 and task == "query"
            lengths = [1] if is_alone else self._lengths(texts, task)
            return encode_in_batches(
                texts, lengths, self._token_budget, lambda batch: self._forward(batch, task), progress
            )

    def _forward(self, batch: list[str], task: Task) -> list[FloatArray]:
        with self.lock:
            vectors = self._of_one(batch, task) if len(batch) == 1 else self._of_many(batch, task)
        arrays = [np.asarray(array, dtype=np.float32) for array in vectors]
        return [_unit(array) for array in arrays] if self._renormalize else arrays

    def _of_many(self, batch: list[str], task: Task) -> Sequence[Any]:
        encode = self.model.encode_query if task == "query" else self.model.encode_document
        found: Sequence[Any] = encode(
            batch,
            prompt=self.prompts[task],
            batch_size=len(batch),
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return found

    def _of_one(self, batch: list[str], task: Task) -> Sequence[Any]:
        """The same, bit for bit, of one text. The library first looks at each of a hundred modules, twice
        (is it to be trained, where is it); that takes half a millisecond, a short query five."""
        import torch

        with torch.inference_mode():
            features, graph = self._features(batch, task), self._graph
            if graph is not None and task == "query" and graph.fits(features):
                found = graph(features)
            else:
                found = self._outputs(features, task)
            if self._is_dense:
                vectors = found[0][0, : self.model.truncate_dim]
            else:
                vectors = found[0][0][found[1][0].bool()]
            return [vectors.float().cpu().numpy()]

    def trace_queries(self) -> bool:
        """Have a query that comes alone run as a `Graph` from now on, where that gives the same bits;
        whether it does. Takes a second or two."""
        if self._backend == "torch" and self.model.device.type == "cpu":
            with self.lock:
                self._graph = trace(
                    self.model,
                    lambda text: self._features([text], "query"),
                    lambda features: self._outputs(features, "query"),
                )
        return self._graph is not None

    def _features(self, batch: list[str], task: Task) -> dict[str, Any]:
        from sentence_transformers.util import batch_to_device

        model = self.model
        features = model.preprocess(batch, prompt=self.prompts[task], task=task)
        given: dict[str, Any] = batch_to_device(features, model.device)
        return given

    def _outputs(self, features: dict[str, Any], task: Task) -> Sequence[Any]:
        found = self.model(features, task=task)
        names = ("sentence_embedding",) if self._is_dense else ("token_embeddings", "attention_mask")
        return [found[name] for name in names]

    def _lengths(self, texts: Sequence[str], task: Task) -> list[int]:
        """Tokens that each text occupies in a batch; characters where no fast tokenizer counts."""
        limit = self.limits[task] or NO_LIMIT
        prompted = [self.prompts[task] + text for text in texts]
        tokenizer: Any = getattr(self.model, "tokenizer", None)
        if texts and getattr(tokenizer, "is_fast", False):
            with self.lock:
                ids = tokenizer(
                    prompted, padding=False, truncation=False, return_attention_mask=False, verbose=False
                )
                whole = [len(row) for row in ids["input_ids"]]
                if task == "document":
                    self.truncated_documents += sum(count > limit for count in whole)
        else:
            whole = [len(text) for text in prompted]
        return [max(min(count, limit), self._floors[task], 1) for count in whole]


def resolve_prompts(model: Any, config: EncoderConfig) -> dict[Task, str]:
    """The prompt put before each side's texts: the configuration's, else the model's own."""
    asked: dict[Task, str | None] = {"query": config.query_prompt, "document": config.document_prompt}
    prompts: dict[Task, str] = {}
    for task, given in asked.items():
        names = [*PROMPT_NAMES[task], model.default_prompt_name]
        own = next((model.prompts[name] for name in names if name in model.prompts), "")
        prompts[task] = own if given is None else given
    return prompts


def position_limit(model: Any, name: str, asked: int | None) -> int | None:
    """Tokens that the model reads of a text: ``asked``, else its own limit, or None for no limit.

    Raises:
        EncoderError: ``asked`` is more than the positions that the model has.
    """
    positions, unused = _positions(model)
    if asked is None:
        own = model.max_seq_length
        if own is not None and 0 < own - positions <= unused:
            # The library takes every row of the table for a place, and fails at the longest texts.
            model.max_seq_length = own = positions
        return int(own) if own is not None and own < NO_LIMIT else None
    if 0 < positions < asked:
        raise EncoderError(f"{name}={asked} is more than the {positions} positions of this model")
    return asked


def _positions(model: Any) -> tuple[int, int]:
    """How many tokens the model can tell apart by place (0: it does not say), and its unused places.

    The RoBERTa family counts its places from the one after the padding token's id.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return 0, 0
    modules = getattr(getattr(model[0], "model", None), "modules", tuple)
    paddings = (getattr(m, "padding_idx", None) for m in modules() if hasattr(m, "position_embeddings"))
    unused = next((padding + 1 for padding in paddings if isinstance(padding, int)), 0)
    return positions - unused, unused


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
