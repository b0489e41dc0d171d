"""What a caller asks, in whatever form: a filter, and how hard to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.config import SearchConfig
from retrieval.errors import ConfigError, QueryError
from retrieval.filters import Filter, parse_filter

__all__ = ["FilterLike", "SearchParams", "filter_of", "filter_to_delete", "search_config"]

FilterLike = Filter | Mapping[str, Any] | str
"""A filter, or its JSON as objects or text."""

SearchParams = SearchConfig | Mapping[str, Any] | None
"""How hard to look: a configuration, its values by name, or None for what the recipe says."""
DEFAULTS = SearchConfig()


def filter_of(given: FilterLike | None) -> Filter | None:
    """A filter from any of its forms; None stays None.

    Raises:
        FilterError: it cannot be read.
    """
    return given if given is None or isinstance(given, Filter) else parse_filter(given)


def search_config(params: SearchParams) -> SearchConfig:
    """How hard to look, from any of its forms.

    Raises:
        ConfigError: an unknown parameter, or a value that cannot work.
    """
    if params is None or isinstance(params, SearchConfig):
        return params or DEFAULTS
    if not isinstance(params, Mapping):
        raise ConfigError(f"params is a mapping such as {{'recall_target': 0.99}}, not {params!r}")
    return SearchConfig.of(**params)


def filter_to_delete(given: FilterLike) -> Filter:
    """`filter_of` for a delete, where a filter that was left empty by mistake would cost everything.

    Raises:
        FilterError: it cannot be read.
        QueryError: it has no condition.
    """
    wanted = given if isinstance(given, Filter) else parse_filter(given)
    if wanted.is_empty:
        everything = '{"must_not": [{"has_id": []}]}'
        raise QueryError(
            f"the filter is empty and would delete every document; to do so on purpose, give {everything}"
        )
    return wanted
