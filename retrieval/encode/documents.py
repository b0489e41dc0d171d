"""Documents as the vectors that an index stores: encoded or given, then pooled where the index says so.

Queries are never pooled. What is stored of a document is a function of its text, the encoder and the
pooling alone, whatever it is encoded together with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from retrieval.encode.base import EncodeProgress, Encoder, TokenizingEncoder, encode_documents, text_tokens
from retrieval.encode.given import GivenVectors
from retrieval.errors import ConfigError, EncoderError
from retrieval.kernels.blocks import one_blas_thread
from retrieval.reduce.pooling import TokenPooling, pool, pooling_of
from retrieval.types import Document, FloatArray, IntArray, Ragged, Token

__all__ = ["DocumentEncoder", "VectorTokens", "check_pooling"]

SAME_LENGTH = 1e-3
"""Vectors whose lengths are so near to 1 are meant to be unit vectors."""
AS_NEAR = 1e-3
"""Cosines that differ by less are equal."""
SOME_WORDS = "some words"
GAP = " … "


@dataclass(frozen=True, slots=True)
class VectorTokens:
    """The tokens ``behind`` a stored vector, in the order of the text, and one ``token`` that names it.

    Of a vector that stands for one token the name is that token. Tokens that follow each other are named by
    their stretch of the text, with its place; others by their stretches with dots between (each text once:
    a word and its repetitions often share a vector), and have no one place. Where nothing is known the name
    is a number and ``behind`` is empty.
    """

    token: Token
    behind: tuple[Token, ...]


def check_pooling(spec: str, encoder: Encoder) -> TokenPooling | None:
    """The pooling of a text (`retrieval.reduce.pooling.pooling_of`), if this encoder's documents can be
    pooled so; None for ``none``. Nothing is encoded.

    Raises:
        ConfigError: another text, an encoder of one vector a text, or a pooling by words with an encoder
            that does not tell where its tokens stand.
    """
    pooling = pooling_of(spec)
    if pooling is None:
        return None
    if encoder.kind == "dense":
        raise ConfigError(
            f"pooling={spec!r} is for one vector a token (late interaction), and this encoder is dense: "
            "leave the pooling out, or encode with kind=late"
        )
    if pooling.needs_tokens and not _tells_places(encoder):
        raise ConfigError(
            f"pooling={spec!r} needs the places of tokens in the text, which this encoder does not tell; "
            "use ward:2, which needs none"
        )
    return pooling


def _tells_places(encoder: Encoder) -> bool:
    """Whether an encoder names a text's tokens with their places."""
    if not isinstance(encoder, TokenizingEncoder):
        return False
    try:
        tokens = encoder.document_tokens(SOME_WORDS)
    except EncoderError:  # it pools by itself
        return False
    return not tokens or any(token.start is not None for token in tokens)


