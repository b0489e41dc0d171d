"""Questions to measure with, where nobody has asked any yet: spans of the index's own documents.

A span is encoded as a query, so that what is measured is the geometry of queries against documents.
Where there is no text or no encoder, documents' vectors take their place, each led away from its document by
the difference of two others.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encode import Encoder
from retrieval.encode.base import encode_queries
from retrieval.index import prepare_queries
from retrieval.storage import SegmentView, Snapshot
from retrieval.training.sample import living
from retrieval.types import Ragged

__all__ = ["pseudo_queries", "shifted_documents", "span_of"]

SPAN_WORDS = (4, 16)
"""Words of a span, from and to: the lengths of questions."""
SPAN_TOKENS = (8, 32)
"""Vectors of one, where there are no words."""
AWAY = 0.7
"""How far a vector is led away from its document, in differences of two others. Of debian-packages, vaswani
and the token vectors of scifact (MiniLM), such are as hard to find as what people ask, or harder, with a
graph, and hardly easier with inverted lists; with noise alike in all directions they are easier."""


def pseudo_queries(snapshot: Snapshot, encoder: Encoder | None, size: int, seed: int) -> Ragged:
    """Up to ``size`` prepared queries."""
    if encoder is None:
        return shifted_documents(snapshot, size, seed)
    texts = _spans(snapshot, size, seed)
    if not texts:
        return shifted_documents(snapshot, size, seed)
    return prepare_queries(encode_queries(encoder, texts), snapshot.record.metric)


def shifted_documents(snapshot: Snapshot, size: int, seed: int) -> Ragged:
    """Documents' vectors, of many some that follow each other, as prepared queries: each with `AWAY` of the
    difference of two others of them, in a direction in which vectors do differ."""
    random = np.random.default_rng([seed, 1])
    drawn = [_some_of(view, ordinal, random) for view, ordinal in _drawn(snapshot, size, seed)]
    vectors = [snapshot.codec.decode(codes) for codes in drawn if len(codes)]
    documents = Ragged.from_list(vectors, snapshot.record.dim)
    values = documents.values
    ones, others = (values[random.permutation(len(values))] for _ in range(2))
    shifted = (values + AWAY * np.sqrt(0.5) * (ones - others)).astype(np.float32)
    return prepare_queries(Ragged(shifted, documents.offsets), snapshot.record.metric)


def _some_of(view: SegmentView, ordinal: int, random: np.random.Generator) -> NDArray[Any]:
    """Codes of one of a document's spans of vectors."""
    start, stop = int(view.offsets[ordinal]), int(view.offsets[ordinal + 1])
    if stop - start > 1:
        length = min(int(random.integers(SPAN_TOKENS[0], SPAN_TOKENS[1] + 1)), stop - start)
        start += int(random.integers(0, stop - start - length + 1))
        stop = start + length
    return view.codes[start:stop]


def span_of(text: str, random: np.random.Generator) -> str:
    """Some consecutive words of a text."""
    words = text.split()
    length = min(int(random.integers(SPAN_WORDS[0], SPAN_WORDS[1] + 1)), len(words))
    first = int(random.integers(0, len(words) - length + 1))
    return " ".join(words[first : first + length])


def _spans(snapshot: Snapshot, size: int, seed: int) -> list[str]:
    random = np.random.default_rng([seed, 2])
    texts = (view.documents.document(ordinal).full_text for view, ordinal in _drawn(snapshot, size, seed))
    return [span_of(text, random) for text in texts if text.split()]


def _drawn(snapshot: Snapshot, size: int, seed: int):  # type: ignore[no-untyped-def]
    """Documents drawn at random: (view, ordinal)."""
    places = [(view, living(view)) for view in snapshot.segments]
    ends = list(itertools.accumulate((len(ordinals) for _, ordinals in places), initial=0))
    total = ends[-1]
    chosen = np.random.default_rng([seed, 3]).choice(total, size=min(size, total), replace=False)
    for number in chosen:
        place = int(np.searchsorted(ends, number, side="right")) - 1
        view, ordinals = places[place]
        yield view, int(ordinals[number - ends[place]])
