"""A segment's documents by their centroids and their stored tokens: checked once, and not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.centroid_scores.reference import Centroids
from retrieval.kernels.token_rescore.prepared import Tokens
from retrieval.types import IntArray

__all__ = ["TokenSegment"]


@dataclass(frozen=True, eq=False)
class TokenSegment:
    """What `token_best` searches. Document ``i`` has the centroids ``named[starts[i]:starts[i + 1]]`` and the
    stored tokens ``i`` of ``tokens``; centroid ``c`` stands in the documents
    ``postings[posting_starts[c]:posting_starts[c + 1]]``. Every document has a token at least.

    ``fixed`` is what kernels take of the centroids, of the documents' centroids, and of the tokens.

    Raises:
        ValueError: parts that do not fit each other, or a document without tokens.
    """

    centroids: Centroids
    named: NDArray[Any]
    starts: IntArray
    posting_starts: IntArray
    postings: NDArray[np.uint32]
    tokens: Tokens
    fixed: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n, tokens, centroids = len(self.starts) - 1, self.tokens, self.centroids
        if len(tokens.offsets) != n + 1:
            raise ValueError(f"there are {len(tokens.offsets) - 1} documents of tokens: {n} have centroids")
        if len(self.posting_starts) != centroids.n + 1:
            raise ValueError(f"there are {len(self.posting_starts) - 1} postings of {centroids.n} centroids")
        for name, starts, stored in (
            ("starts", self.starts, self.named),
            ("posting_starts", self.posting_starts, self.postings),
        ):
            if starts.dtype != np.int64 or starts[0] < 0 or starts[-1] > len(stored):
                raise ValueError(f"{name} are {starts.dtype}, and end at {starts[-1]} of {len(stored)}")
            if (starts[1:] < starts[:-1]).any():
                raise ValueError(f"{name} must grow")
        if (self.starts[1:] == self.starts[:-1]).any():
            raise ValueError("a document has no tokens: score those apart")
        octets = tokens.codes.reshape(-1).view(np.uint8)
        octets.flags.writeable = False
        coarse = plain(centroids.codes.reshape(-1)), centroids.center, centroids.n
        known = centroids.step, centroids.longest, centroids.lost
        own = plain(self.named), plain(self.starts), plain(self.posting_starts), plain(self.postings)
        object.__setattr__(self, "fixed", ((*coarse, known), own, octets))
