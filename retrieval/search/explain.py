"""Why a document got its score: which document token served each query token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.encode.documents import VectorTokens
from retrieval.index import prepare_queries
from retrieval.search.refine import similarities
from retrieval.storage import Snapshot
from retrieval.types import Explanation, Ragged, Token, TokenMatch

__all__ = ["explain_document"]


def explain_document(
    query: str,
    vectors: Ragged,
    query_tokens: Sequence[Token],
    named: Sequence[VectorTokens],
    snapshot: Snapshot,
    segment: int,
    ordinal: int,
) -> Explanation:
    """Take one score apart; the contributions add up to it.

    ``vectors`` holds the one query's vectors as encoded; ``query_tokens`` and ``named``, what is behind the
    document's, stand in the order of their vectors. ``segment`` is a position in the snapshot. A dense text
    has one token: itself.
    """
    metric = snapshot.record.metric
    reader = snapshot.segments[segment]
    document = reader.documents.document(ordinal)
    prepared = prepare_queries(vectors, metric).values.astype(np.float64)
    values = snapshot.codec.decode(reader.document_codes(ordinal)).astype(np.float64)
    table = similarities(prepared, values, metric)
    # meanmaxsim divides the query's vectors by their number: what a token adds is its share.
    share = len(prepared) if metric == "meanmaxsim" else 1
    matches = [_match(token, row, named, share) for token, row in zip(query_tokens, table, strict=True)]
    score = float(np.float32(sum(match.contribution for match in matches)))
    lossy = snapshot.record.config["precision"] == "residual"
    source: Literal["stored", "codes"] = "codes" if lossy else "stored"
    return Explanation(document.id, query, document.full_text, score, tuple(matches), source)


def _match(token: Token, row: NDArray[np.float64], named: Sequence[VectorTokens], share: int) -> TokenMatch:
    if not len(row):
        return TokenMatch(token, None, None, 0.0, 0.0)
    best = int(row.argmax())
    gain = float(row[best])
    return TokenMatch(token, named[best].token, best, gain * share, gain, named[best].behind)
