"""What the late-interaction benchmark asks of an engine, and the token vectors that it gives to all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = [
    "AskTokens",
    "LateBytes",
    "LateEngine",
    "LateSetting",
    "Reopening",
    "Tokens",
    "best",
    "maxsim",
    "rescored",
]

LateSetting = Mapping[str, float]
"""Search parameters by name."""

AskTokens = Callable[[FloatArray], NDArray[Any]]
"""One query ``(n_tokens, d)`` to the numbers of its documents, best first; fewer than k where it found
fewer."""

BLOCK = 65536


@dataclass(frozen=True)
class Tokens:
    """Token vectors of many texts, back to back: ``values`` ``(n_tokens, d)`` float32 or float16, often
    mapped from disk; text ``i`` owns rows ``offsets[i]:offsets[i + 1]``, at least one."""

    values: NDArray[Any]
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> FloatArray:
        return np.asarray(self.values[self.offsets[i] : self.offsets[i + 1]], dtype=np.float32)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.values.shape[1])

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return int(self.offsets[-1])

    @property
    def floats(self) -> int:
        """Bytes of all vectors in float32."""
        return 4 * self.count * self.dim

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, int, FloatArray]]:
        """First text, one after the last, and their vectors: whole texts, ``size`` vectors or few more."""
        first = 0
        while first < len(self):
            end = int(np.searchsorted(self.offsets, self.offsets[first] + size, side="right")) - 1
            end = max(end, first + 1)
            rows = self.values[self.offsets[first] : self.offsets[end]]
            yield first, end, np.asarray(rows, dtype=np.float32)
            first = end


@dataclass(frozen=True)
class LateBytes:
    """Totals. ``resident``: what a search must have in memory; ``disk``: the files, all that an answer
    is scored from among them."""

    resident: int
    disk: int


class LateEngine(Protocol):
    """One way to build and to search. ``name`` says package and recipe.

    ``shared`` is False for what may not be asked from two threads at once. ``copies`` is the memory that
    building takes, in float32 copies of all vectors.
    """

    name: str
    shared: bool
    copies: float

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:
        """Everything from vectors to a searchable index; ``folder`` is empty and stays as long as the
        engine is used.

        Raises:
            ImportError: the package is not there, or does not fit what is.
        """

    def settings(self, k: int) -> list[LateSetting]:
        """What to try."""

    def prepare(self, k: int, setting: LateSetting) -> AskTokens:
        """Set the parameters; the call answers one query on the calling thread alone."""

    def measure_bytes(self) -> LateBytes:
        """Of the whole index."""

    def close(self) -> None:
        """Let go of memory and files."""


@runtime_checkable
class Reopening(Protocol):
    """An engine that may be used again without building it."""

    def reopen(self, documents: Tokens, folder: Path) -> None:
        """Do as after `LateEngine.build`, with what it left in ``folder``."""


def maxsim(vectors: FloatArray, starts: NDArray[Any], query: FloatArray) -> FloatArray:
    """MaxSim of texts that begin at ``starts`` of ``vectors`` ``(n_tokens, d)``, none empty: ``(n,)``."""
    scores: FloatArray = np.maximum.reduceat(vectors @ query.T, starts, axis=0).sum(axis=1)
    return scores


def best(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Numbers of the ``k`` highest scores, best first."""
    kept = np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))
    return kept[np.argsort(-scores[kept], kind="stable")]


def rescored(documents: Tokens, query: FloatArray, candidates: NDArray[Any], k: int) -> NDArray[Any]:
    """The best ``k`` candidates by MaxSim in float32, for engines that do not rescore themselves."""
    if not len(candidates):
        return candidates
    parts = [documents.values[documents.offsets[i] : documents.offsets[i + 1]] for i in candidates]
    starts = np.cumsum([0, *map(len, parts[:-1])])
    vectors = np.concatenate(parts).astype(np.float32, copy=False)
    return candidates[best(maxsim(vectors, starts, query), k)]
