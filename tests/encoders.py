"""Encoders that need no model: cheap, deterministic, and close enough to real ones in shape."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.types import FloatArray, Token


def word_vector(word: str, dim: int) -> FloatArray:
    """A unit vector that depends on the word alone."""
    seed = int.from_bytes(hashlib.blake2b(word.lower().encode(), digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


class HashingDense:
    """The sum of a text's word vectors."""

    kind = "dense"

    def __init__(self, dim: int = 32, metric: str = "cosine") -> None:
        self.dim, self.metric = dim, metric

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "hashing-dense", "dim": self.dim, "metric": self.metric}

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.stack(
            [
                sum((word_vector(w, self.dim) for w in _words(t)), np.zeros(self.dim, np.float32))
                for t in texts
            ]
        )

    encode_query = encode_document


class HashingLate:
    """A vector a word; it can name its tokens."""

    kind = "late"

    def __init__(self, dim: int = 32, metric: str = "maxsim") -> None:
        self.dim, self.metric = dim, metric

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "hashing-late", "dim": self.dim, "metric": self.metric}

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        none = np.empty((0, self.dim), dtype=np.float32)
        return [
            np.stack([word_vector(w, self.dim) for w in words]) if (words := _words(t)) else none
            for t in texts
        ]

    encode_query = encode_document

    def query_tokens(self, text: str) -> list[Token]:
        return [Token(match.group(), match.start(), match.end()) for match in re.finditer(r"\w+", text)]

    document_tokens = query_tokens


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


class BucketDense:
    """Word counts in hash buckets: fast enough to build an index of any collection in seconds."""

    kind, metric, dim = "dense", "cosine", 64

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "bucket-dense"}

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            np.add.at(row, [zlib.crc32(word.encode()) % self.dim for word in text.lower().split()], 1)
        return vectors

    encode_query = encode_document


class PiecesLate:
    """A vector for every two letters of a word, after a marker that is not in the text. Vectors have
    ``length``, or without it one that the piece decides."""

    kind, metric = "late", "maxsim"

    def __init__(self, dim: int = 16, length: float | None = 1.0) -> None:
        self.dim, self.length = dim, length

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "pieces-late", "dim": self.dim, "length": self.length}

    def encode_query(self, texts: Sequence[str]) -> list[FloatArray]:
        return [np.stack([self._vector(token.text) for token in self.query_tokens(text)]) for text in texts]

    def encode_document(self, texts: Sequence[str]) -> list[FloatArray]:
        return [
            np.stack([self._vector(token.text) for token in self.document_tokens(text)]) for text in texts
        ]

    def query_tokens(self, text: str) -> list[Token]:
        return [
            Token(word.group()[at : at + 2], word.start() + at, min(word.start() + at + 2, word.end()))
            for word in re.finditer(r"\w+", text)
            for at in range(0, len(word.group()), 2)
        ]

    def document_tokens(self, text: str) -> list[Token]:
        return [Token("[D]"), *self.query_tokens(text)]

    def _vector(self, piece: str) -> FloatArray:
        length = 0.5 + len(piece) + ord(piece[0]) % 7 if self.length is None else self.length
        return word_vector(piece, self.dim) * np.float32(length)
