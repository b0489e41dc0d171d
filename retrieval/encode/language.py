"""Checkpoints with one adapter a language (XMOD, and so ColBERT-XM): which adapter runs.

One language holds for all texts of an encoder, queries and documents: it is part of what an index
was built with.
"""

from __future__ import annotations

from typing import Any

from retrieval.config import EncoderConfig
from retrieval.errors import EncoderError

__all__ = ["choose_language"]

MAX_TOLD = 12


def choose_language(model: Any, config: EncoderConfig) -> str | None:
    """Set the adapters of ``config.language``, and give the language that they are of.

    Without one the checkpoint's own default stays. None where the model has no such adapters.

    Raises:
        EncoderError: a language that the model has no adapter for, a model without such adapters,
            or neither a language nor a default.
    """
    backbone = getattr(model[0], "model", None)
    languages = list(getattr(getattr(backbone, "config", None), "languages", None) or ())
    if backbone is None or not hasattr(backbone, "set_default_language"):
        if config.language is not None:
            raise EncoderError(
                f"language={config.language!r} is for checkpoints with an adapter for each language (XMOD), "
                f"run by torch; {config.name!r} has none: leave it out"
            )
        return None
    chosen: str | None = config.language or backbone.config.default_language
    if chosen is None:
        raise EncoderError(
            f"{config.name!r} has an adapter for each of {len(languages)} languages and names no default: "
            f"give language, one of {_told(languages)}"
        )
    if chosen not in languages:
        raise EncoderError(
            f"{config.name!r} has no adapter for language={chosen!r}: give one of {_told(languages)}"
        )
    backbone.set_default_language(chosen)
    return chosen


def _told(languages: list[str]) -> str:
    more = len(languages) - MAX_TOLD
    return ", ".join(languages[:MAX_TOLD]) + (f" and {more} more" if more > 0 else "")
