"""Why a document got its score: which document token served each query token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.index import prepare_queries
from retrieval.search.refine import similarities
from retrieval.storage import Snapshot
from retrieval.types import Explanation, Ragged, Token, TokenMatch

__all__ = ["explain_document"]


def explain_document(
    query: str,
    vectors: Ragged,
    query_tokens: Sequence[Token],
    document_tokens: Sequence[Token],
    snapshot: Snapshot,
    segment: int,
    ordinal: int,
) -> Explanation:
    """Take one score apart; the contributions add up to it.

    ``vectors`` holds the one query's vectors as encoded; tokens stand in the order of their
    vectors. ``segment`` is a position in the snapshot. A dense text has one token: itself.
    """
    metric = snapshot.record.metric
    reader = snapshot.segments[segment]
    document = reader.documents.document(ordinal)
    prepared = prepare_queries(vectors, metric).values.astype(np.float64)
    values = snapshot.codec.decode(reader.document_codes(ordinal)).astype(np.float64)
    table = similarities(prepared, values, metric)
    # meanmaxsim divides the query's vectors by their number: what a token adds is its share.
    share = len(prepared) if metric == "meanmaxsim" else 1
    matches = [
        _match(token, row, document_tokens, share) for token, row in zip(query_tokens, table, strict=True)
    ]
    score = float(np.float32(sum(match.contribution for match in matches)))
    return Explanation(document.id, query, document.full_text, score, tuple(matches))


def _match(
    token: Token, row: NDArray[np.float64], document_tokens: Sequence[Token], share: int
) -> TokenMatch:
    if not len(row):
        return TokenMatch(token, None, None, 0.0, 0.0)
    best = int(row.argmax())
    gain = float(row[best])
    return TokenMatch(token, document_tokens[best], best, gain * share, gain)
