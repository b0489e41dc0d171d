"""Where to look: from a query's vectors to a pool of candidates in one segment."""

from retrieval.index.flat import FlatIndex
from retrieval.index.metric import prepare_documents, prepare_queries
from retrieval.index.pool import Pool, merge

__all__ = ["FlatIndex", "Pool", "merge", "prepare_documents", "prepare_queries"]
