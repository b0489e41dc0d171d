"""What an encoder is, and the door through which its vectors enter the engine.

Any object with these five members is an `Encoder`; ten lines are enough:

    class Hashing:
        kind, metric, dim = "dense", "cosine", 256

        def fingerprint(self):
            return {"name": "hashing-256"}

        def encode_document(self, texts):
            return np.stack([self._vector(text) for text in texts])

        encode_query = encode_document
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from retrieval.config import EncoderConfig
from retrieval.errors import ConfigError, EncoderError, EncoderMismatchError
from retrieval.types import EncoderKind, FloatArray, Metric, Ragged, Token

__all__ = [
    "LARGEST",
    "ConfiguredEncoder",
    "Encoder",
    "TokenizingEncoder",
    "as_ragged",
    "check_encoder",
    "check_fingerprint",
    "encode_documents",
    "encode_queries",
    "fingerprint_of",
    "text_tokens",
]

Vectors = Ragged | FloatArray | Sequence[FloatArray]
EncodeProgress = Callable[[int], None]
"""Called with the number of texts encoded since the last call."""


@runtime_checkable
class Encoder(Protocol):
    """Text to vectors.

    ``kind`` is ``"dense"`` (one vector a text) or ``"late"`` (one a token); ``metric`` is
    ``"cosine"``, ``"dot"`` or ``"l2"`` for dense, ``"maxsim"`` or ``"meanmaxsim"`` for late; ``dim``
    is the length of a vector. ``encode_*`` return ``(n, d)`` for a dense encoder; for a late one a
    `Ragged` or a list of ``(n_tokens_i, d)`` arrays. Order is the caller's. ``fingerprint`` holds
    everything that changes the vectors (JSON values); an index refuses an encoder whose
    fingerprint differs.
    """

    kind: EncoderKind
    metric: Metric
    dim: int

    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes the vectors, as JSON values."""
        ...

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries."""
        ...

    def encode_document(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents."""
        ...


