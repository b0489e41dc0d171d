"""Which token of the text stands behind each vector of a late-interaction encoder."""

from __future__ import annotations

from typing import Any

from retrieval.encode.text_model import Task, TextModel
from retrieval.types import Token

__all__ = ["vector_tokens"]


def vector_tokens(text_model: TextModel, text: str, task: Task) -> list[Token]:
    """The tokens whose vectors the model gives for ``text``, in their order.

    The pipeline's own preprocessing and scoring masks are run again, so truncation, expansion and
    the skip list apply as they do in encoding. Spans are characters of ``text``: a token that lies
    in the prompt, or that the tokenizer added, has none. A tokenizer without offsets (a slow one)
    gives tokens without spans.
    """
    model, prompt = text_model.model, text_model.prompts[task]
    tokenizer = model.tokenizer
    with text_model.lock:
        options = {"text": {"return_offsets_mapping": True}} if getattr(tokenizer, "is_fast", False) else {}
        features = model.preprocess([prompt + text], task=task, processing_kwargs=options)
        offsets = features.pop("offset_mapping", None)
        kept = _scored(model, features, task)
        names = tokenizer.convert_ids_to_tokens(features["input_ids"][0].tolist())
    spans = offsets[0].tolist() if offsets is not None else []
    # Expansion may widen a row after the tokenizer gave its offsets.
    spans += [[0, 0]] * (len(names) - len(spans))
    return [_token(names[i], spans[i], text, len(prompt)) for i in kept]


def _scored(model: Any, features: dict[str, Any], task: Task) -> list[int]:
    """Positions of the row that get a vector."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    for module in model.children():
        if isinstance(module, MultiVectorMask):
            features = module(features, task=task)
    mask = features["attention_mask"][0].bool()
    return [int(i) for i in mask.nonzero().flatten()]


def _token(name: str, span: list[int], text: str, prompt_length: int) -> Token:
    start, end = max(span[0] - prompt_length, 0), span[1] - prompt_length
    if end <= start:
        return Token(name)
    return Token(text[start:end], start, end)
