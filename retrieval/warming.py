"""Searches whose answers nobody wants: they compile the kernels that an index needs, and read what it holds
in memory, so that the first query waits for neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from retrieval.types import EncoderKind, SearchResult

__all__ = ["search_in_every_way"]

QUERY_TOKENS = (1, 8, 40)
"""One token, a block of the kernel, and more than a block: each is compiled apart."""
MANY = 8
"""Queries in a batch, which are scored together."""


class Warmed(Protocol):
    """An index that can be searched."""

    @property
    def kind(self) -> EncoderKind:
        """One vector a text, or one a token."""

    @property
    def dim(self) -> int:
        """Numbers of a vector."""

    @property
    def search(self) -> Callable[..., SearchResult]:
        """Of one query; see `retrieval.Engine.search`."""

    @property
    def search_batch(self) -> Callable[..., Sequence[SearchResult]]:
        """The same of many."""


def search_in_every_way(index: Warmed) -> None:
    """One query and several, with a filter and without, by the recipe and exactly."""
    for tokens in QUERY_TOKENS if index.kind == "late" else (1,):
        vectors = np.full((tokens, index.dim), index.dim**-0.5, dtype=np.float32)
        for params in (None, {"exact": True}):
            found = index.search(vectors, params=params, fields=())
            some = {"must": [{"has_id": [hit.id for hit in found.hits[: len(found) // 2 + 1]]}]}
            index.search(vectors, params=params, fields=(), filter=some)
            index.search_batch([vectors] * MANY, params=params, fields=())
