"""A seeded collection of token vectors with the structure of text, of any size, in a stream of blocks.

Words have prototypes of unit length, whose spectrum decays; a document has a topic and draws its words
half from the whole vocabulary and half from the topic's own, both by Zipf's law. A token is

    prototype + 0.35 topic + 0.25 document + 0.6 noise, scaled to unit length,

so the same word differs by topic, by document and by place. A document's length is lognormal with mean
120. A query is a span of 20 to 32 words of a document, with other and stronger noise (0.8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, IntArray

__all__ = ["LAW", "Law", "write"]

BLOCK = 1000
"""Documents that are made at a time."""


@dataclass(frozen=True)
class Law:
    """The law's constants; ``zipf`` is the exponent."""

    dim: int = 128
    words: int = 30_000
    topics: int = 500
    topic_words: int = 300
    zipf: float = 1.0
    mean_length: float = 120.0
    length_spread: float = 0.5
    longest: int = 512
    topic: float = 0.35
    document: float = 0.25
    noise: float = 0.6
    query_noise: float = 0.8
    query_lengths: tuple[int, int] = (20, 32)
    queries: int = 1000
    seed: int = 0


LAW = Law()


class _World:
    """What all documents share."""

    def __init__(self, law: Law) -> None:
        rng = np.random.default_rng([law.seed, 0])
        scales = 1 / np.sqrt(np.arange(1, law.dim + 1))
        rotation = np.linalg.qr(rng.standard_normal((law.dim, law.dim)))[0]
        self._law = law
        self._mix = (scales[:, None] * rotation / np.linalg.norm(scales)).astype(np.float32)
        self.prototypes = _unit(self.normal(rng, law.words))
        self.topics = _unit(self.normal(rng, law.topics))
        self._topic_words = np.stack(
            [rng.permutation(law.words)[: law.topic_words] for _ in range(law.topics)]
        )
        self._all = _zipf(law.words, law.zipf)
        self._own = _zipf(law.topic_words, law.zipf)

    def normal(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Vectors of mean squared length 1 with the decaying spectrum, ``(n, dim)``."""
        made: FloatArray = rng.standard_normal((n, self._law.dim), dtype=np.float32) @ self._mix
        return made

    def draw_words(self, rng: np.random.Generator, topics: IntArray) -> IntArray:
        """A word for each token, whose document's topic is given."""
        common = np.searchsorted(self._all, rng.random(len(topics)))
        own = self._topic_words[topics, np.searchsorted(self._own, rng.random(len(topics)))]
        return np.where(rng.random(len(topics)) < 0.5, common, own)


def write(folder: Path, n: int, law: Law = LAW) -> dict[str, Path]:
    """Files of ``documents`` and ``queries`` (float16 vectors) and of their ``-lengths``; made once.

    The same document is made whatever ``n`` is; memory is that of a block.
    """
    digest = hashlib.sha256(repr(law).encode()).hexdigest()[:8]
    parts = ("documents", "queries", "documents-lengths", "queries-lengths")
    paths = {part: folder / f"late-synthetic-{n}-{digest}-{part}.npy" for part in parts}
    if all(path.is_file() for path in paths.values()):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    world, lengths = _World(law), _lengths(n, law)
    asked = np.random.default_rng([law.seed, 1]).permutation(n)[: law.queries]
    partial = paths["documents"].with_suffix(".partial")
    values = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.float16, shape=(int(lengths.sum()), law.dim)
    )
    queries: dict[int, FloatArray] = {}
    row = 0
    for vectors, some in _blocks(world, law, lengths, set(asked.tolist())):
        values[row : row + len(vectors)] = vectors
        row += len(vectors)
        queries |= some
    values.flush()
    del values
    given = [queries[i] for i in asked.tolist()]
    np.save(paths["queries"], np.concatenate(given).astype(np.float16))
    np.save(paths["queries-lengths"], np.array([len(query) for query in given]))
    np.save(paths["documents-lengths"], lengths)
    partial.replace(paths["documents"])
    return paths


def _blocks(
    world: _World, law: Law, lengths: IntArray, asked: set[int]
) -> Iterator[tuple[FloatArray, dict[int, FloatArray]]]:
    """Vectors of the documents of each block, and the queries made of some of them by their numbers."""
    for start in range(0, len(lengths), BLOCK):
        some = lengths[start : start + BLOCK]
        each = [np.random.default_rng([law.seed, 2, start + i]) for i in range(len(some))]
        topics = np.array([rng.integers(law.topics) for rng in each])
        made = [_text(world, law, rng, int(t), int(m)) for rng, t, m in zip(each, topics, some, strict=True)]
        numbers = (i for i in range(len(some)) if start + i in asked)
        queries = {start + i: _query(world, law, each[i], *made[i][1:]) for i in numbers}
        yield np.concatenate([vectors for vectors, _, _ in made]), queries


def _text(
    world: _World, law: Law, rng: np.random.Generator, topic: int, length: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Vectors of a document's tokens, its words, and what it adds to all of them."""
    words = world.draw_words(rng, np.full(length, topic))
    shift = law.topic * world.topics[topic] + law.document * world.normal(rng, 1)[0]
    return _tokens(world, rng, words, shift, law.noise), words, shift


def _query(
    world: _World, law: Law, rng: np.random.Generator, words: IntArray, shift: FloatArray
) -> FloatArray:
    low, high = law.query_lengths
    length = int(rng.integers(low, high + 1))
    start = int(rng.integers(max(len(words) - length, 0) + 1))
    return _tokens(world, rng, words[start : start + length], shift, law.query_noise)


def _tokens(
    world: _World, rng: np.random.Generator, words: IntArray, shift: FloatArray, noise: float
) -> FloatArray:
    return _unit(world.prototypes[words] + shift + np.float32(noise) * world.normal(rng, len(words)))


def _lengths(n: int, law: Law) -> IntArray:
    """Of all documents; those of a smaller collection are the first of a larger one."""
    normal = np.random.default_rng([law.seed, 3]).standard_normal(n)
    spread = law.length_spread
    drawn = law.mean_length * np.exp(spread * normal - spread**2 / 2)
    return np.clip(np.round(drawn), 1, law.longest).astype(np.int64)


def _zipf(n: int, exponent: float) -> NDArray[np.float64]:
    """Cumulative probabilities of ranks; the last is 1 whatever the rounding."""
    weights = 1 / np.arange(1, n + 1) ** exponent
    total: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    total[-1] = 1.0
    return total


def _unit(values: NDArray[Any]) -> FloatArray:
    scaled: FloatArray = values / np.linalg.norm(values, axis=1, keepdims=True)
    return scaled.astype(np.float32, copy=False)
