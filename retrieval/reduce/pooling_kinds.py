"""The kinds of token pooling: which tokens of a document share a vector, and which get none."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray, Token

__all__ = ["DropPooling", "FixedPooling", "NormPooling", "WardPooling", "WordPooling", "most_widespread"]

LONGEST = 4096
"""Tokens that are clustered together at most; their distances take 0.3 GB. Longer documents are cut into
spans of equal length first."""
GRID = 2.0**25
"""Unit vectors are rounded to multiples of 1/GRID, which is nearer than float32 is. Sums of their products
are then whole numbers below 2^53, exact in float64: BLAS cannot round them otherwise with more threads."""
SAME_LENGTH = 1e-2
"""Vectors whose lengths differ by a smaller share are equally long, as rounded unit vectors are."""


@dataclass(frozen=True, slots=True)
class WardPooling:
    """One vector for about ``factor`` tokens that are near each other, wherever they stand.

    Ward's clustering of the cosine distances, cut at ``ceil(n / factor)`` clusters. Source: Clavié et al.,
    Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token Pooling (2024).
    """

    name: ClassVar[str] = "ward"
    needs_tokens: ClassVar[bool] = False
    factor: float

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:  # noqa: ARG002
        """See `retrieval.reduce.pooling.TokenPooling.groups`; fewer groups where distances are equal."""
        return _ward_groups(values, math.ceil(len(values) / self.factor))


@dataclass(frozen=True, slots=True)
class FixedPooling:
    """At most ``limit`` vectors a document, however long it is, by the clustering of `WardPooling`.

    After Veneroso et al., CRISP: Clustering Multi-Vector Representations (2025), who use k-means; a tree
    needs no random start, so that a document always gets the same clusters.
    """

    name: ClassVar[str] = "fixed"
    needs_tokens: ClassVar[bool] = False
    limit: int

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:  # noqa: ARG002
        """See `retrieval.reduce.pooling.TokenPooling.groups`; fewer groups where distances are equal."""
        return _ward_groups(values, min(len(values), self.limit))


@dataclass(frozen=True, slots=True)
class WordPooling:
    """One vector a whole word: tokens that touch in the text. Tokens that are not in the text stay alone.

    Ideographs are words of their own, because no blanks divide them; other writing without blanks (Thai)
    would become one word a sentence and wants another pooling. Source: Hofstätter et al., Introducing
    Neural Bag of Whole-Words with ColBERTer (CIKM 2022); they also merge a word with its repetitions.
    """

    name: ClassVar[str] = "words"
    needs_tokens: ClassVar[bool] = True

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:
        """See `retrieval.reduce.pooling.TokenPooling.groups`."""
        if tokens is None or len(tokens) != len(values):
            named = "no tokens are" if tokens is None else f"{len(tokens)} tokens are"
            raise ValueError(f"{named} named for {len(values)} vectors: words need one for each")
        begins = [i == 0 or not _touch(tokens[i - 1], token) for i, token in enumerate(tokens)]
        return np.cumsum(np.asarray(begins, np.int64)) - 1


@dataclass(frozen=True, slots=True)
class NormPooling:
    """Keep the longest vectors: ``ceil(share * n)``, and all as long as the last of them within 1 %.

    Some models make the vectors of tokens that matter little short. Where every vector has length 1 this
    has nothing to go by, and keeps them all.
    """

    name: ClassVar[str] = "norm"
    needs_tokens: ClassVar[bool] = False
    share: float

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:  # noqa: ARG002
        """See `retrieval.reduce.pooling.TokenPooling.groups`."""
        if not len(values):
            return np.empty(0, np.int64)
        lengths = _lengths(values)
        last = np.sort(lengths)[-math.ceil(self.share * len(lengths))]
        kept = lengths >= last * (1 - SAME_LENGTH)
        return np.where(kept, np.cumsum(kept) - 1, -1)


@dataclass(frozen=True, slots=True)
class DropPooling:
    """Drop the tokens of some ``texts``, in upper or lower case; a document of nothing else keeps them all.

    Texts are what most documents have (`most_widespread`): their idf is low, so that they tell documents
    apart least. They are fixed with the pooling: what others a document lies among has no part in it.
    """

    name: ClassVar[str] = "drop"
    needs_tokens: ClassVar[bool] = True
    texts: frozenset[str]

    def groups(self, values: FloatArray, tokens: Sequence[Token] | None = None) -> IntArray:
        """See `retrieval.reduce.pooling.TokenPooling.groups`."""
        if tokens is None or len(tokens) != len(values):
            named = "no tokens are" if tokens is None else f"{len(tokens)} tokens are"
            raise ValueError(f"{named} named for {len(values)} vectors: to drop some needs one for each")
        kept = np.array([token.text.casefold() not in self.texts for token in tokens], np.bool_)
        if not kept.any():
            kept[:] = True
        return np.where(kept, np.cumsum(kept) - 1, -1)


def most_widespread(documents: Iterable[Sequence[Token]], share: float, most: int) -> list[str]:
    """Texts of the tokens that come in most documents (of equal ones by text): as many, and at most
    ``most``, as make up no more than ``share`` of all tokens. Tokens that are in no text are not counted."""
    spread: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for tokens in documents:
        texts = [token.text.casefold() for token in tokens if token.start is not None]
        times.update(texts)
        spread.update(set(texts))
    left, found = share * times.total(), []
    for text, _ in sorted(spread.items(), key=lambda item: (-item[1], item[0]))[:most]:
        left -= times[text]
        if left < 0:
            break
        found.append(text)
    return found


def _touch(before: Token, token: Token) -> bool:
    """Whether two neighbours belong to one word."""
    if before.end is None or token.start is None or before.end != token.start:
        return False
    edges = before.text[-1:] + token.text[:1]
    return not any(unicodedata.east_asian_width(character) in "WF" for character in edges)


def _ward_groups(values: FloatArray, n_groups: int) -> IntArray:
    """Group of each token, numbered by first appearance: at most ``n_groups``."""
    n_spans = max(1, min(-(-len(values) // LONGEST), n_groups))
    numbers = np.empty(len(values), np.int64)
    before = 0
    for span in range(n_spans):
        first, last = (edge * len(values) // n_spans for edge in (span, span + 1))
        wanted = (span + 1) * n_groups // n_spans - span * n_groups // n_spans
        numbers[first:last] = before + _by_first_appearance(_ward(values[first:last], wanted))
        before = int(numbers[:last].max(initial=-1)) + 1
    return numbers


def _ward(values: FloatArray, n_groups: int) -> NDArray[Any]:
    """A label for each token: clusters of Ward's tree, the lowest cut with at most ``n_groups``."""
    if n_groups >= len(values):
        return np.arange(len(values))
    if n_groups == 1:
        return np.zeros(len(values), np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    # Token pooling is defined so: cosine distances in the place of Euclidean ones in Ward's update.
    tree = linkage(squareform(_cosine_distances(values), checks=False), method="ward")
    labels: NDArray[Any] = fcluster(tree, n_groups, criterion="maxclust")
    return labels


def _cosine_distances(values: FloatArray) -> NDArray[np.float64]:
    """``(n, n)``: 1 - cosine, not below 0; a zero vector is at distance 1 from all."""
    lengths = _lengths(values)
    lengths[lengths == 0] = 1
    unit = np.rint(values * (GRID / lengths)[:, None])
    distances: NDArray[np.float64] = unit @ unit.T
    distances *= -1 / GRID**2
    distances += 1
    return np.maximum(distances, 0, out=distances)


def _lengths(values: FloatArray) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(values.astype(np.float64), axis=1)
    return lengths


def _by_first_appearance(labels: NDArray[Any]) -> IntArray:
    """The labels as numbers 0, 1, ... in the order in which they come."""
    _, firsts, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[inverse]
