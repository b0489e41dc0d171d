"""From the arguments of a search to the members of its request, checked as the engine checks them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_json

from retrieval.asked import FilterLike, SearchParams, filter_of, search_config
from retrieval.client.packing import packed
from retrieval.encode.base import LARGEST
from retrieval.errors import QueryError
from retrieval.queries import Query, check_id, check_k
from retrieval.search import check_fields

__all__ = ["Fields", "batches_of", "checked_ids", "filter_json", "query_json", "search_json", "texts_only"]

Fields = Collection[str] | None
MAX_SEARCHES = 100
MAX_BATCH_BYTES = 900_000
"""One batch of searches; the service's own bounds are 100 and 1 MiB unless it is set up otherwise."""


def query_json(query: Query) -> dict[str, Any]:
    """``{"query": text}``, ``{"vector": ...}`` for shape ``(d,)`` or ``{"vectors": ...}`` for
    ``(n_tokens, d)``, packed as float32.

    Raises:
        QueryError: an empty text, or no finite array of one or two dimensions.
    """
    if isinstance(query, str):
        if not query.strip():
            raise QueryError("the query is empty; give it some words")
        check_id_like_text(query)
        return {"query": query}
    if not isinstance(query, np.ndarray) or query.dtype.kind not in "fiu":
        raise QueryError(f"a query is a text or an array of numbers, not {type(query).__name__}")
    if query.ndim not in (1, 2) or not query.size:
        raise QueryError(f"query vectors of shape {query.shape} do not fit any index")
    values = np.asarray(query, dtype=np.float32)
    if not np.abs(values).max() <= LARGEST:  # also when one is NaN
        raise QueryError(f"the query's vectors hold NaN, infinity or values beyond {LARGEST:g}")
    return {"vector" if values.ndim == 1 else "vectors": packed(values)}


def check_id_like_text(text: str) -> None:
    """Refuse a text that no encoding can carry.

    Raises:
        QueryError: half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryError("the query is not valid Unicode: it has half of a surrogate pair") from None


def filter_json(filter: FilterLike | None) -> dict[str, Any]:
    """The member ``filter``, or none.

    Raises:
        FilterError: it cannot be read.
    """
    wanted = filter_of(filter)
    return {} if wanted is None else {"filter": wanted.to_json()}


def search_json(
    k: int,
    *,
    filter: FilterLike | None,
    fields: Fields,
    params: SearchParams,
    explain: str | None,
    mode: str | None,
    hybrid: Mapping[str, Any] | None,
    timeout_ms: float | None,
) -> dict[str, Any]:
    """The members of a search beside its query.

    Raises:
        QueryError, FilterError, ConfigError: as of `Engine.search`.
    """
    if explain not in (None, "plan"):
        raise QueryError(f'explain={explain!r}; there is "plan" (for one document: RemoteEngine.explain)')
    effort = search_config(params).model_dump(exclude_defaults=True)
    remote = {"explain": explain, "mode": mode, "hybrid": hybrid, "timeout_ms": timeout_ms}
    return {
        "limit": check_k(k),
        "fields": list(dict.fromkeys(check_fields(fields))),
        **filter_json(filter),
        **({"params": effort} if effort else {}),
        **{name: value for name, value in remote.items() if value is not None},
    }


def checked_ids(ids: Iterable[str], what: str) -> list[str]:
    """Ids as a list, each once.

    Raises:
        QueryError: one id in place of a list, or one that no document can have.
    """
    if isinstance(ids, str | Mapping) or not isinstance(ids, Iterable):
        raise QueryError(f"the ids to {what} are a list of strings, not {ids!r}")
    return list(dict.fromkeys(check_id(doc_id) for doc_id in ids))


def texts_only(queries: Sequence[Query] | None) -> dict[str, Any]:
    """The member ``queries`` that training takes, or none.

    Raises:
        QueryError: one that is no text: over HTTP, training takes texts only.
    """
    if queries is None:
        return {}
    if isinstance(queries, str) or not all(isinstance(query, str) for query in queries):
        raise QueryError("queries to train with are a list of texts where the index is remote, not vectors")
    return {"queries": list(queries)}


def batches_of(searches: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Searches in requests that a service takes: so many, and not too many bytes."""
    batch: list[Mapping[str, Any]] = []
    taken = 0
    for search in searches:
        size = len(to_json(search))
        if batch and (len(batch) >= MAX_SEARCHES or taken + size > MAX_BATCH_BYTES):
            yield batch
            batch, taken = [], 0
        batch.append(search)
        taken += size
    if batch:
        yield batch
