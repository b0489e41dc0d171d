"""Vectors that documents bring along: an encoder that encodes nothing, for an index without a model.

    encoder = GivenVectors(384, metric="cosine", model="text-embedding-3-small")
    Engine.build("index", [Document("a", "one", vectors=array)], encoder)

The index stores the fingerprint and needs nothing else: it opens without an encoder being named. Texts are
kept for people and BM25; queries are vectors too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, Self

import numpy as np

from retrieval.encode.base import LARGEST, METRICS, Encoder, check_encoder
from retrieval.errors import DataError, EncoderError, QueryError
from retrieval.types import Document, EncoderKind, FloatArray, Metric

__all__ = ["GIVEN", "GivenVectors", "as_numbers", "check_vectors"]

GIVEN = "given"
"""What such an encoder is called, in fingerprints and where a model's name is asked for."""


class GivenVectors:
    """The encoder of an index whose documents bring vectors of ``dim`` numbers (`Document.vectors`).

    ``kind`` is ``"dense"``, one vector a document, or ``"late"``, one a token; ``metric`` as of any encoder,
    by default cosine, or maxsim. ``model`` is a label for what made the vectors; an index that has one
    refuses to be opened with another.

    Raises:
        ConfigError: a kind, metric or dim that there is not.
    """

    def __init__(
        self, dim: int, kind: EncoderKind = "dense", metric: Metric | None = None, model: str | None = None
    ) -> None:
        self.dim, self.kind, self.model = dim, kind, model
        self.metric: Metric = metric or ("maxsim" if kind == "late" else "cosine")
        check_encoder(self)

    @classmethod
    def of(cls, fingerprint: Mapping[str, Any]) -> Self | None:
        """The one with this fingerprint; None if it is another encoder's."""
        if fingerprint.get("name") != GIVEN or fingerprint.get("kind") not in METRICS:
            return None
        values = {key: fingerprint.get(key) for key in ("dim", "kind", "metric", "model")}
        return cls(**values)  # type: ignore[arg-type]

    def fingerprint(self) -> dict[str, Any]:
        """What there is to know."""
        known = {"name": GIVEN, "dim": self.dim, "kind": self.kind, "metric": self.metric}
        return known if self.model is None else {**known, "model": self.model}

    def encode_query(self, texts: Sequence[str]) -> NoReturn:  # noqa: ARG002
        """There is no model.

        Raises:
            QueryError: always; it says how to ask.
        """
        raise QueryError(
            "this index holds given vectors and has no model that could encode a text; ask with the query's "
            "vectors (vector= over HTTP, --vector FILE.npy on the command line, an array in Python)"
        )

    def encode_document(self, texts: Sequence[str]) -> NoReturn:  # noqa: ARG002
        """There is no model.

        Raises:
            EncoderError: always.
        """
        raise EncoderError("vectors that were given cannot be encoded again: there is no model")

    def checked(self, vectors: object, where: str | None = None) -> FloatArray:
        """A document's vectors as they can be stored, ``(n, dim)`` float32; ``where`` is its place.

        Raises:
            DataError: there are none, of another shape, not finite, beyond `LARGEST`, or with cosine zero.
        """
        if vectors is None:
            raise DataError(
                "the document has no vectors, and this index encodes nothing; give it some (the field "
                "'vector' or 'vectors', in Python Document(..., vectors=array))",
                where,
            )
        array = as_numbers(vectors)
        if array is None:
            raise DataError("the vectors are no array of numbers, all rows of the same length", where)
        rows = np.atleast_2d(array)
        is_one = self.kind == "dense"
        if rows.ndim != 2 or rows.shape[1] != self.dim or (is_one and len(rows) != 1) or not len(rows):
            expected = f"({self.dim},)" if is_one else f"(n, {self.dim}), n at least 1"
            raise DataError(
                f"vectors of shape {array.shape} do not fit this index; expected {expected}", where
            )
        if not np.abs(rows).max() <= LARGEST:  # also when one is NaN
            raise DataError(f"the vectors hold NaN, infinity or values beyond {LARGEST:g}", where)
        if self.metric == "cosine" and not rows.any():
            raise DataError("the vector is zero, which has no direction for the metric cosine", where)
        return np.ascontiguousarray(rows)


def as_numbers(vectors: object) -> FloatArray | None:
    """An array, or lists of numbers, as float32; None if it is something else."""
    try:
        array = np.asarray(vectors)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind not in "fiu":
        return None
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is checked
        return array.astype(np.float32, copy=False)


def check_vectors(document: Document, encoder: Encoder, where: str | None = None) -> Document:
    """The document as an index of this encoder takes it.

    A document with vectors in an index that encodes is refused: of two sources of its vectors one would have
    to be ignored, and which model made the given ones nobody can check.

    Raises:
        DataError: as of `GivenVectors.checked`; vectors, and the encoder makes its own.
    """
    if isinstance(encoder, GivenVectors):
        return replace(document, vectors=encoder.checked(document.vectors, where))
    if document.vectors is None:
        return document
    raise DataError(
        "the document brings vectors, and this index encodes texts by itself; leave them out, or make an "
        "index of given vectors (--encoder given, in Python GivenVectors)",
        where,
    )
