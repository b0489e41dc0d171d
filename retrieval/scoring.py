"""Scores of texts that are in no index: what an exact search of an index of them would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from retrieval.build import ENCODE_CHUNK
from retrieval.encode import Encoder
from retrieval.encode.base import encode_documents
from retrieval.errors import DataError
from retrieval.index import prepare_documents, prepare_queries
from retrieval.kernels.rescore.cpu import score_exactly
from retrieval.kernels.rescore.prepared import prepare_rows
from retrieval.kernels.token_rescore.cpu import maxsim_exactly
from retrieval.kernels.token_rescore.prepared import prepare_tokens
from retrieval.queries import query_vectors
from retrieval.types import FloatArray, Metric, Ragged

__all__ = ["score_texts"]


def score_texts(encoder: Encoder, query: str, texts: Sequence[str]) -> list[float]:
    """How well each of ``texts`` answers ``query``, in their order; larger is better.

    Each score is the one that an exact search gives the text in an index of float32 vectors without pooling:
    the metric of a dense encoder, MaxSim of a late one. Memory holds the vectors of one batch
    of texts.

    Raises:
        QueryError: the query is empty or no text.
        DataError: a text is blank, which no document may be, or no text; ``where`` is ``text`` and its place
            from 0.
        EncoderError: see `retrieval.encode.base.as_ragged`.
    """
    _check_texts(texts)
    vectors = query_vectors([query], lambda: encoder, encoder.kind, encoder.dim)
    prepared = prepare_queries(vectors, encoder.metric)[0]
    scores: list[float] = []
    for first in range(0, len(texts), ENCODE_CHUNK):
        encoded = encode_documents(encoder, texts[first : first + ENCODE_CHUNK])
        scores += _scores(prepared, prepare_documents(encoded, encoder.metric), encoder.metric).tolist()
    return scores


def _scores(query: FloatArray, vectors: Ragged, metric: Metric) -> FloatArray:
    ordinals = np.arange(len(vectors))
    if metric in ("maxsim", "meanmaxsim"):
        return maxsim_exactly(query, prepare_tokens(vectors.values, vectors.offsets), ordinals)
    kind: Literal["dot", "l2"] = "l2" if metric == "l2" else "dot"
    return score_exactly(query, prepare_rows(vectors.values), ordinals, kind).astype(np.float32)


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise DataError(f"the texts to score are a list of strings, such as [{texts[:40]!r}]")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"a text is a string, not {type(text).__name__}", f"text {place}")
        if not text.strip():
            raise DataError("the text is blank; leave it out", f"text {place}")
