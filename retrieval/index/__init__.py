"""Where to look: from a query's vectors to a pool of candidates in one segment."""

from retrieval.index.arranged import Arranged, Work
from retrieval.index.arranged_tokens import ArrangedTokens
from retrieval.index.base import Effort, Found, Probe, VectorIndex
from retrieval.index.flat import FlatIndex
from retrieval.index.metric import prepare_documents, prepare_queries
from retrieval.index.pieces import Pieces, in_memory
from retrieval.index.pipeline import Pipeline
from retrieval.index.pool import Pool, merge
from retrieval.index.searcher import Searcher
from retrieval.index.searchers import fit_searcher, searcher_from_state
from retrieval.index.stored import stored_rows, stored_tokens

__all__ = [
    "Arranged",
    "ArrangedTokens",
    "Effort",
    "FlatIndex",
    "Found",
    "Pieces",
    "Pipeline",
    "Pool",
    "Probe",
    "Searcher",
    "VectorIndex",
    "Work",
    "fit_searcher",
    "in_memory",
    "merge",
    "prepare_documents",
    "prepare_queries",
    "searcher_from_state",
    "stored_rows",
    "stored_tokens",
]
