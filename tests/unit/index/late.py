"""Texts of many vectors that indexes of late interaction are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from retrieval.index.base import Found
from retrieval.types import Ragged

DIM, N = 21, 307


def texts(n: int, seed: int, longest: int = 17, dim: int = DIM) -> Ragged:
    """Unit tokens around a few words that share a direction, as a model's do; some texts have no token."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, longest + 1, n))]).astype(np.int64)
    words = np.random.default_rng(99).standard_normal((60, dim)) + 0.5
    values = words[rng.integers(0, 60, int(offsets[-1]))]
    values = values + 0.4 * rng.standard_normal(values.shape)
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    return Ragged(values.astype(np.float32), offsets)


def queries(*lengths: int, seed: int = 7) -> Ragged:
    """Queries of so many tokens each."""
    values = texts(80, seed).values[: sum(lengths)]
    return Ragged(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


DOCUMENTS = texts(N, 1)
QUERIES = queries(1, 9, 31, 32, 33, 70, 0)


def blocks(documents: Ragged, *cuts: int) -> Iterator[Ragged]:
    """The documents in blocks that end before these ordinals."""
    for first, last in pairwise([0, *cuts, len(documents)]):
        start, stop = documents.offsets[first], documents.offsets[last]
        yield Ragged(documents.values[start:stop], documents.offsets[first : last + 1] - start)


def same(one: Found, other: Found) -> None:
    """Both found the same."""
    np.testing.assert_array_equal(one.ordinals, other.ordinals)
    np.testing.assert_array_equal(one.estimates, other.estimates)
