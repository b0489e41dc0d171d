"""Where to look: from a query's vectors to a pool of candidates in one segment."""

from retrieval.index.arranged import Arranged, Work, stored_rows
from retrieval.index.base import Effort, Found, SegmentSearch, VectorIndex
from retrieval.index.flat import FlatIndex
from retrieval.index.metric import prepare_documents, prepare_queries
from retrieval.index.pipeline import Pipeline
from retrieval.index.pool import Pool, merge

__all__ = [
    "Arranged",
    "Effort",
    "FlatIndex",
    "Found",
    "Pipeline",
    "Pool",
    "SegmentSearch",
    "VectorIndex",
    "Work",
    "merge",
    "prepare_documents",
    "prepare_queries",
    "stored_rows",
]
