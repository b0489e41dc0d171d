"""What the benchmark asks of an engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

__all__ = ["Ask", "Bytes", "Engine", "Setting", "folder_bytes", "grid", "lists_for", "rescored"]

Setting = Mapping[str, int]
"""Search parameters by name."""

Ask = Callable[[FloatArray], NDArray[Any]]
"""One query ``(d,)`` to the numbers of its neighbours, best first; fewer than k where it found fewer."""


@dataclass(frozen=True)
class Bytes:
    """Totals. ``codes``: what candidates are found with; ``held``: that and the vectors that answers are
    rescored from; ``disk``: the files."""

    codes: int
    held: int
    disk: int


class Engine(Protocol):
    """One way to build and to search. ``name`` says package and recipe.

    ``shared`` is False for what may not be asked from two threads at once.
    """

    name: str
    shared: bool

    def build(self, vectors: FloatArray, threads: int) -> None:
        """Everything from vectors to a searchable index.

        Raises:
            ImportError: the package is not there.
        """

    def settings(self, k: int) -> list[Setting]:
        """What to try."""

    def prepare(self, k: int, setting: Setting) -> Ask:
        """Set the parameters; the call answers one query on the calling thread alone."""

    def measure_bytes(self, scratch: Path) -> Bytes:
        """Of the whole index; may write into ``scratch``."""


def grid(**values: Iterable[int]) -> list[Setting]:
    """All combinations."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def lists_for(n: int) -> int:
    """Inverted lists for ``n`` vectors, the same for every engine: the power of two next to 2 sqrt(n),
    with no fewer than 39 vectors a list, which k-means wants."""
    return max(1, min(2 ** round(math.log2(2 * math.sqrt(max(n, 1)))), n // 39))


def rescored(vectors: FloatArray, query: FloatArray, candidates: NDArray[Any], k: int) -> NDArray[Any]:
    """The best ``k`` candidates by float32 inner product, for engines that do not rescore themselves."""
    scores = vectors[candidates] @ query
    kept = np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))
    return candidates[kept[np.argsort(-scores[kept])]]


def folder_bytes(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