class DocumentEncoder:
    """An encoder of documents, with the token pooling of an index (`IndexConfig.pooling`).

    Raises:
        ConfigError: see `check_pooling`.
    """

    def __init__(self, encoder: Encoder, pooling: str) -> None:
        self._encoder = encoder
        self._pooling = check_pooling(pooling, encoder)

    def encode(self, texts: Sequence[str], progress: EncodeProgress | None = None) -> Ragged:
        """The vectors to be stored for each text, in the order of ``texts``.

        A document whose own vectors all have length 1 gets pooled ones of length 1.

        Raises:
            EncoderError: see `retrieval.encode.base.as_ragged`.
        """
        return self._stored(texts, encode_documents(self._encoder, texts, progress))

    def vectors_of(self, documents: Sequence[Document], progress: EncodeProgress | None = None) -> Ragged:
        """The same of documents; those that bring vectors (`check_vectors`) are not encoded.

        Raises:
            EncoderError: as of `encode`.
        """
        texts = [document.full_text for document in documents]
        if not isinstance(self._encoder, GivenVectors):
            return self.encode(texts, progress)
        given = Ragged.from_list([cast(FloatArray, one.vectors) for one in documents], self._encoder.dim)
        if progress is not None:
            progress(len(documents))
        return self._stored(texts, given)

    def _stored(self, texts: Sequence[str], vectors: Ragged) -> Ragged:
        if self._pooling is None:
            return vectors
        # One document is too little work for several threads: they would only wait for each other.
        with one_blas_thread():
            pooled = [self._pooled(self._pooling, text, vectors[i]) for i, text in enumerate(texts)]
        return Ragged.from_list(pooled, vectors.dim)

    def name_vectors(self, texts: Sequence[str], stored: Sequence[FloatArray]) -> list[list[VectorTokens]]:
        """What stands behind each stored vector ``(n_i, d)`` of some documents.

        Pooled documents are encoded and pooled once more, to find the groups. Arithmetic in another batch
        or on another machine may round otherwise and cluster otherwise: a vector gets its tokens where
        none of the new ones is nearer to it than the one at its place, and a number otherwise; all of them
        get numbers where there are not as many.

        Raises:
            EncoderError: the encoder names another number of tokens than it gives vectors.
        """
        if self._pooling is None:
            return [self._tokens(text, len(each)) for text, each in zip(texts, stored, strict=True)]
        if not isinstance(self._encoder, TokenizingEncoder):
            return [_numbers(len(each)) for each in stored]
        encoded, pooling = encode_documents(self._encoder, list(texts)), self._pooling
        return [
            self._groups(pooling, text, encoded[i], each)
            for i, (text, each) in enumerate(zip(texts, stored, strict=True))
        ]

    def _tokens(self, text: str, n: int) -> list[VectorTokens]:
        tokens = text_tokens(self._encoder, text, n, side="document")
        return [VectorTokens(token, (token,)) for token in tokens]

    def _groups(
        self, pooling: TokenPooling, text: str, values: FloatArray, stored: FloatArray
    ) -> list[VectorTokens]:
        """What stands behind a document's pooled vectors; ``values`` are those of its tokens."""
        unknown = _numbers(len(stored))
        tokens = text_tokens(self._encoder, text, len(values), side="document")
        with one_blas_thread():
            groups = pooling.groups(values, tokens)
            again = self._pooled(pooling, text, values)
        if len(again) != len(stored):
            return unknown
        same = _as_near_as_any(stored, again)
        members = _members(groups, len(again))
        return [_named(text, tokens, members[i]) if same[i] else unknown[i] for i in range(len(stored))]

    def _pooled(self, pooling: TokenPooling, text: str, values: FloatArray) -> FloatArray:
        def tokens(_: int) -> Sequence[Token]:
            return text_tokens(self._encoder, text, len(values), side="document")

        return pool(Ragged.from_list([values], values.shape[1]), pooling, tokens, _are_units(values)).values


def _are_units(values: FloatArray) -> bool:
    lengths = np.linalg.norm(values.astype(np.float64), axis=1)
    return bool((np.abs(lengths - 1) <= SAME_LENGTH).all())


def _as_near_as_any(stored: FloatArray, again: FloatArray) -> NDArray[np.bool_]:
    """Whether no row of ``again`` has a larger cosine with ``stored[i]`` than ``again[i]``; ``(n, d)``."""
    cosines = _directions(stored) @ _directions(again).T
    nearest = cosines.max(axis=1, initial=-1.0)
    result: NDArray[np.bool_] = cosines.diagonal() >= nearest - AS_NEAR
    return result


def _directions(values: FloatArray) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    directions: NDArray[np.float64] = wide / np.where(lengths > 0, lengths, 1)
    return directions


def _members(groups: IntArray, n_groups: int) -> list[list[int]]:
    """Positions of the tokens of each group, in their order."""
    members: list[list[int]] = [[] for _ in range(n_groups)]
    for position, group in enumerate(groups):
        if group >= 0:
            members[group].append(position)
    return members


def _numbers(n: int) -> list[VectorTokens]:
    """Of vectors whose tokens are not known."""
    return [VectorTokens(Token(f"#{i}"), ()) for i in range(n)]


def _named(text: str, tokens: Sequence[Token], positions: Sequence[int]) -> VectorTokens:
    """A group of tokens, and its name."""
    behind = tuple(tokens[position] for position in positions)
    stretches = [_stretch(text, [tokens[i] for i in run]) for run in _runs(tokens, positions)]
    if len(stretches) == 1:
        return VectorTokens(stretches[0], behind)
    return VectorTokens(Token(GAP.join(dict.fromkeys(stretch.text for stretch in stretches))), behind)


def _runs(tokens: Sequence[Token], positions: Iterable[int]) -> list[list[int]]:
    """Positions that follow each other together, as far as they have places in the text."""
    runs: list[list[int]] = []
    for position in positions:
        follows = bool(runs) and runs[-1][-1] == position - 1
        if follows and tokens[position].start is not None and tokens[position - 1].end is not None:
            runs[-1].append(position)
        else:
            runs.append([position])
    return runs


def _stretch(text: str, tokens: Sequence[Token]) -> Token:
    """Neighbours with places as one token; one by itself stays as it is."""
    if len(tokens) == 1:
        return tokens[0]
    start = min(token.start for token in tokens if token.start is not None)
    end = max(token.end for token in tokens if token.end is not None)
    return Token(text[start:end], start, end)
