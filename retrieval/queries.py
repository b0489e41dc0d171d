"""From what a caller asks to vectors that can be scored: texts are encoded, given vectors checked."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encode.base import LARGEST, Encoder, encode_queries
from retrieval.errors import QueryError
from retrieval.types import EncoderKind, FloatArray, Ragged

__all__ = ["Query", "check_id", "check_k", "query_vectors"]

Query = str | NDArray[Any]
"""A text, or its vectors: ``(d,)``, or ``(n_tokens, d)`` for late interaction."""


def check_k(k: object, name: str = "k") -> int:
    """How many hits are wanted; ``name`` is what the caller calls it.

    Raises:
        QueryError: no whole number, or below 1.
    """
    try:
        number = operator.index(k)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(k, bool) or number < 1:
        raise QueryError(f"{name} must be a whole number of at least 1, not {k!r}")
    return number


def check_id(doc_id: object) -> str:
    """The id of a document that is asked for.

    Raises:
        QueryError: no string, or one that no document can have.
    """
    if not isinstance(doc_id, str):
        raise QueryError(f"a document id is a string, not {doc_id!r}")
    try:
        doc_id.encode()
    except UnicodeEncodeError:
        raise QueryError(f"the document id {doc_id!r} is not valid Unicode; no document has it") from None
    return doc_id


def query_vectors(
    queries: Sequence[Query], encoder: Callable[[], Encoder], kind: EncoderKind, dim: int
) -> Ragged:
    """Vectors of the queries in their order. Texts are encoded together; without any, ``encoder``
    is not called (it may have to load a model).

    Raises:
        QueryError: an empty text, or vectors that do not fit or are not finite.
    """
    texts = [query for query in queries if isinstance(query, str)]
    if not texts:
        return Ragged.from_list([_given(query, kind, dim) for query in queries], dim)
    if any(not text.strip() for text in texts):
        raise QueryError("the query is empty; give it some words")
    encoded = iter(_each(encode_queries(encoder(), texts)))
    parts = [next(encoded) if isinstance(query, str) else _given(query, kind, dim) for query in queries]
    return Ragged.from_list(parts, dim)


def _each(ragged: Ragged) -> list[FloatArray]:
    return [ragged[i] for i in range(len(ragged))]


def _given(query: object, kind: EncoderKind, dim: int) -> FloatArray:
    if not isinstance(query, np.ndarray) or query.dtype.kind not in "fiu":
        raise QueryError(f"a query is a text or an array of numbers, not {type(query).__name__}")
    vectors = np.array(query, np.float32, ndmin=2, copy=None)
    fits = vectors.ndim == 2 and vectors.shape[1] == dim and (kind == "late" or len(vectors) == 1)
    if not fits:
        expected = f"({dim},)" if kind == "dense" else f"(n_tokens, {dim})"
        raise QueryError(f"query vectors of shape {query.shape} do not fit this index; expected {expected}")
    if not np.maximum.reduce(np.abs(vectors), axis=None, initial=0) <= LARGEST:  # also when one is NaN
        raise QueryError(f"the query's vectors hold NaN, infinity or values beyond {LARGEST:g}")
    return vectors
