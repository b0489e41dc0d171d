"""Where to look: from a query's vectors to a pool of candidates in one segment."""

from retrieval.index.arranged import Arranged, Work
from retrieval.index.arranged_tokens import ArrangedCodes, ArrangedTokens
from retrieval.index.base import Effort, Found, Probe, VectorIndex
from retrieval.index.flat import FlatIndex
from retrieval.index.metric import prepare_documents, prepare_queries
from retrieval.index.pieces import Pieces, in_memory
from retrieval.index.pipeline import Pipeline
from retrieval.index.pool import Pool, merge
from retrieval.index.searcher import Searcher
from retrieval.index.searchers import fit_searcher, searcher_from_state
from retrieval.index.stored import decoded_tokens, stored_rows, stored_tokens
from retrieval.index.token_pipeline import TokenPipeline
from retrieval.index.tokens import STRAIN, TokensIndex

__all__ = [
    "STRAIN",
    "Arranged",
    "ArrangedCodes",
    "ArrangedTokens",
    "Effort",
    "FlatIndex",
    "Found",
    "Pieces",
    "Pipeline",
    "Pool",
    "Probe",
    "Searcher",
    "TokenPipeline",
    "TokensIndex",
    "VectorIndex",
    "Work",
    "decoded_tokens",
    "fit_searcher",
    "in_memory",
    "merge",
    "prepare_documents",
    "prepare_queries",
    "searcher_from_state",
    "stored_rows",
    "stored_tokens",
]
