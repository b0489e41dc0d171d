"""From a query's vectors to hits: candidates of every segment, merged, refined, fetched."""

from retrieval.search.execute import Scored, execute
from retrieval.search.explain import explain_document
from retrieval.search.hits import FIELDS, check_fields, fetch, fetch_document

__all__ = ["FIELDS", "Scored", "check_fields", "execute", "explain_document", "fetch", "fetch_document"]
