"""How often each term comes in the documents of a segment: by document, and by term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.hybrid.analysis import Vocabulary
from retrieval.types import IntArray

__all__ = ["Counts", "Postings"]

Int32Array = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Counts:
    """By document: term ``terms[i]`` comes ``counts[i]`` times in ``documents[i]`` (ascending), ``(m,)``
    int32 each; ``lengths`` ``(n,)`` are the terms of each document, repeated ones too."""

    documents: Int32Array
    terms: Int32Array
    counts: Int32Array
    lengths: Int32Array

    @classmethod
    def of(cls, texts: Sequence[str], vocabulary: Vocabulary) -> Self:
        """Counts of texts, as documents ``0 .. n - 1``."""
        numbers = [vocabulary.learn(text) for text in texts]
        lengths = np.array([len(some) for some in numbers], dtype=np.int32)
        terms = np.array([number for some in numbers for number in some], dtype=np.int64)
        width = max(len(vocabulary), 1)
        keys = np.repeat(np.arange(len(texts), dtype=np.int64), lengths) * width + terms
        found, counts = np.unique(keys, return_counts=True)
        documents, terms = np.divmod(found, width)
        return cls(documents.astype(np.int32), terms.astype(np.int32), counts.astype(np.int32), lengths)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Counts of documents that follow each other."""
        firsts = np.cumsum([0, *(len(part.lengths) for part in parts)], dtype=np.int32)
        none = np.empty(0, dtype=np.int32)
        documents = [part.documents + first for part, first in zip(parts, firsts, strict=False)]
        return cls(
            np.concatenate([none, *documents]),
            np.concatenate([none, *(part.terms for part in parts)]),
            np.concatenate([none, *(part.counts for part in parts)]),
            np.concatenate([none, *(part.lengths for part in parts)]),
        )


@dataclass(frozen=True, slots=True)
class Postings:
    """By term: ``terms`` ``(t,)`` ascending; that of ``terms[i]`` lie at ``starts[i]:starts[i + 1]`` in
    ``ordinals`` (ascending) and ``counts``, which is as narrow as they allow. ``lengths`` as in `Counts`."""

    terms: Int32Array
    starts: IntArray
    ordinals: Int32Array
    counts: NDArray[Any]
    lengths: Int32Array

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """The same counts, turned round."""
        order = np.argsort(counts.terms, kind="stable")
        terms, sizes = np.unique(counts.terms, return_counts=True)
        starts = np.zeros(len(terms) + 1, dtype=np.int64)
        np.cumsum(sizes, out=starts[1:])
        narrow = np.min_scalar_type(int(counts.counts.max(initial=0)))
        times = counts.counts[order].astype(narrow)
        return cls(terms, starts, counts.documents[order], times, counts.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.terms, self.starts, self.ordinals, self.counts, self.lengths)
        return sum(array.nbytes for array in arrays)

    def of_term(self, term: int) -> tuple[Int32Array, NDArray[Any]]:
        """Ordinals of the documents with a term, and how often it comes in each."""
        place = int(np.searchsorted(self.terms, term))
        if place == len(self.terms) or self.terms[place] != term:
            return self.ordinals[:0], self.counts[:0]
        mine = slice(self.starts[place], self.starts[place + 1])
        return self.ordinals[mine], self.counts[mine]
