"""Token pooling: fewer vectors a document. Queries keep all of theirs.

A pooling says which tokens of a document share a vector; the vector is their mean. What comes out is a
function of one document's vectors and tokens: batches, threads and other documents have no part in it. What
a pooling learns of a sample (`drop_widespread`) is written into its text, which an index keeps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Protocol

import numpy as np

from retrieval.errors import ConfigError
from retrieval.reduce.pooling_kinds import (
    DropPooling,
    FixedPooling,
    NormPooling,
    WardPooling,
    WordPooling,
    most_widespread,
)
from retrieval.types import FloatArray, IntArray, Ragged, Token

__all__ = ["TokenPooling", "drop_widespread", "pool", "pooling_of"]

MOST_FACTOR = 8
MOST_VECTORS = 65536
MOST_DROPPED, LONGEST = 1000, 64
"""Texts that a pooling drops at most, and their characters."""


class TokenPooling(Protocol):
    """Which tokens of a document share a vector. ``needs_tokens``: `groups` must be told the tokens."""

    name: ClassVar[str]
    needs_tokens: ClassVar[bool]

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:
        """Group of each token of one document, ``(n,)``, for its vectors ``(n, d)``; -1: dropped.

        Groups are numbered by their first token. At least one token of a document is kept.

        Raises:
            ValueError: values that are not finite, or other tokens than there are vectors.
        """


def pooling_of(spec: str) -> TokenPooling | None:
    """The pooling that a text asks for; None for ``none``.

    ``ward:2`` (a half of the vectors; factors above 1, to 8), ``fixed:32`` (at most 32 vectors a
    document), ``words`` (one a word), ``norm:0.5`` (the longer half), ``drop:["the","of"]`` (all but tokens
    of these texts, see `drop_widespread`).

    Raises:
        ConfigError: another text.
    """
    if spec.startswith(f"{DropPooling.name}:") and (texts := _texts_of(spec)):
        return DropPooling(texts)
    match = re.fullmatch(r"([a-z]+)(?::([0-9]{1,9}(?:\.[0-9]{1,9})?))?", spec)
    name, number = match.groups() if match else ("", None)
    if number is None:
        if name == "none":
            return None
        if name == WordPooling.name:
            return WordPooling()
    elif name == WardPooling.name and 1 < float(number) <= MOST_FACTOR:
        return WardPooling(float(number))
    elif name == FixedPooling.name and number.isdecimal() and 1 <= int(number) <= MOST_VECTORS:
        return FixedPooling(int(number))
    elif name == NormPooling.name and 0 < float(number) < 1:
        return NormPooling(float(number))
    raise ConfigError(
        f"token pooling is {spec!r}; write none, ward:2 (as many times fewer vectors: above 1, to "
        f"{MOST_FACTOR}), fixed:32 (at most so many a document), words (one a word), norm:0.5 (the share "
        f'that is kept, of the longest vectors), or drop:["the","of"] (1 to {MOST_DROPPED} texts of tokens)'
    )


def drop_widespread(documents: Iterable[Sequence[Token]], share: float) -> str:
    """The text of a pooling that drops the tokens of the lowest idf in a sample of documents: as many of
    their texts as make up ``share`` of all tokens there, or a little less.

    Raises:
        ConfigError: ``share`` is not between 0 and 1, or there are no such tokens.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share={share!r} of the tokens to drop must lie between 0 and 1")
    texts = [text for text in most_widespread(documents, share, MOST_DROPPED) if len(text) <= LONGEST]
    if not texts:
        raise ConfigError(
            f"no token's text makes up as little as {share:g} of these documents' tokens; "
            "give more documents, or a larger share"
        )
    return f"{DropPooling.name}:{json.dumps(texts, ensure_ascii=False, separators=(',', ':'))}"


def _texts_of(spec: str) -> frozenset[str] | None:
    """The texts that a pooling drops, None where they cannot be read."""
    try:
        texts = json.loads(spec.partition(":")[2])
    except ValueError:
        return None
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_DROPPED:
        return None
    if not all(isinstance(text, str) and 1 <= len(text) <= LONGEST for text in texts):
        return None
    return frozenset(text.casefold() for text in texts)


def pool(
    documents: Ragged,
    pooling: TokenPooling,
    tokens: Callable[[int], Sequence[Token]] | None,
    normalise: bool,
) -> Ragged:
    """The documents with one vector a group: the mean of its tokens, in the order of their first tokens.

    ``tokens(i)`` names the tokens behind document ``i``; it is called only where the pooling needs them.
    ``normalise`` sets lengths to 1, where a mean is not zero.

    Raises:
        ConfigError: the pooling needs tokens, and there is no telling them.
        ValueError: see `TokenPooling.groups`.
    """
    if pooling.needs_tokens and tokens is None:
        raise ConfigError(
            f"token pooling by {pooling.name} needs to know the tokens behind the vectors, which this "
            "encoder does not tell; use ward:2, which needs none"
        )
    pooled: list[FloatArray] = []
    for i in range(len(documents)):
        values = documents[i]
        named = tokens(i) if tokens is not None and pooling.needs_tokens else None
        pooled.append(_means(values, pooling.groups(values, named), normalise))
    return Ragged.from_list(pooled, documents.dim)


def _means(values: FloatArray, groups: IntArray, normalise: bool) -> FloatArray:
    """``(n_groups, d)`` float32 means; sums are made in float64, in the order of the tokens."""
    order = np.argsort(groups, kind="stable")
    order = order[np.searchsorted(groups[order], 0) :]
    if not len(order):
        return np.empty((0, values.shape[1]), np.float32)
    sizes = np.bincount(groups[order])
    means = np.add.reduceat(values[order].astype(np.float64), np.cumsum(sizes) - sizes, axis=0)
    means /= sizes[:, None]
    if normalise:
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means /= np.where(lengths > 0, lengths, 1)
    return means.astype(np.float32)
