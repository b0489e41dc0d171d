"""BM25 over the texts of an index's commits, as Lucene scores it.

For each term of the query, as often as it comes there: ``idf * tf / (tf + k1 * (1 - b + b * dl / avgdl))``
with ``idf = ln(1 + (N - df + 0.5) / (df + 0.5))`` (Robertson and Zaragoza, "The Probabilistic Relevance
Framework", 2009, section 3; Lucene's idf and its left-out constant ``k1 + 1``). ``N``, ``df`` and ``avgdl``
are of all living documents of a commit, whatever a filter accepts.

Counts belong to segments, which never change; only these sums belong to a commit. So a new commit costs
what it added, and deletes cost nothing. Everything is kept in memory: 5 to 8 bytes for each term that a
document holds, and while a segment is being read 20 more. What was counted of a segment is also kept beside
it, for the next process to read.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.hybrid.analysis import Vocabulary
from retrieval.hybrid.postings import Counts, Postings
from retrieval.index import Pool
from retrieval.kernels.topk import select
from retrieval.search import Accept, Place, Scored, best
from retrieval.storage import SegmentView, Snapshot
from retrieval.types import FloatArray, IntArray

__all__ = ["BM25"]

CHUNK = 1024
"""Documents whose texts are read at a time."""


class BM25:
    """BM25 search of one index. Safe to share between threads.

    ``language`` is a name that Snowball knows (``english``, the default, needs the extra ``hybrid``), or
    ``none``: then words are compared as they are written, in lower case. With ``keep`` what is counted of
    a segment is written to a file in the index's folder, where that may be written to; without, nothing is.

    Raises:
        ConfigError: a language that is not known.
        MissingExtraError: the extra ``hybrid`` is not installed, and the language is not ``none``.
    """

    def __init__(
        self, language: str = "english", *, k1: float = 1.5, b: float = 0.75, keep: bool = True
    ) -> None:
        self._language, self._k1, self._b, self._keep = language, k1, b, keep
        self._refreshing = threading.Lock()
        self._lexicon = _Lexicon(None, Vocabulary(language), (), 0, 1.0)

    def candidates(
        self, texts: Sequence[str], snapshot: Snapshot, accept: Accept, k: int
    ) -> list[list[Scored]]:
        """The best ``k`` accepted documents of a snapshot for each text, score descending, then id ascending;
        only those with a term of it.

        Raises:
            IndexDamagedError: a text is not what was committed.
        """
        lexicon = self.read(snapshot)
        pools = [self._pool(lexicon, text, accept, k) for text in texts]
        return [best(pool, pool.scores, snapshot, k) for pool in pools]

    def rerank(
        self, texts: Sequence[str], snapshot: Snapshot, documents: Sequence[Mapping[str, Place]]
    ) -> list[list[Scored]]:
        """Scores of given documents of a snapshot for each text, in their order; 0 without a term of it."""
        lexicon, found = self.read(snapshot), []
        for text, some in zip(texts, documents, strict=True):
            wanted: list[list[int]] = [[] for _ in lexicon.parts]
            for position, ordinal in some.values():
                wanted[position].append(ordinal)
            scores = self._scores(lexicon, text, [np.array(mine, dtype=np.int64) for mine in wanted])
            found.append([Scored(i, float(scores[at][j]), at, j) for i, (at, j) in some.items()])
        return found

    @property
    def nbytes(self) -> int:
        """Bytes kept of the last snapshot, without the vocabulary."""
        return sum(part.postings.nbytes for part in self._lexicon.parts)

    def read(self, snapshot: Snapshot) -> _Lexicon:
        """Count the terms of what is new in a snapshot, or read what was counted of it, and forget what is
        no more in it."""
        lexicon = self._lexicon  # looked at once: another thread may put a later one there
        if lexicon.snapshot is snapshot:
            return lexicon
        with self._refreshing:
            if self._lexicon.snapshot is not snapshot:
                self._lexicon = self._refreshed(snapshot)
            return self._lexicon

    def _refreshed(self, snapshot: Snapshot) -> _Lexicon:
        known = {part.key: part for part in self._lexicon.parts}
        kept = [known.get((view.number, view.is_pending)) for view in snapshot.segments]
        # Where nothing remains, as after compact, words that nobody uses any more go too.
        vocabulary = self._lexicon.vocabulary if any(kept) else Vocabulary(self._language)
        both = zip(snapshot.segments, kept, strict=True)
        parts = tuple(_read(view, part, vocabulary, keep=self._keep) for view, part in both)
        lengths = [
            part.postings.lengths if view.live is None else part.postings.lengths[view.live]
            for view, part in zip(snapshot.segments, parts, strict=True)
        ]
        n, total = len(snapshot), sum(int(some.sum(dtype=np.int64)) for some in lengths)
        return _Lexicon(snapshot, vocabulary, parts, n, total / n if total else 1.0)

    def _pool(self, lexicon: _Lexicon, text: str, accept: Accept, k: int) -> Pool:
        """What may be among the best of one text."""
        pools = [Pool.empty()]
        for position, (scores, mask) in enumerate(zip(self._scores(lexicon, text), accept, strict=True)):
            ordinals = np.flatnonzero(scores if mask is None else np.where(mask, scores, 0))
            ordinals = ordinals[select(scores[ordinals], k, 0.0)]
            pools.append(Pool(np.full(len(ordinals), position), ordinals, scores[ordinals], 0.0))
        return Pool(
            np.concatenate([pool.segments for pool in pools]),
            np.concatenate([pool.ordinals for pool in pools]),
            np.concatenate([pool.scores for pool in pools]),
            slack=0.0,
        )

    def _scores(
        self, lexicon: _Lexicon, text: str, only: Sequence[IntArray] | None = None
    ) -> list[FloatArray]:
        """Scores of all documents of each segment (of ``only`` some ordinals), 0 where no term is shared:
        summed in float64 in the order of the terms in the text, rounded once, so that equal documents tie."""
        sums = [np.zeros(len(part.postings.lengths)) for part in lexicon.parts]
        for term, times in Counter(lexicon.vocabulary.find(text)).items():
            found = [part.postings.of_term(term) for part in lexicon.parts]
            idf = times * lexicon.idf(sum(lexicon.living(i, some[0]) for i, some in enumerate(found)))
            if only is not None:
                found = [_those_of(mine, *some) for mine, some in zip(only, found, strict=True)]
            for position, (part, (ordinals, counts)) in enumerate(zip(lexicon.parts, found, strict=True)):
                lengths = part.postings.lengths[ordinals] / lexicon.mean_length
                tf = counts.astype(np.float64)
                sums[position][ordinals] += idf * tf / (tf + self._k1 * (1 - self._b + self._b * lengths))
        return [one.astype(np.float32) for one in sums]


class _Part(NamedTuple):
    """What is known of a segment; of pending documents also the counts, to which more will be added."""

    key: tuple[int, bool]
    postings: Postings
    counts: Counts | None


@dataclass(frozen=True, slots=True)
class _Lexicon:
    """A snapshot's parts, in the order of its segments, and sums over its living documents."""

    snapshot: Snapshot | None
    vocabulary: Vocabulary
    parts: tuple[_Part, ...]
    n_documents: int
    mean_length: float

    def living(self, position: int, ordinals: NDArray[np.int32]) -> int:
        """How many of a segment's documents live."""
        assert self.snapshot is not None
        live = self.snapshot.segments[position].live
        return len(ordinals) if live is None else int(np.count_nonzero(live[ordinals]))

    def idf(self, df: int) -> float:
        """The weight of a term that ``df`` living documents hold."""
        return math.log1p((self.n_documents - df + 0.5) / (df + 0.5))


