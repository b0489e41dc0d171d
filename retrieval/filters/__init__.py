"""Which documents are accepted: a filter as objects or JSON, checked against the fields' types,
evaluated on a segment's columns into an ``accept`` mask; and facet counts over such a mask.

    parse_filter(json) -> Filter -> check(filter, fields) -> CheckedFilter -> evaluate(...) -> mask
"""

from retrieval.filters.check import CheckedFilter, check
from retrieval.filters.evaluate import evaluate
from retrieval.filters.expression import (
    AnyOf,
    Condition,
    Exists,
    Filter,
    HasId,
    Match,
    Prefix,
    Range,
    Scalar,
)
from retrieval.filters.facets import check_facet, count_values, top_counts
from retrieval.filters.parse import parse_filter
from retrieval.filters.paths import Leaf

__all__ = [
    "AnyOf",
    "CheckedFilter",
    "Condition",
    "Exists",
    "Filter",
    "HasId",
    "Leaf",
    "Match",
    "Prefix",
    "Range",
    "Scalar",
    "check",
    "check_facet",
    "count_values",
    "evaluate",
    "parse_filter",
    "top_counts",
]
