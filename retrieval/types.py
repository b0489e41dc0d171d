"""The nouns every room speaks: documents, vectors, hits, explanations.

All of them are small immutable records. Arrays are NumPy; shapes are written as
``(rows, columns)``; ``d`` is the vector dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BuildProgress",
    "Document",
    "EncoderKind",
    "Explanation",
    "FloatArray",
    "Hit",
    "IntArray",
    "Metric",
    "Page",
    "Precision",
    "ProgressCallback",
    "Ragged",
    "Record",
    "SearchResult",
    "Token",
    "TokenMatch",
    "TrainingProgress",
    "TrainingReport",
]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

_ONE = np.arange(2)
"""Offsets of one vector, of all that are asked alone; nobody writes to offsets."""

EncoderKind = Literal["dense", "late"]
"""``dense``: one vector a text. ``late``: one vector a token (late interaction)."""

Metric = Literal["dot", "cosine", "l2", "maxsim", "meanmaxsim"]
"""How a query and a document are compared. Larger is better for every one of them."""

Precision = Literal["float32", "float16", "int8", "residual"]


@dataclass(frozen=True, slots=True)
class Document:
    """One item of a corpus. ``metadata`` maps field names to JSON-like values.

    ``vectors`` are for an index that encodes nothing (`GivenVectors`; texts may be empty): an array ``(d,)``,
    for late interaction ``(n_tokens, d)``, or lists of such numbers. Documents that are read back have none,
    and they do not count where documents are compared.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    vectors: NDArray[Any] | Sequence[Any] | None = field(default=None, compare=False, repr=False)

    @property
    def full_text(self) -> str:
        """What the encoder reads, by BEIR's convention: title, a blank, text."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Record:
    """A document and where it was read (``corpus.jsonl:17``), for error messages."""

    document: Document
    where: str


@dataclass(frozen=True, slots=True)
class Ragged:
    """Token vectors of many texts, back to back.

    ``values`` is ``(n_tokens, d)`` float32, ``offsets`` is ``(n + 1,)`` int64; text ``i`` owns
    rows ``offsets[i]:offsets[i + 1]``. A dense vector is a text with one token.
    """

    values: FloatArray
    offsets: IntArray

    @classmethod
    def from_matrix(cls, matrix: FloatArray) -> Ragged:
        """``(n, d)`` dense vectors as ``n`` texts of one token each."""
        if len(matrix) == 1:
            return cls(np.ascontiguousarray(matrix, dtype=np.float32), _ONE)
        return cls(np.ascontiguousarray(matrix, dtype=np.float32), np.arange(len(matrix) + 1))

    @classmethod
    def from_list(cls, arrays: Sequence[FloatArray], dim: int) -> Ragged:
        """A list of ``(n_i, d)`` arrays; ``dim`` gives ``d`` when the list is empty."""
        if len(arrays) == 1:
            return cls(np.array(arrays[0], dtype=np.float32, order="C"), np.array([0, len(arrays[0])]))
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        values = np.empty((int(offsets[-1]), dim), dtype=np.float32)
        for start, array in zip(offsets, arrays, strict=False):
            values[start : start + len(array)] = array
        return cls(values, offsets)

    @property
    def dim(self) -> int:
        """Vector dimension ``d``."""
        return int(self.values.shape[1])

    @property
    def doclens(self) -> IntArray:
        """Tokens of each text, ``(n,)``."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> FloatArray:
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self.values[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. ``title``, ``text`` and ``metadata`` are None unless asked for."""

    id: str
    score: float
    title: str | None = None
    text: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """Hits, best first, with the commit they were read from and milliseconds per stage.

    ``partial``: damaged segments were left out (`Engine.open` with ``skip_damaged``). ``plan`` says how
    the search went about it, where that was asked for.
    """

    hits: tuple[Hit, ...]
    generation: int
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    partial: bool = False
    plan: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, i: Any) -> Any:
        return self.hits[i]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


@dataclass(frozen=True, slots=True)
class Page:
    """Some stored documents, all of one commit. What was not asked for of them is empty.

    ``missing`` are the ids that were asked for and are not there. ``next_after`` is where the next page
    begins (`Engine.scroll`), None where nothing is left.
    """

    documents: tuple[Document, ...]
    generation: int
    missing: tuple[str, ...] = ()
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token that owns a vector. ``start:end`` are characters of the text, or None for a
    token that the text does not contain (a prefix marker, ``[CLS]``, query expansion)."""

    text: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """A query token, the document token that served it best, and what it added.

    ``similarity`` is the inner product of the two vectors as they are scored;
    ``contribution`` is what it added to the score. Where a document's tokens were pooled, one vector
    stands for several: ``document_tokens``. ``document_token`` then has their stretch of the text if they
    follow each other, else their texts (each once) with dots between, and no place; where it is not known
    which they are, it has a number, and ``document_tokens`` is empty.
    """

    query_token: Token
    document_token: Token | None
    document_position: int | None
    similarity: float
    contribution: float
    document_tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document got its score: the contributions of ``matches`` add up to ``score``.

    Spans of query tokens index ``query`` ("" where vectors were given), spans of document tokens index
    ``text`` (the title and the text joined, as the encoder read them). ``scored_from`` says what the
    document's vectors are: as they are ``stored`` (float32, float16, int8), or made again from lossy
    ``codes``, where nothing else is kept of them.
    """

    id: str
    query: str
    text: str
    score: float
    matches: tuple[TokenMatch, ...]
    scored_from: Literal["stored", "codes"] = "stored"


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Where a build stands. ``fraction`` is of the input, None when its size is unknown."""

    documents: int
    tokens: int
    skipped: int
    fraction: float | None


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What was trained: the measured ``quality`` (geometry and recall curve as JSON; None where nothing
    had to be), what to be warned of, and how long it took with writing the segments anew."""

    quality: Mapping[str, Any] | None
    warnings: tuple[str, ...]
    seconds: float


TrainingProgress = Callable[[str, float | None], None]
"""Called with what is being done and, where it is known, the share of it that is."""

ProgressCallback = Callable[[BuildProgress], None]