def _those_of(
    wanted: IntArray, ordinals: NDArray[np.int32], counts: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """The postings of a term that are of wanted documents."""
    if not len(ordinals):
        return ordinals, counts
    places = np.searchsorted(ordinals, wanted).clip(max=len(ordinals) - 1)
    places = places[ordinals[places] == wanted]
    return ordinals[places], counts[places]


def _read(view: SegmentView, known: _Part | None, vocabulary: Vocabulary, *, keep: bool) -> _Part:
    """A segment's counts; of pending documents only those that came since are read."""
    if known is not None and len(known.postings.lengths) == view.n_documents:
        return known
    if view.derived is None:
        return _counted(view, known, vocabulary)
    name, key = f"terms-{vocabulary.language}", (view.number, False)
    kept = view.derived.read(name, vocabulary.version)
    if kept is not None:
        return _Part(key, Postings.from_arrays(kept, vocabulary), None)
    made = _counted(view, None, vocabulary)
    if keep:
        view.derived.write(name, vocabulary.version, made.postings.to_arrays(vocabulary))
    return made


def _counted(view: SegmentView, known: _Part | None, vocabulary: Vocabulary) -> _Part:
    """What is not known yet is read and counted."""
    parts = [] if known is None or known.counts is None else [known.counts]
    first = sum(len(part.lengths) for part in parts)
    if first > view.n_documents:  # another thread has seen a later commit
        parts, first = [], 0
    for start in range(first, view.n_documents, CHUNK):
        texts = view.documents.full_texts(start, min(start + CHUNK, view.n_documents))
        parts.append(Counts.of(texts, vocabulary))
    counts = Counts.joined(parts)
    return _Part((view.number, view.is_pending), Postings.of(counts), counts if view.is_pending else None)
