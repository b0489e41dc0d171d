"""The markers of Stanford ColBERT checkpoints, written so that the tokenizer reads them as one token.

Stanford ColBERT tokenizes a text alone and then inserts the marker's id after the first token (its
``QueryTokenizer.tensorize`` and ``DocTokenizer.tensorize``). The library writes the marker and a
space before the text instead. For WordPiece that comes to the same; a byte-level tokenizer keeps the
space, and a vocabulary without the marker (XLM-R's, in ColBERT-XM) falls to pieces over it, where
Stanford's code takes the unknown token.
"""

from __future__ import annotations

from typing import Any

from retrieval.config import EncoderConfig
from retrieval.encode.text_model import Task
from retrieval.errors import EncoderError

__all__ = ["repair_markers"]

PROBE = "a query, or a document"


def repair_markers(model: Any, config: EncoderConfig) -> None:
    """Rewrite the prompts of a Stanford checkpoint that do not tokenize like an inserted marker.

    A prompt that ``config`` replaces is left alone.

    Raises:
        EncoderError: no prompt comes to the inserted marker.
    """
    asked: dict[Task, str | None] = {"query": config.query_prompt, "document": config.document_prompt}
    for task, given in asked.items():
        if given is None:
            model.prompts[task] = _prompt(model.tokenizer, model.prompts[task].strip(), task, config.name)


def _prompt(tokenizer: Any, marker: str, task: Task, name: str) -> str:
    """What to write before a text so that its tokens are the text's own with the marker inserted."""
    marker_id = tokenizer.convert_tokens_to_ids(marker)
    if marker_id is not None and marker_id == tokenizer.unk_token_id:
        marker = tokenizer.unk_token
    first, *others = tokenizer(PROBE)["input_ids"]
    for prompt in (f"{marker} ", marker):
        if tokenizer(prompt + PROBE)["input_ids"] == [first, marker_id, *others]:
            return prompt
    raise EncoderError(
        f"the tokenizer of {name!r} cannot write its {task} marker {marker!r} as one token: "
        f"add the marker to the tokenizer, or give {task}_prompt"
    )
