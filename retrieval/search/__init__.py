"""From a query's vectors to hits: candidates of every segment, merged, refined, fetched."""

from retrieval.search.accept import Accept, accepted, accepted_ids, count_accepted, facet
from retrieval.search.curve import CurvePoint, RecallCurve
from retrieval.search.execute import Executed, Scored, best, execute
from retrieval.search.explain import explain_document
from retrieval.search.hits import FIELDS, check_fields, fetch, fetch_document, fetch_documents
from retrieval.search.prepared import Prepared
from retrieval.search.rerank import Place, rerank
from retrieval.search.scroll import Cursor, page_after

__all__ = [
    "FIELDS",
    "Accept",
    "Cursor",
    "CurvePoint",
    "Executed",
    "Place",
    "Prepared",
    "RecallCurve",
    "Scored",
    "accepted",
    "accepted_ids",
    "best",
    "check_fields",
    "count_accepted",
    "execute",
    "explain_document",
    "facet",
    "fetch",
    "fetch_document",
    "fetch_documents",
    "page_after",
    "rerank",
]