@runtime_checkable
class ConfiguredEncoder(Encoder, Protocol):
    """An encoder that the engine can load again from its configuration, and that reports progress."""

    config: EncoderConfig

    def encode_query(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> Vectors:
        """Vectors of queries."""
        ...

    def encode_document(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> Vectors:
        """Vectors of documents."""
        ...


@runtime_checkable
class TokenizingEncoder(Encoder, Protocol):
    """An encoder that can name the tokens behind its vectors, in the same order."""

    def query_tokens(self, text: str) -> list[Token]:
        """One token for each vector of a query."""
        ...

    def document_tokens(self, text: str) -> list[Token]:
        """One token for each vector of a document."""
        ...


METRICS: Mapping[str, tuple[Metric, ...]] = {
    "dense": ("dot", "cosine", "l2"),
    "late": ("maxsim", "meanmaxsim"),
}
RECORDED_LATER = frozenset({"settings_sha256"})
"""Fingerprint keys that indexes of earlier versions lack, which says nothing against their encoder."""
LARGEST = 1e15
"""Beyond this, sums of products leave the range of float32."""


def check_encoder(encoder: object) -> Encoder:
    """Refuse an object that cannot serve as an encoder, naming what is wrong.

    Raises:
        ConfigError: a member is missing, or ``kind``, ``metric`` or ``dim`` has no usable value.
    """
    name = type(encoder).__name__
    if isinstance(encoder, type) or not isinstance(encoder, Encoder):
        told = f"the class {encoder.__name__}; make an object of it" if isinstance(encoder, type) else name
        needs = "kind, metric, dim, fingerprint(), encode_query(), encode_document()"
        raise ConfigError(f"not an encoder: {told} (it needs {needs})")
    if encoder.kind not in METRICS:
        raise ConfigError(f"{name}.kind is {encoder.kind!r}; it must be 'dense' or 'late'")
    if encoder.metric not in METRICS[encoder.kind]:
        told = ", ".join(METRICS[encoder.kind])
        raise ConfigError(f"{name}.metric is {encoder.metric!r}; a {encoder.kind} encoder has one of {told}")
    if not isinstance(encoder.dim, int) or encoder.dim < 1:
        raise ConfigError(f"{name}.dim is {encoder.dim!r}; it must be a whole number of at least 1")
    fingerprint_of(encoder)
    return encoder


def fingerprint_of(encoder: Encoder) -> dict[str, Any]:
    """An encoder's fingerprint as it comes back from JSON, so that it equals the stored one.

    Raises:
        ConfigError: it is no mapping of JSON values.
    """
    given = encoder.fingerprint()
    try:
        plain = json.loads(json.dumps(dict(given), sort_keys=True))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{type(encoder).__name__}.fingerprint() must hold JSON values: {error}") from None
    return dict(plain)


def encode_queries(encoder: Encoder, texts: Sequence[str]) -> Ragged:
    """Encode queries and check the result; see `as_ragged`."""
    return as_ragged(encoder.encode_query(texts), encoder, len(texts))


def encode_documents(
    encoder: Encoder, texts: Sequence[str], progress: EncodeProgress | None = None
) -> Ragged:
    """Encode documents and check the result; ``progress`` falls back to one call at the end."""
    if isinstance(encoder, ConfiguredEncoder):
        return as_ragged(encoder.encode_document(texts, progress=progress), encoder, len(texts))
    vectors = as_ragged(encoder.encode_document(texts), encoder, len(texts))
    if progress is not None:
        progress(len(texts))
    return vectors


def text_tokens(
    encoder: Encoder, text: str, n_vectors: int, *, side: Literal["query", "document"]
) -> list[Token]:
    """Name the tokens behind a text's ``n_vectors`` vectors.

    A dense text is one token, itself; a late encoder that cannot tell gets numbered tokens.

    Raises:
        EncoderError: the encoder names another number of tokens than it gave vectors.
    """
    if encoder.kind == "dense":
        return [Token(text, 0, len(text))]
    if not isinstance(encoder, TokenizingEncoder):
        return [Token(f"#{i}") for i in range(n_vectors)]
    tokens = encoder.query_tokens(text) if side == "query" else encoder.document_tokens(text)
    if len(tokens) != n_vectors:
        raise EncoderError(
            f"{type(encoder).__name__} names {len(tokens)} tokens for {n_vectors} vectors of a {side}"
        )
    return tokens


def as_ragged(vectors: Vectors, encoder: Encoder, n_texts: int) -> Ragged:
    """Bring an encoder's output into one form and refuse what cannot be scored.

    Raises:
        EncoderError: wrong number of texts, wrong dimension, or a value that is not finite.
    """
    name = type(encoder).__name__
    if isinstance(vectors, Ragged):
        ragged = vectors
    elif isinstance(vectors, np.ndarray) and vectors.ndim == 2 and encoder.kind == "dense":
        ragged = Ragged.from_matrix(vectors)
    elif isinstance(vectors, np.ndarray) and vectors.ndim != 3:
        raise EncoderError(
            f"{name} returned an array of shape {vectors.shape}; expected {n_texts} texts x {encoder.dim}"
        )
    else:
        arrays = [np.atleast_2d(np.asarray(array, dtype=np.float32)) for array in vectors]
        wrong = [array.shape for array in arrays if array.shape[1] != encoder.dim and len(array)]
        if wrong:
            raise EncoderError(f"{name} returned vectors of shape {wrong[0]}, but its dim is {encoder.dim}")
        ragged = Ragged.from_list(arrays, encoder.dim)
    if len(ragged) != n_texts:
        raise EncoderError(f"{name} was given {n_texts} texts and returned vectors for {len(ragged)}")
    if ragged.values.shape[1] != encoder.dim:
        raise EncoderError(f"{name} returned vectors of dimension {ragged.dim}, but its dim is {encoder.dim}")
    if encoder.kind == "dense" and not np.array_equal(ragged.offsets, np.arange(n_texts + 1)):
        raise EncoderError(f"{name} is dense, but did not return exactly one vector a text")
    _check_offsets(ragged, name)
    if not np.isfinite(ragged.values).all():
        bad = int(np.flatnonzero(~np.isfinite(ragged.values).all(axis=1))[0])
        text = int(np.searchsorted(ragged.offsets, bad, side="right")) - 1
        raise EncoderError(f"{name} returned NaN or infinity for text {text} of {n_texts}")
    largest = float(np.abs(ragged.values).max(initial=0))
    if largest > LARGEST:
        raise EncoderError(f"{name} returned the value {largest:g}; scale its vectors to at most {LARGEST:g}")
    return ragged


def _check_offsets(ragged: Ragged, name: str) -> None:
    offsets = ragged.offsets
    if offsets[0] != 0 or offsets[-1] != len(ragged.values) or (np.diff(offsets) < 0).any():
        raise EncoderError(f"{name} returned offsets that do not divide its {len(ragged.values)} vectors")


def check_fingerprint(built_with: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse an encoder that is not the one the index was built with, naming the differences.

    Raises:
        EncoderMismatchError: any key differs.
    """
    recorded = {*built_with, *(key for key in given if key not in RECORDED_LATER)}
    keys = [key for key in sorted(recorded) if built_with.get(key) != given.get(key)]
    if not keys:
        return
    if "kind" in keys:  # the rest follows from it
        keys = ["kind"]
    told = "; ".join(
        f"{key}: index {_shortly(built_with.get(key))}, given {_shortly(given.get(key))}" for key in keys
    )
    raise EncoderMismatchError(
        f"not the encoder that the index was built with ({told}); "
        "leave the encoder out to use the index's own, or build a new index"
    )


def _shortly(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 40 else told[:37] + "..."
