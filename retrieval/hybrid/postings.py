"""How often each term comes in the documents of a segment: by document, and by term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.hybrid.analysis import Vocabulary
from retrieval.types import IntArray

__all__ = ["Counts", "Postings"]

Int32Array = NDArray[np.int32]
SEPARATOR = "\n"
"""Between terms in a file: no word holds it."""


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
    """By term: ``terms`` ``(t,)`` ascending; that of ``terms[i]`` lie at ``starts[i]:stops[i]`` in
    ``ordinals`` (ascending) and ``counts``, which is as narrow as they allow. ``lengths`` as in `Counts`."""

    terms: Int32Array
    starts: IntArray
    stops: IntArray
    ordinals: Int32Array
    counts: NDArray[Any]
    lengths: Int32Array

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """The same counts, turned round."""
        order = np.argsort(counts.terms, kind="stable")
        terms, sizes = np.unique(counts.terms, return_counts=True)
        stops = np.cumsum(sizes, dtype=np.int64)
        narrow = np.min_scalar_type(int(counts.counts.max(initial=0)))
        times = counts.counts[order].astype(narrow)
        return cls(terms, stops - sizes, stops, counts.documents[order], times, counts.lengths)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], vocabulary: Vocabulary) -> Self:
        """The inverse of `to_arrays`, with the numbers that terms have in this vocabulary."""
        text = arrays["terms"].tobytes().decode()
        numbers = vocabulary.learn_terms(text.split(SEPARATOR) if text else [])
        order = np.argsort(numbers)
        starts, stops = arrays["starts"][order], arrays["stops"][order]
        return cls(numbers[order], starts, stops, arrays["ordinals"], arrays["counts"], arrays["lengths"])

    def to_arrays(self, vocabulary: Vocabulary) -> dict[str, NDArray[Any]]:
        """These, with the terms themselves instead of their numbers, which no other vocabulary has."""
        known = vocabulary.terms()
        text = SEPARATOR.join(known[number] for number in self.terms.tolist())
        others = {name: getattr(self, name) for name in ("starts", "stops", "ordinals", "counts", "lengths")}
        return {"terms": np.frombuffer(text.encode(), dtype=np.uint8), **others}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.terms, self.starts, self.stops, self.ordinals, self.counts, self.lengths)
        return sum(array.nbytes for array in arrays)

    def of_term(self, term: int) -> tuple[Int32Array, NDArray[Any]]:
        """Ordinals of the documents with a term, and how often it comes in each."""
        place = int(np.searchsorted(self.terms, term))
        if place == len(self.terms) or self.terms[place] != term:
            return self.ordinals[:0], self.counts[:0]
        mine = slice(self.starts[place], self.stops[place])
        return self.ordinals[mine], self.counts[mine]
